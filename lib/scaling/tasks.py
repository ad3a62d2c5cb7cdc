"""The tasks of a worker, and the record of each try on the broker.

This module is the Celery application of a worker: `celery --app lib.scaling.tasks worker`. Each try of a task has an entry in a
hash on the broker, written when the try starts and again when it ends. So the sender sees which worker runs a task.
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from billiard.exceptions import WorkerLostError
from celery import Task, shared_task, signals
from celery.worker import state as worker_state
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from lib.scaling.settings import METRICS_VARIABLE, VARIABLE, WorkerSettings, celery_app, connection

if TYPE_CHECKING:
    from celery.worker.consumer import Consumer

# ── Tries ────────────────────────────────────────────────────────────────────────────────────────────────────────

#: No record is lost if the broker is away for a minute: without the record, the sender would wait for the task forever.
PATIENT = Retry(ConstantBackoff(0.5), 120)


def _note(key: str, field: str, value: str, ended: str | None = None) -> None:
    """Write into one of the pool's hashes and, with `ended`, that this task has ended. Waits for a broker that is away."""
    settings, store = connection(os.getpid())

    def write() -> None:
        store.hset(settings.key(key), field, value)
        if ended:
            store.sadd(settings.key("ended"), ended)

    PATIENT.call_with_retry(write, lambda _: None)


def _note_try(attempt: dict[str, Any]) -> None:
    passed_on = attempt.get("outcome") == "retry"  # its worker has put it back into a queue
    ended = attempt["task"] if "end" in attempt and not passed_on else None
    _note("tries", f"{attempt['task']}:{attempt['start']!r}", json.dumps(attempt), ended)


@signals.task_prerun.connect
def _note_start(task: Task, **_: Any) -> None:
    request = task.request
    request.attempt = {
        "task": request.id,
        "worker": request.hostname.partition("@")[0],
        "pid": os.getpid(),
        "queued": request.get("queued"),
        "start": time.time(),
    }
    request.cpu = time.thread_time()
    _note_try(request.attempt)


@signals.task_postrun.connect
def _note_end(task: Task, state: str, retval: Any, **_: Any) -> None:
    outcome = "done" if state == "SUCCESS" else state.lower()
    ended = {"end": time.time(), "cpu": time.thread_time() - task.request.cpu, "outcome": outcome}
    if isinstance(retval, BaseException):
        ended["error"] = f"{type(retval).__name__}: {retval}"
    _note_try(task.request.attempt | ended)


@signals.task_failure.connect
def _note_given_up(task_id: str, exception: BaseException, **_: Any) -> None:
    """Record a task that is given up after its child was killed: the main process does it, because the child cannot."""
    if isinstance(exception, WorkerLostError):
        _note("given up", task_id, f"{type(exception).__name__}: {exception}", task_id)


# ── The worker ───────────────────────────────────────────────────────────────────────────────────────────────────


@signals.worker_ready.connect
def _note_ready(sender: Consumer, **_: Any) -> None:
    _drain_before_stop(sender)
    if sender.hub:  # Celery looks for dead children as a pipe closes (perhaps too early), then every 5 s
        sender.hub.call_repeatedly(0.5, sender.pool.maintain_pool)
    (settings, store), name = connection(os.getpid()), sender.hostname.partition("@")[0]
    if METRICS_VARIABLE in os.environ:
        store.hset(settings.key("metrics"), name, metrics.expose(sender.app))
    store.sadd(settings.key("ready"), name)


def _drain_before_stop(consumer: Consumer) -> None:
    """On SIGTERM, take no new tasks, wait until the taken ones have ended, and only then let Celery stop the worker.

    Celery's own warm shutdown gives up a task that a child has started but not yet reported. Such a task is done but never
    acknowledged, so it runs again after the visibility timeout. Draining does not wait for a broker that is away or goes away.
    """

    asked = False

    def stop(*_: object) -> None:
        nonlocal asked  # do not call the hub here: the interrupted code may hold its lock, which would be a deadlock
        asked, consumer.app.conf.broker_connection_retry = True, False
        if not consumer.connection:
            worker_state.should_stop = os.EX_OK

    def drain() -> None:
        for queue in list(consumer.task_consumer.queues) if asked else ():
            consumer.cancel_task_queue(queue.name)
        if asked and not worker_state.reserved_requests:
            worker_state.should_stop = os.EX_OK

    consumer.hub.call_repeatedly(0.05, drain)
    signal.signal(signal.SIGTERM, stop)


# ── Tasks ────────────────────────────────────────────────────────────────────────────────────────────────────────


@shared_task
def pause(seconds: float) -> None:
    """Wait, like an I/O-bound call of a database or a service. Idempotent, because it has no effect."""
    time.sleep(seconds)


@shared_task
def compute(steps: int) -> int:
    """Compute in a Python loop, CPU-bound (a linear congruential generator, Knuth's constants). Idempotent."""
    number = 1
    for _ in range(steps):
        number = (number * 6364136223846793005 + 1442695040888963407) % 2**64
    return number


@shared_task(bind=True)
def book(self: Task, seconds: float) -> None:
    """Book a payment, in the middle of `seconds`. Not idempotent: if the task runs twice, the payment is booked twice."""
    settings, store = connection(os.getpid())
    time.sleep(seconds / 2)
    store.hincrby(settings.key("ledger"), self.request.id, 1)
    time.sleep(seconds / 2)


@shared_task(bind=True)
def book_once(self: Task, seconds: float) -> None:
    """Book a payment under the task's id, which stays the same when the task is redelivered. Idempotent."""
    settings, store = connection(os.getpid())
    time.sleep(seconds / 2)
    store.hsetnx(settings.key("ledger"), self.request.id, 1)
    time.sleep(seconds / 2)


@shared_task
def upgrade_partition(source: str, target: str, version: int) -> None:
    """Upgrade a file of records (see `lib.scaling.partitions`). Idempotent."""
    from lib.scaling.partitions import upgrade_file  # only the workers that need it pay for the import

    upgrade_file(Path(source), Path(target), version)


if VARIABLE in os.environ:  # in a worker
    app = celery_app(WorkerSettings.from_environment())
    if METRICS_VARIABLE in os.environ:
        from lib.scaling import metrics
