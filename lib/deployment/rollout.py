"""Blue-green deployment as a state machine that survives the death of its controller.

    rollout = BlueGreen(platform, state_dir, history=USERS, smoke_user=USER)
    rollout.deploy(Release("v2.0.0", version=2))

Each state is on disk before the next step begins, and every step is idempotent. So if a controller is killed, another one reads
the file and goes on (`resume`) or back (`rollback`). A lock, which ends with its holder, prevents two controllers at the same
time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.deployment.gates import Gate, health_gate, schema_gate, slo_gate, smoke_gate
from lib.deployment.platform import PATIENCE, AbsentError, Platform
from lib.deployment.replicas import answers, call
from lib.deployment.states import Deployment, Release, State
from lib.stage.locks import file_lock
from lib.stage.ranges import check_range
from lib.stage.router import Colour
from lib.stage.waiting import wait_for
from lib.versioning.bulk import Report
from lib.versioning.history import SchemaHistory
from lib.versioning.users import USERS

if TYPE_CHECKING:
    import pandas as pd

#: The action in each state, and the next state.
Steps = Mapping[State, tuple[Callable[[Deployment], Gate], State]]


class DeploymentError(RuntimeError):
    """A deployment is not possible, or was refused; the message says why, and what runs now."""


class BusyError(DeploymentError):
    """Another controller is running; the message says which, and since when."""


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
        objective: Mapping[str, float] | None = None,
        evidence: Report | None = None,
        progress: Callable[[str], object] = lambda message: None,
    ) -> None:
        """directory: where the state is stored. evidence: see `schema_gate`. progress: called with each step.

        traffic: returns the requests so far; `slo_gate` judges them, with `objective` as its options.
        verify: seconds after the switch in which green must meet the objective. bake: further seconds, with blue still warm.
        """
        self.platform, self.smoke_user, self.history, self.traffic = platform, smoke_user, history, traffic
        self.verify, self.bake, self.evidence, self.progress = verify, bake, evidence, progress
        self.objective: dict[str, Any] = {"least": 1} | dict(objective or {})
        if unknown := self.objective.keys() - set(slo_gate.__kwdefaults__ or {}):
            raise ValueError(f"objective: `slo_gate` has no option {', '.join(sorted(unknown))}")
        check_range(0, verify=verify, bake=bake, **self.objective)
        self.directory = Path(directory).absolute()
        self._file, self._locked = self.directory / "deployment.json", False

    # ── What a user does ─────────────────────────────────────────────────────────────────────────────────────────

    def status(self) -> Deployment:
        """Return the deployment in the file; without a file, the one that the platform reports.

        Raises DeploymentError if the file does not hold a deployment in the format of this version.
        """
        if not self._file.exists():
            return self._found()
        try:
            return Deployment.read(self._file)
        except (ValueError, OSError) as error:
            found = self._found()
            serves = f"{found.running.name} serves in {found.colour}" if found.running else "nothing serves"
            remedy = f"continue with the version that wrote it, or remove it and deploy: {serves}"
            raise DeploymentError(f"{self._file}: of another version ({error!r}): {remedy}") from error

    def _found(self) -> Deployment:
        """Return what serves now, as its replicas report; nothing if there is no platform or no replica."""
        with suppress(AbsentError):
            colour = self.platform.active()
            if ports := self.platform.ports(colour):
                said = call(ports[0], "/version")[1]
                running = Release(said["release"], said["schema_version"], replicas=len(ports))
                return Deployment("idle", running, colour)
        return Deployment("idle")

    def plan(self, release: Release) -> list[str]:
        """Return the steps of `deploy` in words, without doing them."""
        now = self.status()
        blue, green, running = now.colour, now.next_colour, now.running
        return [
            f"compatible: {f'{running.name} against {release.name}' if running else 'nothing runs yet'}",
            f"created: {release.replicas} replicas of {release.name} in {green}",
            f"healthy: each of {green} is ready several times in a row",
            f"tested: a user is created in {green}, read back and removed",
            f"switched: all traffic goes to {green}",
            f"verified: {green} keeps the service-level objective for {self.verify:g} s",
            f"baked: {green} runs for {self.bake:g} s more"
            + (f" while {blue} stays warm" if running else ""),
            f"idle: {blue} is drained and retired" if running else "idle: there was nothing to retire",
        ]

    def deploy(self, release: Release) -> Deployment:
        """Deploy a release; return the resulting deployment.

        If a gate refuses the release, goes back and raises DeploymentError: the previous release keeps running. Also raises
        BusyError and UnknownVersionError.
        """
        self.history.check_version(release.version)
        with self.lock():
            now = self.status()
            if coming := now.coming:
                raise DeploymentError(f"{coming.name} is {now.state}: use `resume` or `rollback`")
            self._write(replace(now, state="planned", coming=release), f"deploy {release.name}")
            return self._go_on()

    def resume(self) -> Deployment:
        """Continue a deployment, or a rollback, whose controller was killed. If there is none, replace the replicas that have died."""
        with self.lock():
            now = self.status()
            if not now.coming:
                self._complete(now)
            return self._go_on()

    def rollback(self) -> Deployment:
        """Go back to the previous release. Raises DeploymentError, naming the previous release, if no deployment is in progress."""
        with self.lock():
            now = self.status()
            if now.state == "idle":
                remedy = "nothing ran before"
                if now.before:
                    remedy = f"deploy {now.before.name} at schema version {now.before.version} again"
                raise DeploymentError(f"no deployment is in progress, and no old release is warm: {remedy}")
            if now.state == "baked":  # the old colour may be half gone
                raise DeploymentError("the old release is being retired: `resume`, then deploy it again")
            self._write(replace(now, going_back=True), "rollback asked for")
            return self._go_on()

    def audit(self) -> pd.DataFrame:
        """Return what happened, and when: columns at, state, note."""
        import pandas as pd

        return pd.DataFrame(self.status().trail, columns=["at", "state", "note"])

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Exclude other controllers during the block, which may make several calls. Raises BusyError."""
        if self._locked:
            yield
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / "lock"
        me = f"process {os.getpid()} since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
        with file_lock(path, me) as held:
            if not held:
                holder = path.read_text() if path.exists() else "it has just ended"
                raise BusyError(f"another deployment is running: {holder}; wait until it ends")
            self._locked = True
            try:
                yield
            finally:
                self._locked = False

    # ── The machine ──────────────────────────────────────────────────────────────────────────────────────────────

    def _steps(self) -> Steps:
        return {
            "planned": (self._compatible, "compatible"),
            "compatible": (self._create, "created"),
            "created": (self._healthy, "healthy"),
            "healthy": (self._test, "tested"),
            "tested": (self._switch, "switched"),
            "switched": (lambda now: self._watch(now, self.verify), "verified"),
            "verified": (lambda now: self._watch(now, self.bake), "baked"),
            "baked": (self._retire, "idle"),
        }

    def _go_on(self) -> Deployment:
        refused = None
        while (now := self.status()).coming:
            if now.going_back:
                self._back(now)
                before = replace(now, state="idle", coming=None, going_back=False)
                self._write(before, f"back from {now.state}")
                continue
            step, following = self._steps()[now.state]
            gate = step(now)
            if not gate.passed:
                refused, after = gate, replace(now, going_back=True)
            else:
                after = replace(now, state=following)
                if following == "idle":
                    done = {"running": now.coming, "before": now.running, "coming": None}
                    after = replace(after, colour=self._new_colour(now), **done)
            self._write(after, str(gate))
        if refused:
            running = now.running.name if now.running else "nothing"
            raise DeploymentError(f"{refused}\nWent back: {running} runs.")
        return now

    def _write(self, deployment: Deployment, note: str) -> None:
        try:
            deployment.write(self._file, note)
        except OSError as error:
            raise DeploymentError(f"{self._file}: not writable ({error}): fix that, then `resume`") from error
        self.progress(f"{deployment.state}: {note}")

    def _back(self, now: Deployment) -> None:
        """Undo: send the traffic to the previous release, and retire the new one."""
        if now.running:
            self._complete(now)
            self.platform.switch(now.colour)
        self._drain(now.next_colour)
        self.platform.retire(now.next_colour)

    def _complete(self, now: Deployment) -> None:
        """Replace the dead replicas of the running release."""
        if now.running and len(self.platform.ports(now.colour)) < now.running.replicas:
            self.platform.create(now.colour, now.running)

    def _new_colour(self, now: Deployment) -> Colour:
        """Return the colour in which the new replicas run."""
        return now.next_colour

    def _compatible(self, now: Deployment) -> Gate:
        if now.running is None:
            return Gate("schema (the first release: nothing to be compatible with)")
        return schema_gate(self.history, now.running, coming_of(now), evidence=self.evidence)

    def _create(self, now: Deployment) -> Gate:
        try:
            self.platform.create(now.next_colour, coming_of(now))
        except RuntimeError as error:
            return Gate("create", (str(error),))
        return Gate("create")

    def _each(self, now: Deployment, judge: Callable[[int], Gate]) -> Gate:
        """Judge all new replicas and return one verdict; a missing replica is a reason against the release."""
        ports = self.platform.ports(self._new_colour(now))
        with ThreadPoolExecutor(max(1, len(ports))) as threads:  # gates mostly wait
            gates = list(threads.map(judge, ports))
        gone = coming_of(now).replicas - len(ports)
        missing = (f"{gone} replicas have died",) if gone > 0 else ()
        reasons = (reason for gate in gates for reason in gate.reasons)
        return Gate(gates[0].name if gates else "replicas", (*missing, *reasons))

    def _healthy(self, now: Deployment, **counts: int) -> Gate:
        return self._each(now, lambda port: health_gate(lambda: answers(port, "/ready"), **counts))

    def _test(self, now: Deployment) -> Gate:
        return self._each(now, lambda port: smoke_gate(port, self.smoke_user))

    def _switch(self, now: Deployment) -> Gate:
        self.platform.switch(now.next_colour)
        return Gate("switch")

    def _watch(self, now: Deployment, seconds: float) -> Gate:
        """Judge the new colour's traffic for some seconds, and its replicas from time to time."""
        begin = time.monotonic()
        while True:
            elapsed = time.monotonic() - begin
            gate = self._healthy(now, successes=1, failures=3)
            if gate.passed and self.traffic:
                requests = self.traffic()
                server = requests["served_by"]
                its_own = server.str.startswith(self._new_colour(now)) | (server == "")
                few = {"least": 0} if elapsed < seconds else {}  # at the end there must be enough
                gate = slo_gate(requests[its_own & (requests["due"] > begin)], **(self.objective | few))
            if not gate.passed or elapsed >= seconds:
                return gate
            time.sleep(min(0.2, seconds))

    def _retire(self, now: Deployment) -> Gate:
        if now.running is None:
            return Gate("retire (the first release: there was nothing before)")
        self._drain(now.colour)
        self.platform.retire(now.colour)
        return Gate("retire")

    def _drain(self, colour: Colour) -> None:
        wait_for(lambda: self.platform.in_flight(colour) == 0, PATIENCE, pause=0.01)


def coming_of(now: Deployment) -> Release:
    """Return the release that is being deployed."""
    assert now.coming is not None
    return now.coming
