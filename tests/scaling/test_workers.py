"""Real workers on a real broker: watched, scaled, drained, killed, and the owner killed."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import until

from lib.scaling.tasks import EARLY, LATE, QUEUE, REJECTING, RESTORING, Delivery
from lib.scaling.workers import Worker, WorkerPool
from lib.stage import servers
from lib.stage.processes import ProcessError
from lib.stage.servers import Server, valkey

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def broker() -> Iterator[Server]:
    with valkey() as server:
        yield server


def session(leader: int | None) -> list[int]:
    """The processes of a session that are alive."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(ValueError, OSError):
            dead = (entry / "stat").read_text().rpartition(") ")[2][0] == "Z"
            if os.getsid(int(entry.name)) == leader and not dead:
                found.append(int(entry.name))
    return found


def throughput(pool: WorkerPool, tasks: int, seconds: float) -> float:
    """Tasks a second, from the first start to the last end."""
    ids = pool.send("pause", [(seconds,)] * tasks)
    assert pool.wait(60) == 0
    events = pool.events()
    events = events[events["task"].isin(ids)]
    assert Counter(events["outcome"]) == {"done": tasks}
    return tasks / (events["end"].max() - events["start"].min())


# ── What workers do ──────────────────────────────────────────────────────────────────────────────────────────────


def test_four_workers_wait_nearly_four_times_as_fast_as_one(broker: Server) -> None:
    with WorkerPool(1, broker=broker) as pool:
        alone = throughput(pool, 8, 0.5)
        pool.scale(4)
        assert throughput(pool, 32, 0.5) > 3.4 * alone


def test_events_tell_who_did_what_and_when(broker: Server) -> None:
    with WorkerPool(2, broker=broker) as pool:
        before = time.time()
        assert pool.events().empty
        sent = pool.send("compute", [(1000,)] * 5) + pool.send("pause", [("nonsense",)])
        assert pool.wait(30) == 0
        pool.drain()
        waiting = pool.send("pause", [(0.1,)])
        events = pool.events()
    assert list(events.columns) == "task worker pid queued start end cpu try outcome error".split()
    assert Counter(events["outcome"]) == {"done": 5, "failure": 1, "waiting": 1}
    assert set(events["task"]) == {*sent, *waiting}
    begun = events[events["outcome"] != "waiting"]
    assert set(begun["worker"]) <= {"w1", "w2"} and set(begun["try"]) == {1}
    assert (
        (before <= begun["queued"]) & (begun["queued"] <= begun["start"]) & (begun["start"] <= begun["end"])
    ).all()
    failed = events[events["outcome"] == "failure"].iloc[0]
    assert failed["task"] == sent[-1] and failed["error"].startswith("TypeError: ")
    last = events.iloc[-1]
    assert (last["task"], last["try"]) == (waiting[0], 0) and events["start"].isna().sum() == 1


@pytest.mark.parametrize("kind", ["prefork", "threads", "solo"])
def test_events_tell_the_processor_time_of_each_task(broker: Server, kind: str) -> None:
    with WorkerPool(1, kind=kind, broker=broker) as pool:
        pool.send("pause", [(0.5,)])
        pool.send("compute", [(5_000_000,)])
        assert pool.wait(30) == 0
        events = pool.events()
    waited, computed = events["cpu"]
    assert 0 < waited < 0.1 < computed
    assert (events["cpu"] < events["end"] - events["start"] + 0.05).all()


@pytest.mark.parametrize("kind", ["prefork", "threads"])
def test_a_worker_does_several_tasks_at_a_time(broker: Server, kind: str) -> None:
    with WorkerPool(1, concurrency=3, kind=kind, broker=broker) as pool:
        pool.send("pause", [(1.0,)] * 3)
        assert pool.wait(30) == 0
        events = pool.events()
    assert events["start"].max() < events["end"].min()
    assert events["pid"].nunique() == (3 if kind == "prefork" else 1)


