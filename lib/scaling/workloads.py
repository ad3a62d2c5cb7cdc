"""Three jobs for many processes: sharing nothing, sharing one lock, and sending messages to all others.

measure_curve(Job("lock", work_s=0.01, shared_s=0.0025), counts=[1, 2, 4, 8])

Processes, lock and messages are real. `time.sleep` replaces the wait for a disk or a network, so that two cores are enough to
show the effect of sharing on many workers.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from lib.stage.processes import Process
from lib.stage.ranges import check_range, check_whole

if TYPE_CHECKING:
    import pandas as pd

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0
HASHES = 2000  # hashes in a task of kind cpu
Kind = Literal["cpu", "lock", "exchange"]


@dataclass(frozen=True)
class Job:
    """The work of one task. Times are in seconds. Raises ValueError for an unknown kind or a number outside its range.

    kind: cpu: hash; lock: work, then wait for the lock and hold it; exchange: work, then message each other worker under the lock.
    work_s: mean time of the work outside the lock; it varies by half in both directions. (cpu: not used.)
    shared_s: how long a task (lock) or a message to one other worker (exchange) holds the lock.
    cores: how many cores all workers together may use, if the system lets you choose. None: all.
    """

    kind: Kind
    work_s: float = 0.01
    shared_s: float = 0.001
    cores: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"kind={self.kind!r}: choose one of {', '.join(get_args(Kind))}")
        check_range(0, work_s=self.work_s, shared_s=self.shared_s)
        check_whole(1, cores=self.cores)


#: In a worker: what all workers of a measurement share: the lock, an inbox for each, and the barrier at the start.
_shared: dict[str, Any] = {}


def _work(job: Job, number: int, seconds: float) -> tuple[int, int, float, float, float]:
    """Run tasks in one worker until the time is over. Returns the numbers of tasks and messages, begin, end, and CPU seconds."""
    inboxes, lock, tasks, messages = _shared["inboxes"], _shared["lock"], 0, 0
    inbox, others = inboxes[number], [other for other in inboxes if other is not inboxes[number]]
    if job.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: job.cores])
    _shared["start"].wait(PATIENCE_S)
    begin, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() - begin < seconds:
        if job.kind == "cpu":
            hashlib.pbkdf2_hmac("sha256", b"word", b"salt", HASHES)
        else:
            # Spread evenly from the first task on, as random numbers are in the long run, so that even a few tasks have the right mean.
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
    return tasks, messages, begin, time.perf_counter(), time.process_time() - cpu


def measure(job: Job, workers: int, seconds: float) -> dict[str, float]:
    """Let `workers` processes, all released at the same time, run tasks for `seconds` each.

    Call it in a process without threads. If the workers share cores, some begin later than others. So the throughput is all
    tasks divided by the time from the first begin to the last end. Each worker's own time would be wrong: for a while, the first
    and the last worker have the cores almost to themselves.
    """
    context = multiprocessing.get_context("fork")  # quick, and safe in a process without threads
    shared = {
        "lock": context.Lock(),
        "inboxes": [context.SimpleQueue() for _ in range(workers)],
        "start": context.Barrier(workers),  # no worker begins before all have started, so each gets one job
    }
    with ProcessPoolExecutor(workers, context, _shared.update, (shared,)) as pool:
        results = list(pool.map(_work, [job] * workers, range(workers), [seconds] * workers))
    tasks, messages, begins, ends, cpu = zip(*results, strict=True)
    wall = max(ends) - min(begins)  # one clock for all processes of a machine
    sums = {"tasks": sum(tasks), "messages": sum(messages), "cpu_s": sum(cpu), "wall_s": wall}
    return {"workers": workers, "throughput": sum(tasks) / wall, **sums}


def measure_curve(job: Job, counts: Sequence[int], rounds: int = 3, seconds: float = 0.4) -> pd.DataFrame:
    """Measure each number of workers once a round, so that a short busy period of the machine does not spoil a single point.

    The measurement runs in its own process, which ends with this one, however this one ends.

    Returns:
        One row a worker count, in order: `workers`, `throughput` (tasks a second, all workers together), `tasks`, `messages`,
        `cpu_s` (processor time of all), `wall_s` (from the first begin to the last end), from the round with the median
        throughput (of an even number of rounds: the lower middle); `lowest` and `highest` throughput of all rounds.

    Raises:
        ProcessError: a worker failed; the message ends with its output.
        ValueError: a number is outside its range; nothing was started.
    """
    import pandas as pd

    check_range(0.01, seconds=seconds)
    check_whole(1, rounds=rounds, counts=len(counts))
    for count in counts:
        check_whole(1, workers=count)
    todo = list(counts) * rounds
    with Process() as process:
        rows = process.directory / "rows.json"
        order = json.dumps([asdict(job), todo, seconds, str(rows)])
        process.run([sys.executable, "-m", __name__, order], cwd=ROOT)
        timeout = len(todo) * (seconds + PATIENCE_S)
        process.complete(name=f"The measurement of {job.kind!r}", timeout=timeout)
        curve = pd.read_json(rows, lines=True)
    by_count = curve.sort_values("throughput").groupby("workers")
    spread = by_count["throughput"].agg(lowest="min", highest="max").reset_index()
    return (
        by_count.nth((rounds - 1) // 2).merge(spread, on="workers").sort_values("workers", ignore_index=True)
    )


if __name__ == "__main__":
    described, numbers_of_workers, duration, file = json.loads(sys.argv[1])
    with open(file, "x", encoding="utf-8") as out:
        for number_of_workers in numbers_of_workers:
            out.write(json.dumps(measure(Job(**described), number_of_workers, duration)) + "\n")
