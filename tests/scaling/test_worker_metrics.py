"""What workers report to Prometheus, against what their events say."""

from __future__ import annotations

from collections import defaultdict
from urllib.error import URLError

import pytest
from waiting import until

from lib.scaling.settings import LATE, REJECTING, Delivery
from lib.scaling.workers import Kind, WorkerPool
from lib.stage.scraping import fetch, parse
from lib.stage.servers import Server


def scraped(pool: WorkerPool) -> dict[tuple[str, ...], float]:
    """What all workers report, added up: by name and labels, without that of the task; other tasks than `pause` are none."""
    sums = defaultdict[tuple[str, ...], float](float)
    for url in pool.metrics_urls.values():
        for name, labels, value, *_ in parse(fetch(url)):
            assert labels.pop("task", "pause") == "pause" or value == 0
            sums[name, *labels.values()] += value
    return sums


@pytest.mark.parametrize(("workers", "kind", "each"), [(2, "prefork", 2), (1, "threads", 2), (1, "solo", 1)])
def test_each_task_is_counted_once_with_its_times(
    broker: Server, workers: int, kind: Kind, each: int
) -> None:
    with WorkerPool(workers, concurrency=each, kind=kind, broker=broker, metrics=True) as pool:
        pool.send("pause", [(0.12,)] * 8 + [("nonsense",)])
        assert pool.wait() == 0
        # Counted a moment after it is over.
        until(lambda: scraped(pool)["celery_task_duration_seconds_count",] == 9)
        events, sums = pool.events(), scraped(pool)
    assert (sums["celery_tasks_total", "done"], sums["celery_tasks_total", "failure"]) == (8, 1)
    for name in ("celery_task_wait_seconds", "celery_task_duration_seconds"):
        assert sums[f"{name}_count",] == sums[f"{name}_bucket", "+Inf"] == 9
    assert sums["celery_task_duration_seconds_bucket", "0.1"] <= 1, "at most the failure is that quick"
    assert sums["celery_task_duration_seconds_sum",] >= 8 * 0.12
    # By two clocks, one after the other, in the same process: how far apart they are depends on the machine, not on the tasks.
    took, waited = events["end"] - events["start"], events["start"] - events["queued"]
    assert sums["celery_task_duration_seconds_sum",] == pytest.approx(took.sum(), rel=0.5)
    assert sums["celery_task_wait_seconds_sum",] == pytest.approx(waited.sum(), rel=0.5)


def test_a_worker_says_0_then_what_waits_and_runs_and_nothing_once_it_is_killed(broker: Server) -> None:
    """Prometheus sees an increase only from one value to the next: the first loss of all needs a 0 before it."""
    with WorkerPool(1, broker=broker, metrics=True) as pool:
        first = scraped(pool)
        pool.send("pause", [(300.0,)] * 6)
        until(lambda: scraped(pool)["celery_worker_tasks_active",] == 1)
        assert scraped(pool)["celery_queue_length", "tasks"] == pool.queue_length() == 5
        [url] = pool.metrics_urls.values()
        pool.workers[0].process.kill()
        assert pool.metrics_urls == {}
        with pytest.raises(URLError):
            fetch(url)
    names = [("celery_tasks_total", outcome) for outcome in ("done", "failure", "lost")]
    names += [("celery_task_wait_seconds_count",), ("celery_task_duration_seconds_count",)]
    assert {name: first.get(name) for name in names} == dict.fromkeys(names, 0)


@pytest.mark.parametrize(("delivery", "lost"), [(LATE, 1), (REJECTING, 0)])
def test_a_task_of_a_killed_child_is_lost_or_goes_back(broker: Server, delivery: Delivery, lost: int) -> None:
    with WorkerPool(1, broker=broker, delivery=delivery, metrics=True) as pool:
        first, _ = pool.send("pause", [(0.1,), (1.0,)])
        pool.kill(whole_worker=False, once=lambda tasks: first not in tasks)
        assert pool.wait() == 0
        until(lambda: sum(scraped(pool)["celery_tasks_total", outcome] for outcome in ("lost", "done")) == 2)
        sums, events = scraped(pool), pool.events()
    assert sums["celery_tasks_total", "lost"] == lost
    assert events["error"].str.startswith("WorkerLostError: ").sum() == lost
    assert sums["celery_tasks_total", "done"] == 2 - lost, "what a killed child had counted stays"
    assert sums["celery_task_wait_seconds_count",] == 3 - lost
