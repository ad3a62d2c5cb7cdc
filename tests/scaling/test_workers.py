"""Real workers on a real broker: watched, scaled, drained, killed, and the owner killed."""

from __future__ import annotations

import contextlib
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import psutil
import pytest
from celery.exceptions import NotRegistered
from waiting import until

from lib.scaling import tasks
from lib.scaling.settings import EARLY, REJECTING, RESTORING
from lib.scaling.workers import Kind, Worker, WorkerPool
from lib.stage.processes import ProcessError
from lib.stage.servers import Server


def processes(worker: Worker) -> list[int]:
    """The processes of a worker that are there."""
    return [pid for pid in psutil.pids() if worker.process.owns(pid)]


@pytest.fixture(scope="module")
def idle(broker: Server) -> Iterator[WorkerPool]:
    """One worker, for tests that leave it as it is, and without a task. A worker takes a second to start.

    It looks for abandoned tasks, and takes none for one, however slow this machine is.
    """
    with WorkerPool(1, broker=broker, delivery=replace(RESTORING, visibility_timeout=3600.0)) as pool:
        yield pool


def under_way(pool: WorkerPool) -> int:
    """How many tasks a worker is doing now."""
    return int((pool.events()["outcome"] == "under way").sum())


# ── What workers do ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("workers", "concurrency", "kind", "processes"),
    [(2, 2, "prefork", 4), (1, 3, "threads", 1)],
)
def test_tasks_under_way(broker: Server, workers: int, concurrency: int, kind: Kind, processes: int) -> None:
    """They are as many as workers do at a time, and those of a worker that is killed are cut off."""
    with WorkerPool(workers, concurrency=concurrency, kind=kind, broker=broker) as pool:
        pool.send("pause", [(1.0,)] * 2 * workers * concurrency)
        assert pool.wait() == 0
        events = pool.events()
        pool.send("pause", [(1.0,)] * 3 * workers * concurrency)
        killed, later = pool.kill(), pool.events()
    assert set(events["outcome"]) == {"done"} and events["pid"].nunique() == processes
    assert len(killed) == concurrency and set(later.loc[later["outcome"] == "cut off", "task"]) == killed
    at = [((events["start"] <= moment) & (moment < events["end"])).sum() for moment in events["start"]]
    assert max(at) == workers * concurrency


def test_events_tell_who_did_what_and_when(broker: Server) -> None:
    with WorkerPool(2, broker=broker) as pool:
        before = time.time()
        assert pool.events().empty
        sent = pool.send("compute", [(1000,)] * 5) + pool.send("pause", [("nonsense",)])
        assert pool.wait() == 0
        pool.scale(0)
        waiting = pool.send("pause", [(0.1,)])
        events = pool.events()
    assert list(events.columns) == "task worker pid queued start end cpu try outcome error".split()
    assert Counter(events["outcome"]) == {"done": 5, "failure": 1, "waiting": 1}
    assert set(events["task"]) == {*sent, *waiting}
    begun = events[events["outcome"] != "waiting"]
    assert set(begun["worker"]) <= {"w1", "w2"} and set(begun["try"]) == {1}
    times = begun[["queued", "start", "end"]].to_numpy()
    assert (times >= before).all() and (np.diff(times) >= 0).all()
    failed = events[events["outcome"] == "failure"].iloc[0]
    assert failed["task"] == sent[-1] and failed["error"].startswith("TypeError: ")
    last = events.iloc[-1]
    assert (last["task"], last["try"]) == (waiting[0], 0) and events["start"].isna().sum() == 1


def test_events_tell_the_processor_time_of_each_task(broker: Server, idle: WorkerPool) -> None:
    # No task takes too long for this delivery.
    with WorkerPool(1, kind="solo", broker=broker, delivery=REJECTING) as solo:
        for pool in (idle, solo):
            sent = pool.send("pause", [(0.5,)]) + pool.send("compute", [(5_000_000,)])
            assert pool.wait() == 0
            events = pool.events().set_index("task").loc[sent]
            waited, computed = events["cpu"]
            assert 0 < waited < computed / 2
            assert (events["cpu"] < events["end"] - events["start"] + 0.05).all()


def test_threads_that_read_the_events_at_the_same_time_lose_none(idle: WorkerPool) -> None:
    sent = idle.send("pause", [(0.0,)] * 400)
    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(lambda _: idle.wait(), range(3))) == [0, 0, 0]
    events = idle.events()
    assert Counter(events.loc[events["task"].isin(sent), "outcome"]) == {"done": len(sent)}


# ── Up, down, drained ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_worker_that_stops_while_tasks_begin_and_end_acknowledges_what_it_has_done(broker: Server) -> None:
    """Stopped between the begin of a task and its child's report of it, Celery alone gives the task up, and hangs for a while."""
    seen = set[Worker]()
    with WorkerPool(0, broker=broker) as pool:
        sent = pool.send("book", [(0.0,)] * 2000)
        for _ in range(2):
            for number in (3, 1, 0):
                pool.scale(number)
                seen |= set(pool.workers)
                assert len(pool.workers) == number
            assert [processes(worker) for worker in seen] == [[]] * len(seen)
            assert pool.unacknowledged() == set()
            assert len(pool.ledger()) == len(sent) - pool.queue_length()
            assert Counter(pool.events()["outcome"])["waiting"] == pool.queue_length()
        assert set(pool.ledger().values()) == {1} and len(seen) == 6


def test_a_signal_to_stop_calls_nothing_of_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """It interrupts that loop, perhaps while it holds its lock: the worker would wait for itself for ever."""
    set_handler, consumer = Mock(), Mock()
    monkeypatch.setattr(signal, "signal", set_handler)
    tasks._drain_before_stop(consumer)
    calls = list(consumer.hub.mock_calls)
    set_handler.call_args.args[1]()
    assert consumer.hub.mock_calls == calls