def test_progress_is_told(broker: Server) -> None:
    seen: list[tuple[int, int]] = []
    with WorkerPool(1, broker=broker) as pool:
        pool.send("pause", [(0.1,)] * 5)
        pool.wait(30, progress=lambda ended, sent: seen.append((ended, sent)))
    assert seen == sorted(seen) and seen[-1] == (5, 5) and {sent for _, sent in seen} == {5}
    assert len({ended for ended, _ in seen}) >= 3


# ── Up, down, drained ────────────────────────────────────────────────────────────────────────────────────────────


def test_scaled_under_load_no_task_is_lost_and_no_process_left(broker: Server) -> None:
    leaders = set[int | None]()
    with WorkerPool(2, broker=broker) as pool:
        sent = pool.send("book", [(0.2,)] * 60)
        for number in (5, 1, 4):
            pool.scale(number)
            leaders |= {worker.pid for worker in pool.workers}
            assert len(pool.workers) == number
        assert len(leaders) == 2 + 3 + 3
        assert pool.wait(60) == 0
        assert pool.ledger() == dict.fromkeys(sent, 1)
        assert Counter(pool.events()["outcome"]) == {"done": 60}
        gone = leaders - {worker.pid for worker in pool.workers}
        assert [session(leader) for leader in gone] == [[]] * 4
    assert [session(leader) for leader in leaders] == [[]] * 8


def test_a_worker_that_stops_while_tasks_begin_and_end_acknowledges_what_it_has_done(broker: Server) -> None:
    """Told to stop between the begin of a task and its child's report of it, Celery alone gives the task up, and hangs for a while."""
    with WorkerPool(0, broker=broker) as pool:
        sent = pool.send("book", [(0.0,)] * 2000)
        for _ in range(4):
            pool.scale(3)
            left = pool.drain()
            assert pool.unacknowledged() == set()
            assert len(pool.ledger()) == len(sent) - left
        assert 0 < left < 2000 and set(pool.ledger().values()) == {1}


