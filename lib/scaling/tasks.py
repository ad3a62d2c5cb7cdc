"""The Celery application of a worker, and the tasks that it does.

A worker is told by the environment variable `LESSONS_WORKER` which broker to serve and how (`lib.scaling.workers` sets it).
Each task that starts or ends leaves an event in a list on the broker, so that whoever sent it can see who did it, and when.
Messages are JSON: unlike pickle, JSON can't run code when it is read.
"""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import redis
from billiard.exceptions import WorkerLostError
from celery import Celery, Task, shared_task, signals
from celery.worker import state as worker_state

if TYPE_CHECKING:
    from celery.worker.consumer import Consumer

VARIABLE = "LESSONS_WORKER"
METRICS_VARIABLE = (
    "PROMETHEUS_MULTIPROC_DIR"  # prometheus-client's own: where the processes of a worker add up
)
QUEUE = "tasks"


@dataclass(frozen=True)
class Delivery:
    """When a worker acknowledges a task, and what the broker does with one that nobody acknowledges.

    late: after the task; else before it, as Celery does by default. reject_on_worker_lost: a task whose child process
    died goes back to the queue; else it counts as done. visibility_timeout: seconds until the broker takes an
    unacknowledged task for abandoned; a task that takes longer is done twice. restore_interval: seconds between two looks
    for abandoned tasks; None leaves it at Celery's, which is about a hundred.
    """

    late: bool = False
    reject_on_worker_lost: bool = False
    visibility_timeout: float = 3600.0
    restore_interval: float | None = None


EARLY = Delivery()
LATE = Delivery(late=True)
REJECTING = Delivery(late=True, reject_on_worker_lost=True)
#: Brings back what a dead process had begun, provided that no task takes longer than its time. One gap is left: Celery's main process
#: takes a task off the list and keeps its copy in two commands, and killed between them it loses that task.
#: So whoever sends tasks asks what has ended (`WorkerPool.wait`), and sends the rest again.
RESTORING = Delivery(late=True, reject_on_worker_lost=True, visibility_timeout=3.0, restore_interval=1.0)


@dataclass(frozen=True)
class Settings:
    """What a worker has to know. All keys on the broker begin with the name of its pool."""

    broker: str
    pool: str
    delivery: Delivery

    def to_environment(self) -> dict[str, str]:
        """A variable, not an argument: it holds a password, and everyone may read arguments."""
        return {VARIABLE: json.dumps(asdict(self))}

    @classmethod
    def from_environment(cls) -> Self:
        values = json.loads(os.environ[VARIABLE])
        return cls(values["broker"], values["pool"], Delivery(**values["delivery"]))

    def key(self, name: str) -> str:
        return f"{self.pool}:{name}"


def celery_app(settings: Settings) -> Celery:
    """The application of a pool, for those who send tasks and for those who do them."""
    delivery, app = settings.delivery, Celery(settings.pool, set_as_current=False)
    options = {
        "global_keyprefix": settings.key(""),  # pools on the same broker see nothing of each other
        "visibility_timeout": delivery.visibility_timeout,
    }
    if delivery.restore_interval is not None:
        options |= {
            "unacked_restore_interval": delivery.restore_interval,
            "unacked_restore_throttle": 1,
            # Who looks has a lock. A worker that is killed with it would hold up the others for five minutes.
            "unacked_mutex_expire": 5 * delivery.restore_interval,
        }
    app.conf.update(
        accept_content=["json"],
        broker_connection_retry_on_startup=True,
        broker_transport_options=options,
        broker_url=settings.broker,
        task_acks_late=delivery.late,
        task_default_queue=QUEUE,
        task_ignore_result=True,
        task_reject_on_worker_lost=delivery.reject_on_worker_lost,
        task_serializer="json",
        worker_enable_remote_control=False,
        worker_prefetch_multiplier=1,
    )
    return app


