"""Three jobs that many processes do side by side: sharing nothing, sharing one lock, and each telling all the others.

measure_curve(Job("lock", work_s=0.01, shared_s=0.0025), counts=[1, 2, 4, 8])

Processes, lock and messages are real. What stands for the wait for a disk or a network is `time.sleep`, so that two cores
are enough to see what sharing does to many workers.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd

CONTEXT = multiprocessing.get_context(
    "forkserver"
)  # a fork of a notebook's kernel would copy its threads' locks
CONTEXT.set_forkserver_preload([__name__])  # so that a worker starts in a moment
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Job:
    """What a worker does for one task. Times are in seconds."""

    kind: Literal["cpu", "lock", "exchange"]
    """cpu: hash; lock: work, then wait for the lock and hold it; exchange: work, then tell each other worker under the lock."""
    work_s: float = 0.01
    """Mean time of what a worker does alone; it varies by half in both directions. (cpu: not used.)"""
    shared_s: float = 0.001
    """For how long a task holds the lock (lock), or a message to one other worker does (exchange)."""
    hashes: int = 2000
    """How often a task of kind cpu hashes."""
    cores: int | None = None
    """On how many cores all workers together may run, where the system lets one choose. None: on all."""


def _work(
    job: Job, number: int, lock: Any, inboxes: Sequence[Any], start: Any, seconds: float, results: Any
) -> None:
    """One worker: tasks until the time is over, then what it did."""
    rng, inbox, tasks, messages = random.Random(number), inboxes[number], 0, 0
    others = [other for other in inboxes if other is not inbox]
    if job.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: job.cores])
    start.wait(PATIENCE_S)
    begin, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() - begin < seconds:
        if job.kind == "cpu":
            hashlib.pbkdf2_hmac("sha256", b"word", b"salt", job.hashes)
        else:
            time.sleep(job.work_s * rng.uniform(0.5, 1.5))
            while not inbox.empty():
                inbox.get()
            with lock:
                for other in others if job.kind == "exchange" else (None,):
                    time.sleep(job.shared_s)
                    if other is not None:
                        other.put(number)
                        messages += 1
        tasks += 1
    results.put((tasks, messages, time.perf_counter() - begin, time.process_time() - cpu))


def measure(job: Job, workers: int, seconds: float = 0.4) -> dict[str, float]:
    """Let `workers` processes do tasks for `seconds`, all beginning at the same moment.

    Returns:
        `workers`, `tasks`, `messages`, `throughput` (tasks a second, all workers together), `cpu_s` (processor time of all),
        `wall_s` (the longest time that a worker took).

    Raises:
        RuntimeError: a worker has ended without a result.
    """
    lock, start, results = CONTEXT.Lock(), CONTEXT.Barrier(workers), CONTEXT.SimpleQueue()
    inboxes = [CONTEXT.SimpleQueue() for _ in range(workers)]
    processes = [
        CONTEXT.Process(target=_work, args=(job, number, lock, inboxes, start, seconds, results), daemon=True)
        for number in range(workers)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE_S + seconds)
    failed = [process.exitcode for process in processes if process.exitcode != 0]
    done = [] if failed else [results.get() for _ in processes]
    for channel in (results, *inboxes):
        channel.close()
    if failed:
        raise RuntimeError(
            f"{len(failed)} of {workers} workers ended with exit codes {failed} and without a result."
        )
    tasks, messages, wall, cpu = zip(*done, strict=True)
    rate = sum(count / took for count, took in zip(tasks, wall, strict=True))
    sums = {"tasks": sum(tasks), "messages": sum(messages), "cpu_s": sum(cpu), "wall_s": max(wall)}
    return {"workers": workers, "throughput": rate, **sums}


def measure_curve(job: Job, counts: Sequence[int], rounds: int = 3, seconds: float = 0.4) -> pd.DataFrame:
    """Measure each number of workers once a round, so that a machine that is busy for a while spoils no single point.

    Returns:
        One row a worker count, in order: the columns of `measure`, from the round with the highest throughput. Whatever
        else runs on the machine only takes away.
    """
    import pandas as pd

    rows = [measure(job, workers, seconds) for _ in range(rounds) for workers in counts]
    return pd.DataFrame(rows).sort_values("throughput").groupby("workers", as_index=False).last()


def running() -> int:
    """How many workers are alive; none are between two measurements."""
    return len(multiprocessing.active_children())