@pytest.mark.parametrize("end", ["stop", "kill", "drain"])
def test_no_file_is_left(end: str, broker: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with WorkerPool(1, broker=broker) as pool:
        pool.send("pause", [(0.1,)])
        assert pool.wait(30) == 0 and list(tmp_path.iterdir())
        if end == "kill":
            pool.kill()
        elif end == "drain":
            pool.drain()
    assert list(tmp_path.iterdir()) == []


def test_drained_workers_end_what_they_have_begun_and_take_nothing_new(broker: Server) -> None:
    with WorkerPool(2, broker=broker) as pool:
        pool.send("book", [(1.0,)] * 8)
        until(lambda: len(pool.busy()) == 2)
        left = pool.drain()
        assert pool.workers == []
        outcomes = Counter(pool.events()["outcome"])
        assert outcomes["done"] + left == 8 and set(outcomes) == {"done", "waiting"} and left >= 4
        assert pool.unacknowledged() == set()
        assert sum(pool.ledger().values()) == outcomes["done"]


def test_a_task_too_long_for_a_patient_stop_is_told(broker: Server) -> None:
    with WorkerPool(1, broker=broker, timeout=20) as pool:
        pool.send("pause", [(30.0,)])
        until(pool.busy)
        pool.timeout = 0.5
        with pytest.raises(
            TimeoutError, match=r"Worker w1 still has a task under way after 0\.5 s; `kill` ends it"
        ):
            pool.scale(0)
        pool.kill()
        pool.scale(0)


def test_two_pools_on_one_broker_see_nothing_of_each_other(broker: Server) -> None:
    with WorkerPool(1, broker=broker) as one, WorkerPool(1, broker=broker) as two:
        sent = one.send("book", [(0.1,)] * 10), two.send("book", [(0.1,)] * 5)
        assert (one.wait(30), two.wait(30)) == (0, 0)
        assert tuple(map(set, sent)) == (set(one.ledger()), set(two.ledger()))
        assert [len(pool.events()) for pool in (one, two)] == [10, 5]
        two.stop()
        two.stop()
        assert list(one.store.scan_iter(two.settings.key("*"))) == []
        assert set(map(str, one.store.scan_iter(one.settings.key("*"))))
        one.send("book", [(0.1,)])
        assert one.wait(30) == 0


# ── Killed ───────────────────────────────────────────────────────────────────────────────────────────────────────


def kill_at_work(pool: WorkerPool, *, whole_worker: bool) -> str:
    """Kill while the only task is under way and its payment booked."""
    [task] = pool.send("book", [(2.0,)])
    until(lambda: pool.ledger().get(task))
    pool.kill(whole_worker=whole_worker)
    pool.scale(1)
    return task


@pytest.mark.parametrize(
    ("delivery", "whole_worker", "tries", "times", "unacknowledged"),
    [
        (EARLY, False, ["cut off"], 1, 0),
        (LATE, False, ["cut off"], 1, 0),
        (REJECTING, False, ["cut off", "done"], 2, 0),
        (EARLY, True, ["cut off"], 1, 0),
        (REJECTING, True, ["cut off"], 1, 1),
        (RESTORING, True, ["cut off", "done"], 2, 0),
    ],
)
def test_what_becomes_of_a_task_whose_worker_is_killed(
    broker: Server, delivery: Delivery, whole_worker: bool, tries: list[str], times: int, unacknowledged: int
) -> None:
    with WorkerPool(1, broker=broker, delivery=delivery) as pool:
        task = kill_at_work(pool, whole_worker=whole_worker)
        if tries[-1] == "done":
            assert pool.wait(60) == 0
        else:  # another task that comes later is done, so this one would have been
            pool.send("pause", [(0.1,)])
            until(lambda: "done" in set(pool.events()["outcome"]))
        first = pool.events().groupby("task", sort=False).get_group(task)
        assert list(first["outcome"]) == tries and list(first["try"]) == [*range(1, len(tries) + 1)]
        assert list(pool.ledger().values()) == [times]
        until(lambda: len(pool.unacknowledged()) == unacknowledged)  # said a moment after the task is done
        assert pool.queue_length() == 0
        given_up = delivery in (EARLY, LATE) and not whole_worker
        assert first["error"].str.startswith("WorkerLostError: ").any() == given_up


def just_begun(pool: WorkerPool) -> list[Worker]:
    """Workers in the middle of a task, which take nothing now: see RESTORING."""
    now = pool.events().query("outcome == 'under way'")
    names = set(now.loc[time.time() - now["start"] < 0.1, "worker"])
    return [worker for worker in pool.workers if worker.name in names]


@pytest.mark.parametrize("delivery", [RESTORING, EARLY], ids=["restoring", "early"])
def test_workers_killed_one_after_another(broker: Server, delivery: Delivery) -> None:
    """With the right settings each task is done and its effect there once; the negative control loses some."""
    with WorkerPool(4, broker=broker, delivery=delivery) as pool:
        sent = pool.send("book_once", [(0.3,)] * 60)
        for _ in range(3):
            found = list[Worker]()
            until(lambda found=found: found.extend(just_begun(pool)) or found)
            pool.kill(found[0])
            pool.scale(4)
        if delivery is RESTORING:
            assert pool.wait(60) == 0
            assert pool.ledger() == dict.fromkeys(sent, 1)
            assert pool.queue_length() == 0 and pool.unacknowledged() == set()
        else:
            until(lambda: pool.queue_length() == 0 and not pool.busy(), 60)
            assert 1 <= pool.wait(0) <= 6, "an early acknowledgement should lose what a killed worker does"


def test_a_worker_killed_while_it_looks_for_abandoned_tasks_holds_up_the_others_for_seconds_only(
    broker: Server,
) -> None:
    """Who looks has a lock on the broker; whoever dies with it can't give it back, so it has to go by itself."""
    with WorkerPool(1, broker=broker) as pool, pool.store.monitor() as monitor:
        key, deadline = pool.settings.key("unacked_mutex"), time.monotonic() + 30
        for told in monitor.listen():
            words = told["command"].split()
            if words[0] == "SET" and words[1] == key:
                break
            assert time.monotonic() < deadline, "no worker has looked"
    assert int(words[words.index("PX") + 1]) == 5000


def test_whom_to_kill_must_be_there_and_at_work(broker: Server) -> None:
    with WorkerPool(1, broker=broker) as pool:
        with pytest.raises(
            ProcessError, match=r"Worker w1 has no child at work: wait until `busy\(\)` names it"
        ):
            pool.kill(whole_worker=False)
        [worker] = pool.workers
        pool.kill(worker, signal.SIGTERM)
        until(lambda: not pool.workers)
        with pytest.raises(ProcessError, match="There is no worker w1 to kill: `scale` starts new ones"):
            pool.kill(worker)
        with pytest.raises(ProcessError, match="There is no worker +to kill"):
            pool.kill()
        with pytest.raises(ProcessError, match="There is no worker other to kill"):
            pool.scale(1)
            pool.kill(Worker("other", worker.process))


def test_an_owner_killed_leaves_no_process() -> None:
    code = """
import time
from lib.scaling.workers import WorkerPool
pool = WorkerPool(3)
pool.send("pause", [(60,)] * 3)
while len(pool.busy()) < 3: time.sleep(0.05)
print(*[worker.pid for worker in pool.workers], flush=True)
time.sleep(300)
"""
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environ, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout
        leaders = list(map(int, owner.stdout.readline().split()))
        try:
            assert len(leaders) == 3 and all(len(session(leader)) == 2 for leader in leaders)
        finally:
            owner.kill()
        until(lambda: not any(map(session, leaders)), 5)


# ── Refused, and kept secret ─────────────────────────────────────────────────────────────────────────────────────


def test_bad_arguments_are_refused(broker: Server) -> None:
    for options in ({"concurrency": 0}, {"concurrency": 2, "kind": "solo"}):
        with pytest.raises(ValueError, match="at least 1, and for solo just 1"):
            WorkerPool(1, broker=broker, **options)
    with WorkerPool(0, broker=broker) as pool:
        with pytest.raises(ValueError, match=r"workers=-1: there can't be fewer than 0"):
            pool.scale(-1)
        with pytest.raises(
            ValueError, match="task 'remove': choose one of book, book_once, compute, pause, upgrade"
        ):
            pool.send("remove", [()])
        assert pool.queue_length() == 0 and pool.drain() == 0


def test_a_worker_that_does_not_start_is_explained_and_leaves_nothing(broker: Server) -> None:
    with pytest.raises(
        ProcessError, match=r"(?s)Worker w1 ended with status \d before it was ready.*Its log ends with"
    ):
        WorkerPool(1, broker=broker, kind="no such kind")  # type: ignore[arg-type]


def test_the_password_is_on_no_command_line(broker: Server) -> None:
    [password] = re.findall(r":(\w+)@", broker.url)
    with WorkerPool(1, broker=broker) as pool:
        [worker] = pool.workers
        lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in session(worker.pid)]
        assert len(lines) == 2 and password.encode() not in b"".join(lines)
        assert password not in worker.process.output()


def test_a_pickled_message_is_refused(broker: Server) -> None:
    """Unpickling could run anybody's code: a worker must not even try."""
    with WorkerPool(1, broker=broker) as pool:
        name = "lib.scaling.tasks.compute"
        with contextlib.suppress(Exception):
            pool._app.send_task(name, (10,), serializer="pickle")
        good = pool.send("compute", [(10,)])
        assert pool.wait(30) == 0
        assert set(pool.events()["task"]) == set(good)


def test_the_broker_of_the_environment_is_used_and_left_running(
    broker: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(servers.BROKER_VARIABLE, broker.url)
    with WorkerPool(1) as pool:
        assert pool.settings.broker == broker.url
        pool.send("pause", [(0.1,)])
        assert pool.store.exists(pool.settings.key(QUEUE)) or pool.wait(30) == 0
    with valkey() as same:
        assert same.url == broker.url and same.process is None
