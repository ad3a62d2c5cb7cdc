"""The state machine: every edge at which a controller may be killed, with fakes; three of them, and faults, for real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from waiting import until

from lib.deployment import rollout as rollouts
from lib.deployment.gates import Gate
from lib.deployment.platform import Local, PlatformError, Remote, serve
from lib.deployment.rollout import BlueGreen, BusyError, DeploymentError
from lib.deployment.states import STATES, Deployment, Target
from lib.deployment.strategies import Canary, Rolling
from lib.stage.router import COLOURS, Colour
from lib.stage.servers import Server, postgres
from lib.stage.traffic import USER, Traffic

ROOT = Path(__file__).parents[2]
ONE, TWO = Target("v1.0.0", 1), Target("v2.0.0", 2)


# ── With fakes ───────────────────────────────────────────────────────────────────────────────────────────────────


class Fake:
    """A platform in memory, which outlives its controller as a real one does. It notes what traffic would have missed."""

    def __init__(self) -> None:
        self.running: dict[Colour, list[str]] = {colour: [] for colour in COLOURS}
        self.colour: Colour = "blue"
        self.outages, self.shares, self.batches = list[str](), list[float](), list[int]()
        self.share = 0.0

    def create(
        self, colour: Colour, release: str, version: int, count: int, tree: str | None = None
    ) -> list[int]:
        self.running[colour] = [release] * count
        return self.ports(colour)

    def ports(self, colour: Colour) -> list[int]:
        return list(range(len(self.running[colour])))

    def releases(self, colour: Colour) -> dict[str, str]:
        return {str(port): release for port, release in enumerate(self.running[colour])}

    def replace(
        self, colour: Colour, ports: list[int], release: str, version: int, count: int, tree: str | None
    ) -> None:
        self.batches.append(len(ports))
        staying = [one for port, one in enumerate(self.running[colour]) if port not in ports]
        if not staying and count > 1:
            self.outages.append(f"all of {colour} replaced at once")
        self.running[colour] = staying + [release] * (count - len(staying))

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
    """A controller that dies at an edge: before or after the n-th state is written."""

    dies_at = (0, "never")

    def _write(self, deployment: Deployment, note: str) -> None:
        edge, when = self.dies_at
        self.dies_at = (edge - 1, when)
        if edge == 1 and when == "before":
            raise Killed
        super()._write(deployment, note)
        if edge == 1 and when == "after":
            raise Killed


class MortalCanary(Canary, Mortal):
    """Another one, which waits for nothing."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, pause=0.0, **options)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    monkeypatch.setattr(rollouts, "answers", lambda port, path: True)
    monkeypatch.setattr(
        rollouts, "health_gate", lambda probe, **_: Gate("health", () if probe() else ("dead",))
    )
    monkeypatch.setattr(rollouts, "smoke_gate", lambda port, user: Gate("smoke"))
    return Fake()


def machine(fake: Fake, path: Path, kind: type[BlueGreen] = BlueGreen) -> BlueGreen:
    return kind(fake, path, smoke_user=USER, verify=0.0, bake=0.0)


def check(fake: Fake, rollout: BlueGreen, expected: Target | None) -> None:
    """Exactly what should run runs, it is active, and the file says so."""
    now = rollout.status()
    assert (now.state, now.running, now.coming, now.going_back) == ("idle", expected, None, False)
    alive = {colour: names for colour, names in fake.running.items() if names}
    assert alive == ({now.colour: [expected.release] * expected.replicas} if expected else {})
    assert not expected or (fake.active(), fake.share) == (now.colour, 0.0)
    assert fake.outages == []


EDGES = range(1, len(STATES) + 1)  # planned to baked, and idle


def test_a_deployment_goes_through_all_states(fake: Fake, tmp_path: Path) -> None:
    rollout = machine(fake, tmp_path)
    rollout.deploy(ONE)
    check(fake, rollout, ONE)
    rollout.deploy(TWO)
    check(fake, rollout, TWO)
    trail = rollout.audit()
    assert list(trail["state"]) == [*STATES[1:], "idle"] * 2 and trail["at"].is_monotonic_increasing
    assert "nothing to be compatible with" in trail["note"][1] and "nothing before" in trail["note"][8]


