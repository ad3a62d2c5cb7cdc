"""What workers tell Prometheus, against what their events say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from urllib.error import URLError

import pytest
from waiting import until

from lib.scaling.tasks import LATE, REJECTING, Delivery
from lib.scaling.workers import Kind, WorkerPool
from lib.stage.scraping import fetch, parse
from lib.stage.servers import Server, valkey


@pytest.fixture(scope="module")
def broker() -> Iterator[Server]:
    with valkey() as server:
        yield server


def told(pool: WorkerPool) -> dict[tuple[str, ...], float]:
    """What all workers tell, added up: by name and labels (without the name of the task), which is `pause` everywhere."""
    sums = defaultdict[tuple[str, ...], float](float)
    for url in pool.metrics_urls.values():
        for name, labels, value in parse(fetch(url)):
            assert labels.pop("task", "pause") == "pause"
            sums[name, *labels.values()] += value
    return sums


@pytest.mark.parametrize(("kind", "concurrency"), [("prefork", 2), ("threads", 2), ("solo", 1)])
def test_each_task_is_counted_once_with_its_times(broker: Server, kind: Kind, concurrency: int) -> None:
    with WorkerPool(2, concurrency=concurrency, kind=kind, broker=broker, metrics=True) as pool:
        pool.send("pause", [(0.12,)] * 8 + [("nonsense",)])
        assert pool.wait(30) == 0
        until(
            lambda: told(pool)["celery_task_duration_seconds_count",] == 9
        )  # counted a moment after it is over
        events, sums = pool.events(), told(pool)
    assert (sums["celery_tasks_total", "done"], sums["celery_tasks_total", "failure"]) == (8, 1)
    for name in ("celery_task_wait_seconds", "celery_task_duration_seconds"):
        assert sums[f"{name}_count",] == sums[f"{name}_bucket", "+Inf"] == 9
    took = events["end"] - events["start"]
    assert sums["celery_task_duration_seconds_sum",] == pytest.approx(took.sum(), abs=0.3)
    assert sums["celery_task_duration_seconds_bucket", "0.1"] == 1, "only the failure is that quick"
    waited = events["start"] - events["queued"]
    assert sums["celery_task_wait_seconds_sum",] == pytest.approx(waited.sum(), abs=0.3)


def test_what_waits_and_runs_now_is_told(broker: Server) -> None:
    with WorkerPool(1, broker=broker, metrics=True) as pool:
        pool.send("pause", [(1.0,)] * 6)
        until(pool.busy)
        sums = told(pool)
        assert sums["celery_queue_length", "tasks"] == pool.queue_length() >= 3
        assert sums["celery_worker_tasks_active",] >= 1
        assert pool.wait(30) == 0
        until(lambda: told(pool)["celery_worker_tasks_active",] == 0)
        assert told(pool)["celery_queue_length", "tasks"] == 0


@pytest.mark.parametrize(("delivery", "lost"), [(LATE, 1), (REJECTING, 0)])
def test_a_task_whose_child_was_killed_is_lost_unless_it_goes_back(
    broker: Server, delivery: Delivery, lost: int
) -> None:
    with WorkerPool(1, broker=broker, delivery=delivery, metrics=True) as pool:
        pool.send("pause", [(0.1,), (2.0,)])
        until(lambda: (pool.events()["outcome"] == "done").any() and pool.busy())
        pool.kill(whole_worker=False)
        assert pool.wait(30) == 0
        until(lambda: sum(told(pool)["celery_tasks_total", outcome] for outcome in ("lost", "done")) == 2)
        sums = told(pool)
    assert sums["celery_tasks_total", "lost"] == lost
    assert sums["celery_tasks_total", "done"] == 2 - lost, "what a killed child had counted stays"
    assert sums["celery_task_wait_seconds_count",] == 3 - lost


def test_who_is_gone_tells_nothing_and_nobody_tells_unasked(broker: Server) -> None:
    with WorkerPool(1, broker=broker, metrics=True) as pool:
        [url] = pool.metrics_urls.values()
        pool.kill()
        assert pool.metrics_urls == {}
        with pytest.raises(URLError):
            fetch(url)
    with WorkerPool(1, broker=broker) as pool:
        assert pool.metrics_urls == {}
