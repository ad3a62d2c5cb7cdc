"""The state machine: controllers killed at its edges and faults, with fakes; and its platforms, for real."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pandas as pd
import pytest

from lib.deployment import rollout as rollouts
from lib.deployment import states
from lib.deployment.gates import Gate
from lib.deployment.platform import PlatformError
from lib.deployment.platforms import detached
from lib.deployment.platforms.detached import LOCK, NOTE, Detached, listen
from lib.deployment.platforms.local import Local
from lib.deployment.rollout import BlueGreen, BusyError, DeploymentError
from lib.deployment.states import STATES, Deployment, Release, State
from lib.deployment.strategies import Canary, Rolling
from lib.stage.files import replace_file
from lib.stage.locks import file_lock
from lib.stage.processes import ProcessError
from lib.stage.router import COLOURS, Colour
from lib.stage.servers import Server
from lib.stage.traffic import USER
from lib.versioning import USERS, RenameField, SchemaHistory, UnknownVersionError

ROOT = Path(__file__).parents[2]
ONE, TWO = Release("v1.0.0", 1), Release("v2.0.0", 2)
FIVE, FIVE_NEW = replace(ONE, replicas=5), replace(TWO, replicas=5)


# ── With fakes ───────────────────────────────────────────────────────────────────────────────────────────────────


class Fake:
    """A platform in memory, which outlives its controller as a real one does. It notes what traffic would have missed."""

    def __init__(self) -> None:
        self.running: dict[Colour, list[Release]] = {colour: [] for colour in COLOURS}
        self.colour: Colour = "blue"
        self.outages, self.shares, self.batches = list[str](), list[float](), list[int]()
        self.share = 0.0

    def create(self, colour: Colour, release: Release) -> list[int]:
        self.running[colour] = [release] * release.replicas
        return self.ports(colour)

    def ports(self, colour: Colour) -> list[int]:
        return list(range(len(self.running[colour])))

    def replace(self, colour: Colour, release: Release, most: int) -> int:
        others = [one for one in self.running[colour] if not one.same_code(release)][:most]
        self.batches += [len(others)] * bool(others)
        staying = list(self.running[colour])
        for one in others:
            staying.remove(one)
        if not staying and release.replicas > 1:
            self.outages.append(f"all of {colour} replaced at once")
        self.running[colour] = staying + [release] * (release.replicas - len(staying))
        return len(others)

    def retire(self, colour: Colour) -> None:
        other = COLOURS[1 - COLOURS.index(colour)]
        if colour == self.colour and self.running[colour] and self.running[other]:
            self.outages.append(f"retired {colour}, which is active")
        self.running[colour] = []

    def switch(self, colour: Colour) -> None:
        if not self.running[colour]:
            self.outages.append(f"switched to {colour}, where nothing runs")
        self.colour, self.share = colour, 0.0

    def canary(self, share: float) -> None:
        self.shares.append(share)
        self.share = share

    def active(self) -> Colour:
        return self.colour

    def in_flight(self, colour: Colour) -> int:
        return 0


class Killed(BaseException):
    """As SIGKILL, as far as one can raise it."""


class Mortal(BlueGreen):
    """A controller that dies at its n-th point: before or after a state is written, or after a share or a batch."""

    left = 0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, progress=lambda _: self._pass(), **options)

    def _pass(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed

    def _write(self, deployment: Deployment, note: str) -> None:
        self._pass()
        super()._write(deployment, note)

    def dies(self, point: int, action: str, *arguments: Release) -> bool:
        """Whether it has come so far in what it does; then it has died there."""
        self.left = point
        try:
            getattr(self, action)(*arguments)
        except Killed:
            return True
        return False


class MortalCanary(Mortal, Canary):
    """One that gives shares first."""


class MortalRolling(Mortal, Rolling):
    """One that goes batch by batch."""


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    monkeypatch.setattr(rollouts, "answers", lambda port, path: True)
    monkeypatch.setattr(rollouts, "health_gate", lambda probe, **_: Gate("health", ("dead",) * (not probe())))
    monkeypatch.setattr(rollouts, "smoke_gate", lambda port, user: Gate("smoke"))
    return Fake()


def machine(fake: Fake, path: Path, kind: type[BlueGreen] = BlueGreen, **options: Any) -> Any:
    """A controller that waits for nothing."""
    extra = {"pause": 0.0} if issubclass(kind, Canary) else {}
    return kind(fake, path, smoke_user=USER, verify=0.0, bake=0.0, **extra, **options)


def check(fake: Fake, rollout: BlueGreen, expected: Release | None) -> None:
    """Exactly what should run runs, it is active, and the file says so."""
    now = rollout.status()
    assert (now.state, now.running, now.coming, now.going_back) == ("idle", expected, None, False)
    alive = {colour: releases for colour, releases in fake.running.items() if releases}
    assert alive == ({now.colour: [expected] * expected.replicas} if expected else {})
    assert not expected or (fake.active(), fake.share) == (now.colour, 0.0)
    assert fake.outages == []


def test_a_deployment_goes_through_all_states(fake: Fake, tmp_path: Path) -> None:
    rollout = machine(fake, tmp_path)
    assert [line.partition(":")[0] for line in rollout.plan(ONE)] == [*STATES[2:], "idle"]
    rollout.deploy(ONE)
    check(fake, rollout, ONE)
    plan = "\n".join(rollout.plan(TWO))
    assert "v1.0.0 against v2.0.0" in plan and "traffic goes to green" in plan and "blue is drained" in plan
    check(fake, rollout, ONE)  # a plan does nothing
    rollout.deploy(TWO)
    check(fake, rollout, TWO)
    trail = rollout.audit()
    assert list(trail["state"]) == [*STATES[1:], "idle"] * 2 and trail["at"].is_monotonic_increasing
    assert "nothing to be compatible with" in trail["note"][1] and "nothing before" in trail["note"][8]


def follow(fake: Fake, path: Path, kind: type[Mortal], action: str, again: int) -> None:
    """Let another controller go on or back where one has died, and, if it dies as well at a point, a third one."""
    now, following = Deployment.read(path / "deployment.json"), machine(fake, path, kind)
    if now.state == "idle":  # it had not begun, or was done
        assert following.resume() == now
        with pytest.raises(DeploymentError, match="no deployment is in progress"):
            following.rollback()
        return check(fake, following, now.running)
    with pytest.raises(DeploymentError, match=rf"v2\.0\.0 is {now.state}: use `resume` or `rollback`"):
        following.deploy(replace(FIVE_NEW, name="v3.0.0"))
    if action == "rollback" and now.state == "baked":  # the old release may have gone already
        with pytest.raises(DeploymentError, match="the old release is being retired: `resume`"):
            following.rollback()
        action = "resume"
    if not following.dies(again, action):
        return check(fake, following, FIVE_NEW if action == "resume" else FIVE)
    now, third = following.status(), machine(fake, path, kind)
    third.resume()
    expected = now.running if now.state == "idle" else FIVE if now.going_back else FIVE_NEW
    return check(fake, third, expected)


@pytest.mark.parametrize("action", ["resume", "rollback"])
@pytest.mark.parametrize(
    ("kind", "step", "twice"),
    [
        (Mortal, 2, False),  # once for each state, after it is written
        *(
            pytest.param(kind, 1, True, marks=pytest.mark.long)
            for kind in (Mortal, MortalCanary, MortalRolling)
        ),
    ],
)
def test_killed_at_any_point_another_controller_goes_on_or_back(
    kind: type[Mortal], step: int, twice: bool, action: str, fake: Fake, tmp_path: Path
) -> None:
    states = set()
    for point in count(step, step):
        for again in range(1, 12) if twice else (0,):
            fake, path = Fake(), tmp_path / f"{point}-{again}"
            machine(fake, path).deploy(FIVE)
            mortal = machine(fake, path, kind)
            if not mortal.dies(point, "deploy", FIVE_NEW):
                check(fake, mortal, FIVE_NEW)
                assert kind is MortalRolling or states == set(STATES)
                return
            now = mortal.status()
            states.add(now.state)
            if kind is not MortalRolling and now.coming and now.state in STATES[STATES.index("switched") :]:
                assert fake.active() == now.next_colour
            follow(fake, path, kind, action, again)


@pytest.mark.parametrize("running", [ONE, None], ids=["replacing", "first"])
@pytest.mark.parametrize("state", STATES[1:-1])
def test_refused_by_a_gate_it_goes_back_and_says_why(
    state: State, running: Release | None, fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollout = machine(fake, tmp_path)
    if running:
        rollout.deploy(running)
    refused = {state: (lambda now: Gate("a gate", ("it is raining",)), state)}
    steps = rollout._steps() | refused
    monkeypatch.setattr(rollout, "_steps", lambda: steps)
    runs = running.name if running else "nothing"
    with pytest.raises(DeploymentError, match=rf"a gate: refused\n  it is raining\nWent back: {runs} runs"):
        rollout.deploy(TWO)
    check(fake, rollout, running)


def test_an_incompatible_release_is_never_created(fake: Fake, tmp_path: Path) -> None:
    history = SchemaHistory("users", first=USERS.schema(1), steps={2: [RenameField("name", "full_name")]})
    rollout = machine(fake, tmp_path, history=history)
    rollout.deploy(ONE)
    with pytest.raises(DeploymentError, match="forward, blue reads green: name: "):
        rollout.deploy(TWO)
    assert "created" not in list(rollout.audit()["state"][9:])
    rollout.deploy(replace(TWO, phase="expand"))
    check(fake, rollout, replace(TWO, phase="expand"))


def test_what_can_not_be_deployed_is_refused_before_anything_is_written(fake: Fake, tmp_path: Path) -> None:
    rollout = machine(fake, tmp_path)
    with pytest.raises(UnknownVersionError, match="4"):
        rollout.deploy(Release("v4.0.0", 4))
    with pytest.raises(ValueError, match="phase 'shrink': choose one of expand, backfill, contract, or None"):
        Release("v1.0.0", 1, "shrink")  # type: ignore[arg-type]
    for shares in ((0.0,), (1.1,), (0.5, 0.1), (float("nan"),)):
        with pytest.raises(ValueError, match="each larger than the one before"):
            machine(fake, tmp_path, Canary, shares=shares)
    with pytest.raises(ValueError, match="objective: `slo_gate` has no option p99"):
        BlueGreen(fake, tmp_path, smoke_user=USER, objective={"p99": 1})
    assert not (tmp_path / "deployment.json").exists()


UNREADABLE = ["", "{", "[]", "\0"]
UNREADABLE += ['{"running": null}', '{"running": {"tag": "v1"}}', '{"state": "on", "colour": "red"}']


@pytest.mark.parametrize("content", UNREADABLE)
def test_unreadable_states(content: str, fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are explained, with what serves."""
    rollout, file = machine(fake, tmp_path), tmp_path / "deployment.json"
    file.write_text(content)
    message = r"/deployment\.json: of another version .* or remove it and deploy: {}"
    with pytest.raises(DeploymentError, match=message.format("nothing serves")):
        rollout.status()
    fake.running["blue"] = [ONE]
    monkeypatch.setattr(rollouts, "call", lambda *_: (200, {"release": "v1.0.0", "schema_version": 1}))
    for action in (rollout.status, rollout.resume, rollout.rollback, lambda: rollout.deploy(TWO)):
        with pytest.raises(DeploymentError, match=message.format(r"v1\.0\.0 serves in blue")):
            action()