def test_a_task_too_long_for_a_patient_stop_is_reported(broker: Server) -> None:
    with WorkerPool(1, broker=broker) as pool:
        pool.send("pause", [(300.0,)])
        until(lambda: under_way(pool))
        pool.timeout = 0.5
        with pytest.raises(TimeoutError, match=r"Worker w1 still has a task under way after 0\.5 s"):
            pool.scale(0)


def test_two_pools_on_one_broker_see_nothing_of_each_other(broker: Server, idle: WorkerPool) -> None:
    with WorkerPool(1, broker=broker) as other:
        sent = idle.send("book", [(0.1,)] * 10), other.send("book", [(0.1,)] * 5)
        assert (idle.wait(), other.wait()) == (0, 0)
        assert tuple(map(set, sent)) == (set(idle.ledger()), set(other.ledger()))
        assert set(other.events()["task"]) == set(sent[1]) and set(sent[0]) <= set(idle.events()["task"])
        other.stop()
        other.stop()
        assert list(idle.store.scan_iter(other.settings.key("*"))) == []
        assert set(map(str, idle.store.scan_iter(idle.settings.key("*"))))
        idle.send("book", [(0.1,)])
        assert idle.wait() == 0


# ── Releases side by side ────────────────────────────────────────────────────────────────────────────────────────


def test_those_workers_are_drained_or_killed_that_were_named(broker: Server) -> None:
    with WorkerPool(3, broker=broker, delivery=RESTORING) as pool:
        first, second, third = pool.workers
        sent = pool.send("pause", [(0.3,)] * 20, queue="other")
        pool.drain(pool.add(1, queues=["other"]))  # while it has a task under way, from a queue of its own
        assert pool.workers == [first, second, third] and pool.queue_length("other") == len(sent) - len(
            pool.events().query("outcome == 'done'")
        )
        pool.send("pause", [(0.3,)] * 20)
        killed = pool.kill(among=[second])
        assert pool.workers == [first, third]
        assert (
            set(pool.events().query("outcome == 'cut off'")["worker"]) == {second.name} and len(killed) == 1
        )


def test_workers_in_containers_can_not_be_given_code(
    idle: WorkerPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idle, "_network", object())
    with pytest.raises(ValueError, match="in containers run the code of their image"):
        idle.add(1, code="pass")


# ── Killed ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_kill_does_not_come_too_late(broker: Server) -> None:
    with WorkerPool(1, broker=broker, delivery=EARLY) as pool:
        pool.send("pause", [(0.2,)] * 300)
        killed = set[str]().union(*(pool.kill(whole_worker=False) for _ in range(5)))
        events = pool.events()
    assert len(killed) == 5
    assert set(events.loc[events["task"].isin(killed), "outcome"]) == {"cut off"}


def test_a_killed_worker_holds_up_the_search_for_abandoned_tasks_for_seconds(idle: WorkerPool) -> None:
    """The worker that looks has a lock on the broker. If it dies, it can't give the lock back: so the lock ends by itself."""
    with idle.store.monitor() as monitor:
        key, deadline = idle.settings.key("unacked_mutex"), time.monotonic() + 30
        for message in monitor.listen():
            words = message["command"].split()
            if words[0] == "SET" and words[1] == key:
                break
            assert time.monotonic() < deadline, "no worker has looked"
    assert int(words[words.index("PX") + 1]) == 5000


def test_without_tasks_there_is_nothing_to_cut_off(idle: WorkerPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle, "timeout", 0.1)
    with pytest.raises(TimeoutError, match=r"in the middle of its tasks within 0\.1 s: have you sent any"):
        idle.kill()
    assert len(idle.workers) == 1


# ── Refused, and kept secret ─────────────────────────────────────────────────────────────────────────────────────


def test_what_a_pool_can_not_do_is_refused(broker: Server) -> None:
    with WorkerPool(0, broker=broker) as pool:
        with pytest.raises(ValueError, match="workers=-1: at least 0"):
            pool.scale(-1)
        with pytest.raises(ValueError, match="timeout=nan: at least 0"):
            pool.wait(float("nan"))
        with pytest.raises(NotRegistered, match="lib.scaling.tasks.remove"):
            pool.send("remove", [()])
        with pytest.raises(Exception, match="not JSON serializable"):
            pool.send("pause", [(object(),)])
        assert pool.queue_length() == 0 and pool.wait(1) == 0


def test_a_worker_that_does_not_start_is_explained_and_leaves_nothing(broker: Server, tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()  # there is no application in it
    (tmp_path / "lib" / "__init__.py").touch()
    with pytest.raises(ProcessError, match=r"(?s)Worker w1 ended with status \d .*Its log ends with"):
        WorkerPool(1, broker=broker, tree=tmp_path)


def test_the_password_is_on_no_command_line(broker: Server, idle: WorkerPool) -> None:
    [password] = re.findall(r":(\w+)@", broker.url)
    [worker] = idle.workers
    lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in processes(worker)]
    assert len(lines) == 2 and password.encode() not in b"".join(lines)
    assert password not in worker.process.output()
    assert idle.metrics_urls == {}, "none reports unasked"


def test_a_pickled_message_is_refused(idle: WorkerPool) -> None:
    """Unpickling could run anybody's code: a worker must not even try."""
    with contextlib.suppress(Exception):
        idle._app.send_task("lib.scaling.tasks.compute", (10,), serializer="pickle")
    before, good = set(idle.events()["task"]), idle.send("compute", [(10,)])
    assert idle.wait() == 0
    assert set(idle.events()["task"]) - before == set(good)
