"""Three jobs that many processes do side by side: sharing nothing, sharing one lock, and each telling all the others.

measure_curve(Job("lock", work_s=0.01, shared_s=0.0025), counts=[1, 2, 4, 8])

Processes, lock and messages are real. What stands for the wait for a disk or a network is `time.sleep`, so that two cores
are enough to see what sharing does to many workers.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from multiprocessing import connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd

# Workers are forked: that is quick, and safe in a process without threads, such as the one that `measure_curve` starts.
CONTEXT = multiprocessing.get_context("fork")
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
    inbox, tasks, messages = inboxes[number], 0, 0
    others = [other for other in inboxes if other is not inbox]
    if job.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: job.cores])
    start.wait(PATIENCE_S)
    begin, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() - begin < seconds:
        if job.kind == "cpu":
            hashlib.pbkdf2_hmac("sha256", b"word", b"salt", job.hashes)
        else:
            # Spread evenly from the first tasks on, as random numbers are in the long run: a few tasks have the mean, too.
            time.sleep(job.work_s * (0.5 + (tasks * 0.618034 + number * 0.414214) % 1))
            while not inbox.empty():
                inbox.get()
            with lock:
                for other in others if job.kind == "exchange" else (None,):
                    time.sleep(job.shared_s)
                    if other is not None:
                        other.put(number)
                        messages += 1
        tasks += 1
    results.put((tasks, messages, begin, time.perf_counter(), time.process_time() - cpu))


def measure(job: Job, workers: int, seconds: float, owner: int) -> dict[str, float]:
    """Let `workers` processes do tasks for `seconds` each, all released at the same moment; for a process without threads.

    Where they share cores, some begin later than others. So all tasks are divided by the time from the first begin to the
    last end, and not those of each worker by its own: then the first and the last would count a time in which they had the
    cores nearly to themselves. `owner` is a file descriptor that becomes readable when nobody wants the result any more:
    then this process ends, and all workers with it.
    """
    lock, start, results = CONTEXT.Lock(), CONTEXT.Barrier(workers), CONTEXT.SimpleQueue()
    inboxes = [CONTEXT.SimpleQueue() for _ in range(workers)]
    processes = [
        CONTEXT.Process(target=_work, args=(job, number, lock, inboxes, start, seconds, results), daemon=True)
        for number in range(workers)
    ]
    for process in processes:
        process.start()
    pending = {process.sentinel for process in processes}
    while pending:
        ready = connection.wait([*pending, owner], PATIENCE_S + seconds)
        if owner in ready or not ready:
            sys.exit("The owner is gone." if ready else "The workers do not end.")  # daemons are terminated
        pending.difference_update(ready)
    for process in processes:
        process.join()
    if failed := [process.exitcode for process in processes if process.exitcode != 0]:
        sys.exit(f"{len(failed)} of {workers} workers ended with exit codes {failed}.")
    tasks, messages, begins, ends, cpu = zip(*(results.get() for _ in processes), strict=True)
    wall = max(ends) - min(begins)  # one clock for all processes of a machine
    sums = {"tasks": sum(tasks), "messages": sum(messages), "cpu_s": sum(cpu), "wall_s": wall}
    return {"workers": workers, "throughput": sum(tasks) / wall, **sums}


def measure_curve(job: Job, counts: Sequence[int], rounds: int = 3, seconds: float = 0.4) -> pd.DataFrame:
    """Measure each number of workers once a round, so that a machine that is busy for a while spoils no single point.

    A process of its own does it, which ends with this one, however this one ends.

    Returns:
        One row a worker count, in order: `workers`, `throughput` (tasks a second, all workers together), `tasks`, `messages`,
        `cpu_s` (processor time of all), `wall_s` (from the first begin to the last end), from the round with the highest
        throughput: whatever else runs on the machine only takes away.

    Raises:
        RuntimeError: a worker has failed; the message ends with what it said.
    """
    import pandas as pd

    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    asked = json.dumps([asdict(job), list(counts) * rounds, seconds])
    with subprocess.Popen(
        [sys.executable, "-m", __name__, asked],
        stdin=subprocess.PIPE,  # closed when we end, by whatever
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
    ) as process:
        rows = [json.loads(line) for line in process.stdout or ()]
        errors = process.stderr.read() if process.stderr else ""
    if process.returncode:
        raise RuntimeError(f"The measurement of {job.kind!r} has failed. It said: {errors.strip()}")
    return pd.DataFrame(rows).sort_values("throughput").groupby("workers", as_index=False).last()


if __name__ == "__main__":
    described, todo, duration = json.loads(sys.argv[1])
    for number_of_workers in todo:
        row = measure(Job(**described), number_of_workers, duration, owner=sys.stdin.fileno())
        print(json.dumps(row), flush=True)
