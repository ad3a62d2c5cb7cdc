"""Blue-green deployment as a state machine that survives the death of its controller.

    rollout = BlueGreen(platform, state_dir, history=USERS, smoke_user=USER)
    rollout.deploy(Target("v2.0.0", version=2))

Each state is written to a file before the next step begins: flushed to disk, then renamed into place. A step may be done
twice. So a controller that is killed is followed by another one, which reads the file and goes on (`resume`) or goes back
(`rollback`); and a lock, which ends with its holder, keeps two of them apart.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.deployment.gates import Gate, health_gate, schema_gate, slo_gate, smoke_gate
from lib.deployment.platform import Platform
from lib.deployment.replicas import answers
from lib.deployment.states import STATES, Deployment, State, Target
from lib.stage.locks import file_lock
from lib.stage.router import Colour
from lib.versioning.bulk import Report
from lib.versioning.history import SchemaHistory
from lib.versioning.users import USERS

if TYPE_CHECKING:
    import pandas as pd


class DeploymentError(RuntimeError):
    """A deployment can't be done, or was refused; the message says why, and what is in place now."""


class BusyError(DeploymentError):
    """Another controller is at work; the message says which, and since when."""


class BlueGreen:
    """Deploys to the colour that is not active, switches, and keeps the old colour warm until the new one has proved itself."""

    def __init__(
        self,
        platform: Platform,
        directory: str | os.PathLike[str],
        *,
        smoke_user: dict[str, Any],
        history: SchemaHistory = USERS,
        traffic: Callable[[], pd.DataFrame] | None = None,
        verify: float = 1.0,
        bake: float = 2.0,
        patience: float = 30.0,
        objective: Mapping[str, float] | None = None,
        evidence: Report | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        """directory: where the state stands. traffic: gives the requests so far, which are judged by the objective, the
        options of `slo_gate`.

        verify, bake: seconds for which green must keep it, before blue stays warm for nothing but a way back, and until
        blue goes. patience: seconds that blue gets to answer what it has taken. progress: is told each step.
        """
        self.platform, self.smoke_user, self.history, self.traffic = platform, smoke_user, history, traffic
        self.verify, self.bake, self.patience, self.evidence = verify, bake, patience, evidence
        self.objective, self.progress = {"least": 1} | dict(objective or {}), progress
        self.directory = Path(directory)
        self._file = self.directory / "deployment.json"

    # ── What a user does ─────────────────────────────────────────────────────────────────────────────────────────

    def status(self) -> Deployment:
        """What stands in the file."""
        return Deployment.read(self._file)

    def plan(self, target: Target) -> list[str]:
        """What `deploy` would do, in words; nothing is done."""
        now = self.status()
        blue, green = now.colour, now.next_colour
        first = now.running is None
        return [
            "compatible: nothing runs yet"
            if first
            else f"compatible: {now.running.release} against {target.release}",
            f"created: {target.replicas} replicas of {target.release} in {green}",
            f"healthy: each of {green} is ready several times in a row",
            f"tested: a user is created in {green}, read back and removed",
            f"switched: all traffic goes to {green}",
            f"verified: {green} keeps the service-level objective for {self.verify:g} s",
            f"baked: {green} runs for {self.bake:g} s more" + ("" if first else f" while {blue} stays warm"),
            "idle: there was nothing to retire" if first else f"idle: {blue} is drained and retired",
        ]

    def deploy(self, target: Target) -> Deployment:
        """Deploy a release; return what runs then.

        Raises DeploymentError if a gate refuses it, after going back: what ran before runs on. Raises BusyError.
        """
        with self._lock():
            now = self.status()
            if now.state != "idle":
                raise DeploymentError(
                    f"{now.coming.release if now.coming else '?'} is {now.state}: `resume` goes on, `rollback` goes back"
                )
            self._write(replace(now, state="planned", coming=target), f"deploy {target.release}")
            return self._go_on()

    def resume(self) -> Deployment:
        """Go on, or on going back, where a controller was killed; nothing happens where nothing is under way."""
        with self._lock():
            return self._go_on()

    def rollback(self) -> Deployment:
        """Go back to what ran before. Raises DeploymentError where nothing is under way: then deploy the former release."""
        with self._lock():
            now = self.status()
            if now.state == "idle":
                raise DeploymentError(
                    "nothing is under way, and nothing is kept warm: deploy the former release"
                )
            if now.state == "baked":  # the old colour may be half gone
                raise DeploymentError(
                    "the old release is being retired: `resume`, then deploy the former release"
                )
            self._write(replace(now, going_back=True), "rollback asked for")
            return self._go_on()

    def audit(self) -> pd.DataFrame:
        """What happened, and when: columns at, state, note."""
        import pandas as pd

        return pd.DataFrame(self.status().trail, columns=["at", "state", "note"])

    # ── The machine ──────────────────────────────────────────────────────────────────────────────────────────────

    def _go_on(self) -> Deployment:
        refused = None
        while (now := self.status()).state != "idle":
            if now.going_back:
                self._back(now)
                continue
            step, following = self._steps()[now.state]
            gate = step(now)
            if gate.passed:
                self._write(self._after(now, following), str(gate))
            else:
                refused = gate
                self._write(replace(now, going_back=True), str(gate))
        if refused:
            running = now.running.release if now.running else "nothing"
            raise DeploymentError(f"{refused}\nWent back: {running} runs.")
        return now

    def _steps(self) -> dict[State, tuple[Callable[[Deployment], Gate], State]]:
        """What is done in a state, and the state after it."""
        steps = [
            self._compatible,
            self._create,
            self._healthy,
            self._test,
            self._switch,
            self._verify,
            self._bake,
        ]
        return dict(
            zip(STATES[1:], zip([*steps, self._retire], [*STATES[2:], "idle"], strict=True), strict=True)
        )

    def _after(self, now: Deployment, state: State) -> Deployment:
        if state == "idle":
            return replace(now, state="idle", running=now.coming, colour=now.next_colour, coming=None)
        return replace(now, state=state)

    def _back(self, now: Deployment) -> None:
        """Undo: what ran before gets the traffic, what was coming goes."""
        if now.running:
            self.platform.switch(now.colour)
        self._drain(now.next_colour)
        self.platform.retire(now.next_colour)
        self._write(replace(now, state="idle", coming=None, going_back=False), f"back from {now.state}")

    def _compatible(self, now: Deployment) -> Gate:
        assert now.coming is not None
        if now.running is None:
            return Gate("schema (the first release: nothing to be compatible with)")
        return schema_gate(self.history, now.running.schema, now.coming.schema, evidence=self.evidence)

    def _create(self, now: Deployment) -> Gate:
        coming = now.coming
        assert coming is not None
        try:
            self.platform.create(
                now.next_colour, coming.release, coming.version, coming.replicas, coming.tree
            )
        except RuntimeError as error:
            return Gate("create", (str(error),))
        return Gate("create")

    def _new_colour(self, now: Deployment) -> Colour:
        """Where the replicas that are coming run."""
        return now.next_colour

    def _each(self, now: Deployment, judge: Callable[[int], Gate]) -> Gate:
        """One verdict on all replicas that are coming; one that has gone is missed."""
        assert now.coming is not None
        ports = self.platform.ports(self._new_colour(now))
        gates = [judge(port) for port in ports]
        missing = [f"{now.coming.replicas - len(ports)} replicas have gone"] * (
            len(ports) < now.coming.replicas
        )
        return Gate(
            gates[0].name if gates else "replicas", (*missing, *(r for gate in gates for r in gate.reasons))
        )

    def _healthy(self, now: Deployment) -> Gate:
        return self._each(now, lambda port: health_gate(lambda: answers(port, "/ready")))

    def _test(self, now: Deployment) -> Gate:
        return self._each(now, lambda port: smoke_gate(port, self.smoke_user))

    def _switch(self, now: Deployment) -> Gate:
        self.platform.switch(now.next_colour)
        return Gate("switch")

    def _verify(self, now: Deployment) -> Gate:
        return self._watch(now, self.verify)

    def _bake(self, now: Deployment) -> Gate:
        return self._watch(now, self.bake)

    def _watch(self, now: Deployment, seconds: float) -> Gate:
        """Look for some seconds at the traffic that the new colour gets, and every now and then at its replicas."""
        begin = time.monotonic()
        while True:
            elapsed = time.monotonic() - begin
            gate = self._each(
                now, lambda port: health_gate(lambda: answers(port, "/ready"), successes=1, failures=3)
            )
            if gate.passed and self.traffic:
                requests = self.traffic()
                its_own = requests["served_by"].str.startswith(self._new_colour(now)) | (
                    requests["served_by"] == ""
                )
                few = {"least": 0} if elapsed < seconds else {}  # in the end there must be enough
                gate = slo_gate(requests[its_own & (requests["due"] > begin)], **(self.objective | few))
            if not gate.passed or elapsed >= seconds:
                return gate
            time.sleep(min(0.2, seconds))

    def _retire(self, now: Deployment) -> Gate:
        if now.running:
            self._drain(now.colour)
            self.platform.retire(now.colour)
        return Gate("retire" if now.running else "retire (the first release: there was nothing before)")

    def _drain(self, colour: Colour) -> None:
        deadline = time.monotonic() + self.patience
        while self.platform.in_flight(colour) and time.monotonic() < deadline:
            time.sleep(0.01)

    def _write(self, deployment: Deployment, note: str) -> None:
        deployment.noted(note).write(self._file)
        if self.progress:
            self.progress(f"{deployment.state}: {note}")

    @contextmanager
    def _lock(self) -> Iterator[None]:
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / "lock"
        holder = f"process {os.getpid()} since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
        attempt, release = file_lock(path, holder)
        if not attempt():
            told = path.read_text() if path.exists() else ""
            raise BusyError(
                f"another deployment is at work: {told or 'it has not told its name yet'}; wait for its end"
            )
        try:
            yield
        finally:
            release()
