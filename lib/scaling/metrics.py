"""Metrics of a worker, for Prometheus: tasks by outcome, waiting times, durations, queue length and running tasks.

A worker is several processes. Each process adds to files in the directory PROMETHEUS_MULTIPROC_DIR, and the main process serves
the sums on a free port of 127.0.0.1 (the multiprocess mode of prometheus-client). The counts of a killed child are kept.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import prometheus_client
from billiard.exceptions import WorkerLostError
from celery import Celery, Task, signals
from celery.worker.state import active_requests
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector

from lib.scaling.settings import QUEUE, connection

#: Upper ends, in seconds: tasks take longer than requests.
BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900)

ENDED = prometheus_client.Counter(
    "celery_tasks", "Tasks that have ended, by outcome", ["task", "outcome"], registry=None
)
WAITED = prometheus_client.Histogram(
    "celery_task_wait_seconds", "From sent to begun", ["task"], registry=None, buckets=BUCKETS
)
TOOK = prometheus_client.Histogram(
    "celery_task_duration_seconds", "From begun to ended", ["task"], registry=None, buckets=BUCKETS
)


def _name(task: Task) -> str:
    return task.name.rpartition(".")[2]


@signals.task_prerun.connect
def _begin(task: Task, **_: Any) -> None:
    task.request.begun = time.perf_counter()
    if queued := task.request.get("queued"):  # by the sender's clock
        WAITED.labels(_name(task)).observe(max(0.0, time.time() - queued))


@signals.task_postrun.connect
def _end(task: Task, state: str, **_: Any) -> None:
    TOOK.labels(_name(task)).observe(time.perf_counter() - task.request.begun)
    ENDED.labels(_name(task), "done" if state == "SUCCESS" else state.lower()).inc()


@signals.task_failure.connect
def _lose(sender: Task, exception: BaseException, **_: Any) -> None:
    """Count the lost task of a killed child: the main process does it, because the child cannot."""
    if isinstance(exception, WorkerLostError):
        ENDED.labels(_name(sender), "lost").inc()


class _Now:
    """Values at the time of a scrape. All workers share one queue, so all report the same length."""

    def collect(self) -> Iterator[Metric]:
        settings, store = connection(os.getpid())
        length = GaugeMetricFamily("celery_queue_length", "Tasks that no worker has taken", labels=["queue"])
        length.add_metric([QUEUE], store.llen(settings.key(QUEUE)))
        yield length
        running = len(active_requests)
        yield GaugeMetricFamily("celery_worker_tasks_active", "Tasks under way in this worker", running)


def expose(app: Celery) -> int:
    """Serve the metrics of this worker over HTTP, from its main process; return the port on 127.0.0.1.

    The counts of the app's tasks start at 0. If a series started at 1, its increase would be 0 and the first loss would not
    show.
    """
    for name in {_name(task) for task in app.tasks.values() if not task.name.startswith("celery.")}:
        for outcome in ("done", "failure", "lost"):
            ENDED.labels(name, outcome)
        WAITED.labels(name)
        TOOK.labels(name)
    registry = prometheus_client.CollectorRegistry()
    MultiProcessCollector(registry)
    registry.register(_Now())
    server, _ = prometheus_client.start_http_server(0, addr="127.0.0.1", registry=registry)
    return server.server_port
