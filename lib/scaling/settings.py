"""What a worker has to know: its broker, its queue, and when a task counts as delivered.

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
    """When a worker acknowledges a task, and what the broker does with one that nobody acknowledges.

    late: after the task; else before it, as Celery does by default. reject_on_worker_lost: a task whose child process
    died goes back to the queue; else it counts as done. visibility_timeout: seconds until the broker takes an
    unacknowledged task for abandoned; a task that takes longer is done twice. restore_interval: seconds between two looks
    for abandoned tasks; None leaves it at Celery's, which is about a hundred. ValueError for less than 0.1 s.
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
#: Brings back what a dead process had begun, provided that no task takes longer than its time. One gap is left: Celery's main process
#: takes a task off the list and keeps its copy in two commands, and killed between them it loses that task.
#: So the sender of tasks asks what has ended (`WorkerPool.wait`), and sends the rest again.
RESTORING = Delivery(late=True, reject_on_worker_lost=True, visibility_timeout=3.0, restore_interval=1.0)


@dataclass(frozen=True)
class WorkerSettings:
    """What a worker has to know. All keys on the broker begin with the name of its pool."""

    broker: str
    pool: str
    delivery: Delivery

    def to_environment(self) -> dict[str, str]:
        """A variable, not an argument: it holds a password, and everyone may read arguments."""
        return {VARIABLE: json.dumps(asdict(self))}

    @classmethod
    def from_environment(cls) -> Self:
        """The settings of this process. Raises KeyError when it is no worker."""
        values = json.loads(os.environ[VARIABLE])
        return cls(values["broker"], values["pool"], Delivery(**values["delivery"]))

    def key(self, name: str) -> str:
        """The full name of a key on the broker."""
        return f"{self.pool}:{name}"


@cache
def connection(pid: int) -> tuple[WorkerSettings, redis.Redis]:
    """The settings, and a connection of this process: a forked child must not use that of its parent."""
    settings = WorkerSettings.from_environment()
    return settings, redis.Redis.from_url(settings.broker)


def celery_app(settings: WorkerSettings) -> Celery:
    """The Celery application of a pool, for those who send tasks and for those who do them."""
    delivery, app = settings.delivery, Celery(settings.pool, set_as_current=False)
    options = {
        "global_keyprefix": settings.key(""),  # pools on the same broker see nothing of each other
        "visibility_timeout": delivery.visibility_timeout,
    }
    if delivery.restore_interval is not None:
        options |= {
            "unacked_restore_interval": delivery.restore_interval,
            "unacked_restore_throttle": 1,
            # The worker that looks has a lock. If it is killed then, the lock would hold up the others for five minutes.
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
        # Its connection is always open. Without it a worker that is busy when the broker dies notices nothing, and gets no task any more.
        worker_enable_remote_control=True,
        worker_prefetch_multiplier=1,
    )
    return app