def test_replicas_that_died_come_back_before_traffic_goes_back(fake: Fake, tmp_path: Path) -> None:
    rollout = machine(fake, tmp_path)
    rollout.deploy(FIVE)
    mortal = machine(fake, tmp_path, Mortal)
    assert mortal.dies(2 * STATES.index("switched"), "deploy", FIVE_NEW)
    assert fake.active() == "green"
    fake.running["blue"].clear()
    rollout.rollback()
    check(fake, rollout, FIVE)


def test_a_rollback_that_comes_too_late_names_the_release_that_ran_before(fake: Fake, tmp_path: Path) -> None:
    rollout = machine(fake, tmp_path)
    for release, remedy in ((ONE, "nothing ran before"), (TWO, "deploy v1.0.0 at schema version 1 again")):
        rollout.deploy(release)
        with pytest.raises(
            DeploymentError, match=f"no deployment is in progress, and no old release is warm: {remedy}"
        ):
            rollout.rollback()


@pytest.mark.parametrize("at", [1, 4])
def test_a_full_disk_is_named(at: int, fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When there is room again, it goes on."""
    rollout, numbers = machine(fake, tmp_path), count(1)

    def write(path: Path, text: str) -> None:
        if next(numbers) == at:
            raise OSError(28, "No space left on device")
        replace_file(path, text)

    monkeypatch.setattr(states, "replace_file", write)
    with pytest.raises(DeploymentError, match=r"deployment\.json: not writable \(.*No space left"):
        rollout.deploy(ONE)
    rollout.deploy(ONE) if at == 1 else rollout.resume()
    check(fake, rollout, ONE)


def test_a_second_controller_is_refused_and_told_who_is_at_work(fake: Fake, tmp_path: Path) -> None:
    rollout, seen = machine(fake, tmp_path), []

    def second(_: str) -> None:
        with pytest.raises(BusyError, match=rf"process {os.getpid()} since 20\d\d-.* UTC; wait until"):
            machine(fake, tmp_path).deploy(TWO)
        seen.append(True)

    rollout.progress = second
    rollout.deploy(ONE)
    assert len(seen) == len(STATES)
    machine(fake, tmp_path).deploy(TWO)


def test_a_canary_that_fails_goes_back_before_it_gets_more(fake: Fake, tmp_path: Path) -> None:
    machine(fake, tmp_path).deploy(ONE)

    def traffic() -> pd.DataFrame:
        bad = fake.shares[-1:] == [0.5]
        served = ["green-1"] * 100 + ["blue-1"] * 100
        return pd.DataFrame({"due": [float("inf")] * 200, "outcome": ["5xx" if bad else "ok"] * 100 + ["ok"] * 100,
                             "latency": [0.01] * 200, "served_by": served})  # fmt: skip

    with pytest.raises(DeploymentError, match=r"100\.00% failed.*'5xx': 100"):
        machine(fake, tmp_path, Canary, shares=(0.1, 0.5, 0.9), traffic=traffic).deploy(TWO)
    assert fake.shares == [0.1, 0.5]
    check(fake, machine(fake, tmp_path), ONE)


def test_a_canary_killed_between_two_shares_begins_with_the_first(fake: Fake, tmp_path: Path) -> None:
    machine(fake, tmp_path).deploy(ONE)
    mortal = machine(fake, tmp_path, MortalCanary, shares=(0.1, 0.5))
    points = count(1)
    while not (mortal.dies(next(points), "deploy", TWO) and fake.share == 0.5):
        machine(fake, tmp_path).rollback() if mortal.status().coming else None
    assert fake.active() == "blue"
    fake.shares.clear()
    last = machine(fake, tmp_path, Canary, shares=(0.1, 0.5))
    last.resume()
    check(fake, last, TWO)
    assert fake.shares == [0.1, 0.5]


def test_replicas_are_replaced_in_batches(fake: Fake, tmp_path: Path) -> None:
    rollout = machine(fake, tmp_path, Rolling)
    with pytest.raises(DeploymentError, match="nothing runs yet: deploy the first release by BlueGreen"):
        rollout.deploy(TWO)
    machine(fake, tmp_path).deploy(FIVE)
    assert "verified: 3 batches of up to 2 replicas are drained" in rollout.plan(TWO)[1]
    rollout.deploy(TWO)
    check(fake, rollout, FIVE_NEW)
    assert fake.batches == [2, 2, 1] and fake.active() == "blue"


def test_rolling_tells_releases_apart_by_all_that_they_are(fake: Fake, tmp_path: Path) -> None:
    """A label is not enough: one of the working tree names whatever that holds."""
    machine(fake, tmp_path).deploy(replace(FIVE, name="dev"))
    rollout = machine(fake, tmp_path, Rolling)
    for new in (replace(FIVE_NEW, name="dev"), replace(FIVE_NEW, name="dev", tree="elsewhere")):
        rollout.deploy(new)
        check(fake, rollout, new)
    assert sum(fake.batches) == 10
    with pytest.raises(DeploymentError, match="dev runs already, so nothing would be replaced: give"):
        rollout.deploy(new)


def test_a_bad_batch_goes_back(fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(fake, tmp_path).deploy(FIVE)
    rollout = machine(fake, tmp_path, Rolling)
    monkeypatch.setattr(rollout, "_test", lambda now: Gate("smoke", ("it is raining",)))
    with pytest.raises(DeploymentError, match="it is raining"):
        rollout.deploy(TWO)
    assert fake.batches == [2, 2]
    check(fake, rollout, FIVE)


# ── For real ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def platform(database: Server) -> Iterator[Local]:
    with Local(database.url, faults=True) as platform:
        yield platform


@contextmanager
def shared(platform: Local, path: Path) -> Iterator[None]:
    """Let controllers call this platform as if another process owned it."""
    with file_lock(path / LOCK, "7"), listen(platform) as socket:
        (path / NOTE).write_text(json.dumps({"socket": socket}))
        yield


def test_replicas_that_died_are_replaced_and_those_of_the_same_release_stay(platform: Local) -> None:
    first, _ = platform.create("blue", replace(ONE, replicas=2))
    platform.replicas["blue"][1].kill()
    assert platform.ports("blue") == [first]
    ports = platform.create("blue", replace(ONE, replicas=3))
    assert len(ports) == 3 and first in ports
    assert first not in platform.create("blue", TWO)


def test_a_platform_in_another_process(platform: Local, tmp_path: Path) -> None:
    remote = Detached(tmp_path)
    with pytest.raises(PlatformError, match="no platform runs there"):
        remote.active()
    with shared(platform, tmp_path):
        assert remote.exists() and (remote.active(), remote.ports("green")) == ("blue", [])
        assert remote.create("green", TWO) == platform.ports("green") and len(platform.ports("green")) == 1
        with pytest.raises(PlatformError, match="^ValueError: colour 'red'"):
            remote.switch("red")
        platform.router.in_flight = Mock(side_effect=ProcessError("its log:\n\x1b[31mno\0"))  # type: ignore[method-assign]
        with pytest.raises(PlatformError, match="^ProcessError: its log:\n\x1b\\[31mno\0$"):
            remote.in_flight("blue")
        with pytest.raises(AttributeError):
            _ = remote.stop
        for content in ("", "[]", "{}"):
            (tmp_path / NOTE).write_text(content)
            message = r"/platform\.json: cannot be read .* process 7, is starting, or needs `down`"
            with pytest.raises(PlatformError, match=message):
                remote.active()
        assert remote.exists()
    assert not remote.exists()


def test_a_platform_that_hangs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detached, "LONG", 0.2)
    with shared(Mock(ports=lambda _: time.sleep(5)), tmp_path):
        message = r"process 7, has not answered within 0\.2 s: `kill -9 7` ends it"
        with pytest.raises(PlatformError, match=message):
            Detached(tmp_path).ports("blue")