def _drain_before_stop(consumer: Consumer) -> None:
    """On SIGTERM, take nothing new, wait for what was taken to end, and only then let Celery stop the worker.

    Celery's own warm shutdown gives up a task that a child has begun and not yet reported as begun: it is done, never acknowledged,
    and after the visibility timeout done again.
    """

    def drain() -> None:
        consumer.cancel_task_queue(QUEUE)
        consumer.hub.call_repeatedly(0.02, stop_if_drained)

    def stop_if_drained() -> None:
        if not worker_state.reserved_requests:
            worker_state.should_stop = os.EX_OK

    signal.signal(signal.SIGTERM, lambda *_: consumer.hub.call_soon(drain))


# ── Events ───────────────────────────────────────────────────────────────────────────────────────────────────────


@cache
def connection(pid: int) -> tuple[Settings, redis.Redis]:
    """The settings, and a connection of this process: a forked child must not use that of its parent."""
    settings = Settings.from_environment()
    return settings, redis.Redis.from_url(settings.broker)


def _note(task: Task, **event: Any) -> None:
    settings, store = connection(os.getpid())
    worker = task.request.hostname.partition("@")[0]
    event |= {"task": task.request.id, "worker": worker, "pid": os.getpid()}
    store.rpush(settings.key("events"), json.dumps(event))


@signals.task_prerun.connect
def _note_start(task: Task, **_: Any) -> None:
    task.request.cpu = time.thread_time()
    _note(task, start=time.time())


@signals.task_postrun.connect
def _note_end(task: Task, state: str, **_: Any) -> None:
    cpu, outcome = time.thread_time() - task.request.cpu, "done" if state == "SUCCESS" else state.lower()
    _note(task, end=time.time(), cpu=cpu, outcome=outcome)


@signals.task_failure.connect
def _note_failure(task_id: str, exception: BaseException, **_: Any) -> None:
    """Tell why. A child that was killed can note nothing: its parent tells when it gives the task up."""
    settings, store = connection(os.getpid())
    event = {"task": task_id, "pid": os.getpid(), "error": f"{type(exception).__name__}: {exception}"}
    if isinstance(exception, WorkerLostError):
        event["given up"] = time.time()
    store.rpush(settings.key("events"), json.dumps(event))


@signals.worker_ready.connect
def _note_ready(sender: Consumer, **_: Any) -> None:
    _drain_before_stop(sender)
    (settings, store), name = connection(os.getpid()), sender.hostname.partition("@")[0]
    if METRICS_VARIABLE in os.environ:
        store.hset(settings.key("metrics"), name, metrics.serve())
    store.sadd(settings.key("ready"), name)


# ── Tasks ────────────────────────────────────────────────────────────────────────────────────────────────────────


@shared_task
def pause(seconds: float) -> None:
    """I/O-bound: wait, as for a database or a service. Idempotent, for it has no effect."""
    time.sleep(seconds)


@shared_task
def compute(steps: int) -> int:
    """CPU-bound: a loop in Python (a linear congruential generator, Knuth's constants). Idempotent."""
    number = 1
    for _ in range(steps):
        number = (number * 6364136223846793005 + 1442695040888963407) % 2**64
    return number


@shared_task(bind=True)
def book(self: Task, seconds: float) -> None:
    """Book a payment, in the middle of `seconds`. Not idempotent: done twice, it is booked twice."""
    settings, store = connection(os.getpid())
    time.sleep(seconds / 2)
    store.hincrby(settings.key("ledger"), self.request.id, 1)
    time.sleep(seconds / 2)


@shared_task(bind=True)
def book_once(self: Task, seconds: float) -> None:
    """Book a payment under the id of the task, which stays the same when it is delivered again. Idempotent."""
    settings, store = connection(os.getpid())
    time.sleep(seconds / 2)
    store.hsetnx(settings.key("ledger"), self.request.id, 1)
    time.sleep(seconds / 2)


@shared_task
def upgrade_partition(source: str, target: str, version: int) -> None:
    """Upgrade a file of records, as `lib.scaling.partitions` says. Idempotent."""
    from lib.scaling.partitions import upgrade_file

    upgrade_file(Path(source), Path(target), version)


if VARIABLE in os.environ:  # in a worker
    app = celery_app(Settings.from_environment())
    if METRICS_VARIABLE in os.environ:
        from lib.scaling import metrics
