"""The settings of a worker: its broker, its queue, and when it acknowledges a task.

A worker reads its settings from the environment variable `LESSONS_WORKER`, which `lib.scaling.workers` or a compose file sets.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from functools import cache
from typing import Self

import redis
from celery import Celery

from lib.stage.ranges import check_range

VARIABLE = "LESSONS_WORKER"
#: prometheus-client's own variable: the folder in which the processes of a worker add up their counts.
METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
QUEUE = "tasks"


@dataclass(frozen=True)
class Delivery:
    """When a worker acknowledges a task, and what the broker does with unacknowledged tasks.

    late: acknowledge after the task; otherwise before it, Celery's default.
    reject_on_worker_lost: put a task whose child process died back into the queue; otherwise it counts as done.
    visibility_timeout: seconds until the broker redelivers an unacknowledged task; a task that takes longer runs twice.
    restore_interval: seconds between two searches for such tasks; None: Celery's interval, about 100 s. ValueError below 0.1 s.
    """

    late: bool = False
    reject_on_worker_lost: bool = False
    visibility_timeout: float = 3600.0
    restore_interval: float | None = None

    def __post_init__(self) -> None:
        check_range(0.1, visibility_timeout=self.visibility_timeout, restore_interval=self.restore_interval)


EARLY = Delivery()
LATE = Delivery(late=True)
REJECTING = Delivery(late=True, reject_on_worker_lost=True)
#: Redelivers the unfinished tasks of a dead process, if no task takes longer than the visibility timeout. One gap remains:
#: Celery's main process removes a task from the list and stores its copy in two commands. If it is killed between them, the
#: task is lost. So the sender asks which tasks have ended (`WorkerPool.wait`), and sends the rest again.
RESTORING = Delivery(late=True, reject_on_worker_lost=True, visibility_timeout=3.0, restore_interval=1.0)


@dataclass(frozen=True)
class WorkerSettings:
    """The settings of a worker. All its keys on the broker begin with the name of its pool."""

    broker: str
    pool: str
    delivery: Delivery

    def to_environment(self) -> dict[str, str]:
        """Return an environment variable with the settings. They hold a password, and everyone can read a process's arguments."""
        return {VARIABLE: json.dumps(asdict(self))}

    @classmethod
    def from_environment(cls) -> Self:
        """Return the settings of this process. Raises KeyError if it is not a worker."""
        values = json.loads(os.environ[VARIABLE])
        return cls(values["broker"], values["pool"], Delivery(**values["delivery"]))

    def key(self, name: str) -> str:
        """Return the full name of a key on the broker."""
        return f"{self.pool}:{name}"


@cache
def connection(pid: int) -> tuple[WorkerSettings, redis.Redis]:
    """Return the settings and a connection for this process: a forked child must not use its parent's connection."""
    settings = WorkerSettings.from_environment()
    return settings, redis.Redis.from_url(settings.broker)


def celery_app(settings: WorkerSettings) -> Celery:
    """Return the Celery application of a pool, for its workers and for the sender of tasks."""
    delivery, app = settings.delivery, Celery(settings.pool, set_as_current=False)
    options = {
        "global_keyprefix": settings.key(""),  # pools on the same broker are isolated
        "visibility_timeout": delivery.visibility_timeout,
    }
    if delivery.restore_interval is not None:
        options |= {
            "unacked_restore_interval": delivery.restore_interval,
            "unacked_restore_throttle": 1,
            # The worker that searches holds a lock. If it is killed, the lock would block the others for five minutes.
            "unacked_mutex_expire": 5 * delivery.restore_interval,
        }
    app.conf.update(
        accept_content=["json"],  # unlike pickle, JSON can't run code when it is read
        broker_connection_retry_on_startup=True,
        broker_transport_options=options,
        broker_url=settings.broker,
        task_acks_late=delivery.late,
        task_default_queue=QUEUE,
        task_ignore_result=True,
        task_reject_on_worker_lost=delivery.reject_on_worker_lost,
        task_serializer="json",
        # Its connection is always open. Without it, a worker that is busy when the broker dies does not notice, and gets no more tasks.
        worker_enable_remote_control=True,
        worker_prefetch_multiplier=1,
    )
    return app