@pytest.mark.parametrize("then", ["resume", "rollback"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("kind", [Mortal, MortalCanary])
def test_killed_at_an_edge_another_controller_goes_on_or_back(
    kind: type[Mortal], edge: int, when: str, then: str, fake: Fake, tmp_path: Path
) -> None:
    machine(fake, tmp_path).deploy(ONE)
    mortal = machine(fake, tmp_path, kind)
    mortal.dies_at = (edge, when)
    with pytest.raises(Killed):
        mortal.deploy(TWO)
    persisted = mortal.status()
    if persisted.state in STATES[STATES.index("switched") :]:
        assert fake.active() == persisted.next_colour
    following = machine(fake, tmp_path, kind)
    if persisted.state == "idle":  # it had not begun, or was done
        assert following.resume() == persisted
        with pytest.raises(DeploymentError, match="nothing is under way"):
            following.rollback()
        check(fake, following, TWO if edge == len(STATES) else ONE)
        return
    with pytest.raises(
        DeploymentError, match=rf"v2\.0\.0 is {persisted.state}: `resume` goes on, `rollback` goes back"
    ):
        following.deploy(TWO)
    if then == "rollback" and persisted.state == "baked":  # the old release may have gone already
        with pytest.raises(DeploymentError, match="the old release is being retired: `resume`"):
            following.rollback()
        then = "resume"
    getattr(following, then)()
    check(fake, following, TWO if then == "resume" else ONE)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("state", STATES[1:-1])
def test_killed_while_going_back_another_one_goes_back(
    state: str, when: str, fake: Fake, tmp_path: Path
) -> None:
    machine(fake, tmp_path).deploy(ONE)
    mortal = machine(fake, tmp_path, Mortal)
    mortal.dies_at = (STATES.index(state), "after")
    with pytest.raises(Killed):
        mortal.deploy(TWO)
    mortal.dies_at = (2, when)  # the first is that it was asked for
    with pytest.raises(Killed):
        mortal.rollback()
    following = machine(fake, tmp_path)
    following.resume()
    check(fake, following, ONE)


@pytest.mark.parametrize(
    "step", ["_compatible", "_create", "_healthy", "_test", "_switch", "_verify", "_bake"]
)
@pytest.mark.parametrize("running", [ONE, None], ids=["replacing", "first"])
def test_refused_by_a_gate_it_goes_back_and_says_why(
    step: str, running: Target | None, fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollout = machine(fake, tmp_path)
    if running:
        rollout.deploy(running)
    monkeypatch.setattr(rollout, step, lambda now: Gate("a gate", ("it is raining",)))
    runs = running.release if running else "nothing"
    with pytest.raises(
        DeploymentError, match=rf"(?s)a gate: refused\n  it is raining\nWent back: {runs} runs\."
    ):
        rollout.deploy(TWO)
    check(fake, rollout, running)


def test_a_replica_that_has_gone_is_missed(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollout = machine(fake, tmp_path)
    rollout.deploy(ONE)
    monkeypatch.setattr(fake, "ports", lambda colour: [1])
    with pytest.raises(DeploymentError, match="1 replicas have gone"):
        rollout.deploy(Target("v2.0.0", 2, replicas=2))


def test_an_incompatible_release_is_never_created(fake: Fake, tmp_path: Path) -> None:
    from lib.versioning import USERS, RenameField, SchemaHistory

    history = SchemaHistory("users", first=USERS.schema(1), steps={2: [RenameField("name", "full_name")]})
    rollout = BlueGreen(fake, tmp_path, smoke_user=USER, history=history, verify=0.0, bake=0.0)
    rollout.deploy(ONE)
    with pytest.raises(DeploymentError, match="backward, blue reads green: name: "):
        rollout.deploy(TWO)
    assert "created" not in list(rollout.audit()["state"][9:])
    rollout.deploy(Target("v2.0.0", 2, "expand"))
    check(fake, rollout, Target("v2.0.0", 2, "expand"))


def canary(fake: Fake, path: Path, **options: object) -> Canary:
    return Canary(fake, path, smoke_user=USER, verify=0.0, bake=0.0, pause=0.0, **options)


def test_a_canary_gets_more_and_more_and_then_all(fake: Fake, tmp_path: Path) -> None:
    machine(fake, tmp_path).deploy(ONE)
    rollout = canary(fake, tmp_path, shares=(0.1, 0.5))
    assert "all traffic goes to green, after 10%, 50% of it, each for 0 s" in rollout.plan(TWO)[4]
    rollout.deploy(TWO)
    check(fake, rollout, TWO)
    assert fake.shares == [0.1, 0.5]


def test_a_canary_that_fails_goes_back_before_it_gets_more(fake: Fake, tmp_path: Path) -> None:
    machine(fake, tmp_path).deploy(ONE)

    def traffic() -> pd.DataFrame:
        bad = fake.shares[-1:] == [0.5]
        served = ["green-1"] * 100 + ["blue-1"] * 100
        return pd.DataFrame({"due": [float("inf")] * 200, "outcome": ["5xx" if bad else "ok"] * 100 + ["ok"] * 100,
                             "latency": [0.01] * 200, "served_by": served})  # fmt: skip

    with pytest.raises(DeploymentError, match=r"100\.00% failed.*'5xx': 100"):
        canary(fake, tmp_path, shares=(0.1, 0.5, 0.9), traffic=traffic).deploy(TWO)
    assert fake.shares == [0.1, 0.5]
    check(fake, machine(fake, tmp_path), ONE)


@pytest.mark.parametrize("then", ["resume", "rollback"])
@pytest.mark.parametrize("share", ["10%", "50%"])
def test_a_canary_killed_between_two_shares_begins_with_the_first_or_goes_back(
    share: str, then: str, fake: Fake, tmp_path: Path
) -> None:
    machine(fake, tmp_path).deploy(ONE)
    rollout = canary(fake, tmp_path, shares=(0.1, 0.5))

    def kill(told: str) -> None:
        if told == f"canary: {share}":
            raise Killed

    rollout.progress = kill
    with pytest.raises(Killed):
        rollout.deploy(TWO)
    assert f"{fake.share:.0%}" == share and fake.active() == "blue"
    before, following = list(fake.shares), canary(fake, tmp_path, shares=(0.1, 0.5))
    getattr(following, then)()
    assert fake.shares == before + ([0.1, 0.5] if then == "resume" else [])
    check(fake, following, TWO if then == "resume" else ONE)


@pytest.mark.parametrize("shares", [(0.0,), (1.1,), (0.5, 0.1)])
def test_shares_must_grow(shares: tuple[float, ...], fake: Fake, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="each larger than the one before"):
        canary(fake, tmp_path, shares=shares)


FIVE = Target("v1.0.0", 1, replicas=5)
FIVE_NEW = Target("v2.0.0", 2, replicas=5)


def rolling(fake: Fake, path: Path, kind: type[Rolling] = Rolling) -> Rolling:
    return kind(fake, path, smoke_user=USER, verify=0.0, bake=0.0, batch_size=2)


class MortalRolling(Rolling, Mortal):
    pass


def test_replicas_are_replaced_in_batches(fake: Fake, tmp_path: Path) -> None:
    with pytest.raises(DeploymentError, match="nothing runs yet: deploy the first release by BlueGreen"):
        rolling(fake, tmp_path).deploy(TWO)
    machine(fake, tmp_path).deploy(FIVE)
    rollout = rolling(fake, tmp_path)
    assert [line.partition(":")[0] for line in rollout.plan(TWO)][1:4] == [
        f"batch {n} of 3" for n in (1, 2, 3)
    ]
    rollout.deploy(TWO)
    check(fake, rollout, FIVE_NEW)
    assert fake.batches == [2, 2, 1] and fake.active() == "blue"


@pytest.mark.parametrize("then", ["resume", "rollback"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("edge", range(1, 6))
def test_a_rolling_deployment_killed_at_an_edge(
    edge: int, when: str, then: str, fake: Fake, tmp_path: Path
) -> None:
    machine(fake, tmp_path).deploy(FIVE)
    mortal = rolling(fake, tmp_path, MortalRolling)
    mortal.dies_at = (edge, when)
    with pytest.raises(Killed):
        mortal.deploy(TWO)
    state, following = mortal.status().state, rolling(fake, tmp_path)
    if then == "rollback" and state in ("idle", "baked"):
        with pytest.raises(DeploymentError):
            following.rollback()
        then = "resume"
    getattr(following, then)()
    begun = (edge, when) != (1, "before")
    check(fake, following, FIVE_NEW if then == "resume" and begun else FIVE)


@pytest.mark.parametrize("then", ["resume", "rollback"])
@pytest.mark.parametrize("batch", [1, 2, 3])
def test_a_rolling_deployment_killed_after_a_batch(batch: int, then: str, fake: Fake, tmp_path: Path) -> None:
    machine(fake, tmp_path).deploy(FIVE)
    rollout, told = rolling(fake, tmp_path), []

    def kill(progress: str) -> None:
        told.append(progress)
        if sum("replaced" in one for one in told) == batch:
            raise Killed

    rollout.progress = kill
    with pytest.raises(Killed):
        rollout.deploy(TWO)
    assert fake.running["blue"].count("v2.0.0") == min(2 * batch, 5)
    following = rolling(fake, tmp_path)
    getattr(following, then)()
    check(fake, following, FIVE_NEW if then == "resume" else FIVE)


def test_a_bad_batch_goes_back_before_the_next(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(fake, tmp_path).deploy(FIVE)
    rollout = rolling(fake, tmp_path)
    monkeypatch.setattr(rollout, "_test", lambda now: Gate("smoke", ("it is raining",)))
    with pytest.raises(DeploymentError, match="it is raining"):
        rollout.deploy(TWO)
    assert fake.batches == [2, 2]
    check(fake, rollout, FIVE)


def test_a_batch_has_at_least_one(fake: Fake, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="batch_size=0: at least 1"):
        Rolling(fake, tmp_path, smoke_user=USER, batch_size=0)


def test_a_dry_run_tells_the_plan_and_does_nothing(fake: Fake, tmp_path: Path) -> None:
    rollout = machine(fake, tmp_path)
    assert [line.partition(":")[0] for line in rollout.plan(ONE)] == [*STATES[2:], "idle"]
    rollout.deploy(ONE)
    before = rollout.status()
    plan = "\n".join(rollout.plan(TWO))
    assert (
        "v1.0.0 against v2.0.0" in plan and "all traffic goes to green" in plan and "blue is drained" in plan
    )
    assert rollout.status() == before and fake.running == {"blue": ["v1.0.0"], "green": []}


def test_a_second_controller_is_refused_and_told_who_is_at_work(fake: Fake, tmp_path: Path) -> None:
    rollout, seen = machine(fake, tmp_path), []

    def second(_: str) -> None:
        with pytest.raises(BusyError, match=rf"process {os.getpid()} since 20\d\d-.* UTC; wait for its end"):
            machine(fake, tmp_path).deploy(TWO)
        seen.append(True)

    rollout.progress = second
    rollout.deploy(ONE)
    assert len(seen) == len(STATES)
    machine(fake, tmp_path).deploy(TWO)


def test_a_lock_of_one_that_was_killed_is_none(fake: Fake, tmp_path: Path) -> None:
    code = """
import sys, time
from pathlib import Path
from lib.stage.locks import file_lock
assert file_lock(Path(sys.argv[1]), "process 1")[0]()
print("held", flush=True)
time.sleep(300)
"""
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, str(tmp_path / "lock")]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout and holder.stdout.readline() == "held\n"
        with pytest.raises(BusyError, match="at work: process 1; wait"):
            machine(fake, tmp_path).deploy(ONE)
        holder.kill()
    assert (tmp_path / "lock").exists()
    machine(fake, tmp_path).deploy(ONE)
    assert not (tmp_path / "lock").exists()


def test_a_state_is_there_as_a_whole_or_not_at_all(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollout = machine(fake, tmp_path)
    rollout.deploy(ONE)
    before = (tmp_path / "deployment.json").read_bytes()
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("no space left on device")))
    with pytest.raises(OSError, match="no space left"):
        rollout.deploy(TWO)
    assert (tmp_path / "deployment.json").read_bytes() == before and json.loads(before)


# ── For real ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def database() -> Iterator[Server]:
    with postgres() as server:
        yield server


@pytest.fixture
def platform(database: Server) -> Iterator[Local]:
    with Local(database.url, faults=True) as platform:
        yield platform


def real(platform: Local | Remote, path: Path, traffic: Traffic | None = None, **options: float) -> BlueGreen:
    seconds = {"verify": 0.5, "bake": 0.5} | options
    return BlueGreen(
        platform, path, smoke_user=USER, traffic=traffic.requests if traffic else None, **seconds
    )  # type: ignore[arg-type]


def outcomes(requests: pd.DataFrame) -> Counter[str]:
    return Counter(requests["outcome"])


def test_deployed_under_traffic_no_request_fails_and_no_write_is_lost(
    platform: Local, tmp_path: Path
) -> None:
    real(platform, tmp_path).deploy(ONE)
    with Traffic(platform.router.url, rate=50, writes=0.2, timeout=20) as traffic:
        for target in (TWO, Target("v3.0.0", 3, replicas=2), TWO):
            real(platform, tmp_path, traffic).deploy(target)
    requests = traffic.requests()
    assert outcomes(requests) == {"ok": len(requests)} and len(requests) > 150
    assert {name.partition("-")[0] for name in requests["served_by"]} == {"blue", "green"}
    [port] = platform.ports(platform.active())
    written = requests.loc[requests["kind"] == "write", "user"]
    from lib.deployment.replicas import call

    assert all(call(port, f"/users/{user}")[0] == 200 for user in written)


def test_green_killed_after_the_switch_traffic_goes_back(platform: Local, tmp_path: Path) -> None:
    real(platform, tmp_path).deploy(ONE)
    killed: list[float] = []

    def kill(told: str) -> None:
        if told.startswith("switched:"):
            time.sleep(0.3)
            platform.replicas["green"][0].kill()
            killed.append(time.monotonic())

    with Traffic(platform.router.url, rate=200, writes=0.2, timeout=20) as traffic:
        rollout = real(platform, tmp_path, traffic, bake=10.0)
        rollout.progress = kill
        with pytest.raises(DeploymentError, match=r"(?s)replicas have gone.*Went back: v1\.0\.0 runs"):
            rollout.deploy(TWO)
        time.sleep(0.5)
    requests = traffic.requests()
    second = requests[requests["due"].between(killed[0], killed[0] + 1) & (requests["kind"] == "read")]
    assert len(second) > 100
    assert (second["outcome"] != "ok").sum() <= 0.01 * len(second)
    late = requests[requests["due"] > traffic.requests()["due"].max() - 0.4]
    assert outcomes(late) == {"ok": len(late)} and late["served_by"].str.startswith("blue").all()
    written = requests.loc[(requests["kind"] == "write") & (requests["outcome"] == "ok"), "user"]
    from lib.deployment.replicas import call

    [port] = platform.ports("blue")
    assert all(call(port, f"/users/{user}")[0] == 200 for user in written)


def test_rolled_out_under_traffic_nothing_fails(platform: Local, tmp_path: Path) -> None:
    real(platform, tmp_path).deploy(Target("v1.0.0", 1, replicas=3))
    serving = []
    with Traffic(platform.router.url, rate=50, writes=0.2, timeout=20) as traffic:
        rollout = Rolling(
            platform, tmp_path, smoke_user=USER, traffic=traffic.requests, verify=0.3, bake=0.3, batch_size=2,
            objective={"p99_s": 20.0}, progress=lambda _: serving.append(len(platform.ports("blue"))),
        )  # fmt: skip
        assert rollout.deploy(TWO).running == Target("v2.0.0", 2, replicas=3)
    requests = traffic.requests()
    assert outcomes(requests) == {"ok": len(requests)} and set(serving) == {3}
    assert set(platform.releases("blue").values()) == {"v2.0.0"} and platform.ports("green") == []


def test_a_bad_canary_hits_few(platform: Local, tmp_path: Path) -> None:
    real(platform, tmp_path).deploy(ONE)

    def spoil(told: str) -> None:
        if told == "canary: 10%":
            platform.replicas["green"][0].fault("wrong schema")

    with Traffic(platform.router.url, rate=50, writes=0.1, timeout=20) as traffic:
        rollout = Canary(
            platform, tmp_path, smoke_user=USER, traffic=traffic.requests, shares=(0.1, 0.5), pause=2.0,
            objective={"p99_s": 20.0}, progress=spoil,
        )  # fmt: skip
        with pytest.raises(DeploymentError, match="'wrong body'"):
            rollout.deploy(TWO)
        time.sleep(0.3)
    requests = traffic.requests()
    hit = (requests["outcome"] == "wrong body").sum()
    assert 0 < hit < 0.1 * len(requests) and outcomes(requests).keys() == {"ok", "wrong body"}
    assert requests.tail(10)["served_by"].str.startswith("blue").all()


@pytest.mark.parametrize(
    ("fault", "gate"),
    [("unready", "health: refused"), ("wrong schema", "smoke tests: refused")],
)
def test_a_faulty_release_gets_no_traffic(
    fault: str, gate: str, platform: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real(platform, tmp_path).deploy(ONE)
    create = platform.create

    def faulty(colour: Colour, *arguments: object) -> list[int]:
        ports = create(colour, *arguments)  # type: ignore[arg-type]
        platform.replicas[colour][0].fault(fault)
        return ports

    monkeypatch.setattr(platform, "create", faulty)
    with (
        Traffic(platform.router.url, rate=50, writes=0.2, timeout=20) as traffic,
        pytest.raises(DeploymentError, match=gate),
    ):
        real(platform, tmp_path, traffic).deploy(TWO)
    requests = traffic.requests()
    assert outcomes(requests) == {"ok": len(requests)} and requests["served_by"].str.startswith("blue").all()
    assert platform.ports("green") == []


CONTROLLER = """
import sys
from pathlib import Path
from lib.deployment.platform import Remote
from lib.deployment.rollout import BlueGreen
from lib.deployment.states import Target
from lib.stage.traffic import USER
rollout = BlueGreen(Remote(Path(sys.argv[1])), sys.argv[2], smoke_user=USER, verify=0.5, bake=0.5,
                    progress=lambda told: print(told.splitlines()[0], flush=True))
rollout.deploy(Target("v2.0.0", 2))
"""


@pytest.mark.parametrize(
    ("edge", "then"), [("created", "resume"), ("switched", "resume"), ("verified", "rollback")]
)
def test_a_real_controller_killed_is_followed_by_another(
    edge: str, then: str, platform: Local, tmp_path: Path
) -> None:
    real(platform, tmp_path).deploy(ONE)
    socket = tmp_path / "p.sock"
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", CONTROLLER, str(socket), str(tmp_path)]
    with serve(platform, socket), Traffic(platform.router.url, rate=50, writes=0.2, timeout=20) as traffic:
        with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as controller:
            assert controller.stdout
            for line in controller.stdout:
                if line.startswith(f"{edge}:"):
                    break
            else:
                raise AssertionError("it ended early")
            controller.kill()
        assert real(platform, tmp_path).status().state != "idle"
        now = getattr(real(Remote(socket), tmp_path, traffic), then)()
    assert (now.running, platform.active()) == ((TWO, "green") if then == "resume" else (ONE, "blue"))
    assert platform.ports(now.next_colour) == [] and len(platform.ports(now.colour)) == 1
    requests = traffic.requests()
    assert outcomes(requests) == {"ok": len(requests)}


def test_the_proxy_killed_in_a_state_comes_back_as_the_file_says(platform: Local, tmp_path: Path) -> None:
    rollout, seen = real(platform, tmp_path), []
    rollout.deploy(ONE)

    def kill(told: str) -> None:
        state = rollout.status().state
        active = "green" if state in STATES[STATES.index("switched") :] else "blue"
        platform.router.kill()
        platform.router.start()
        seen.append((platform.active(), platform.router.active) == (active, active) or state == "idle")

    rollout.progress = kill
    rollout.deploy(TWO)
    assert seen == [True] * len(STATES)
    assert platform.active() == "green" and rollout.status().running == TWO


def test_a_platform_on_a_socket(platform: Local, tmp_path: Path) -> None:
    path = tmp_path / "p.sock"
    with pytest.raises(PlatformError, match="nobody serves a platform there"):
        Remote(path).active()
    with serve(platform, path):
        assert path.stat().st_mode & 0o777 == 0o600
        assert (Remote(path).active(), Remote(path).ports("green")) == ("blue", [])
        with pytest.raises(PlatformError, match="ValueError: colour 'red'"):
            Remote(path).switch("red")
        with pytest.raises(PlatformError, match="no such method: 'stop'"):
            Remote(path)._call("stop")
        with pytest.raises(AttributeError):
            _ = Remote(path).stop
    until(lambda: not path.exists())
