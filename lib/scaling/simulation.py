"""A simulated cluster of workers, with the queue, broker and failures of a real one, in simulated time (SimPy).

frame = simulate(Cluster(workers=4, service_s=1.0), tasks=10_000, rate=3.5, seed=1)
(frame["started"] - frame["arrived"]).mean()

Tasks arrive in one queue, first in, first out. A broker hands them out one after the other, each to the worker that has
been idle longest. A try can be slow (a straggler), and a worker can fail during a try: then the task goes back to the queue,
and the worker restarts. Only events cost time: 10,000 workers with 100,000 tasks take seconds.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import simpy

from lib.stage.ranges import check_range, check_whole

if TYPE_CHECKING:
    import pandas as pd

LEAST = 1e-9  # least value of a time or a rate that must be above 0


@dataclass(frozen=True)
class Cluster:
    """Workers, and everything that slows them down. Times are in seconds.

    service_s: mean time of a try, exponential, without stragglers and failures.
    broker_limit: tasks a second that the broker can hand out; each one takes 1 / `broker_limit` seconds. None: no limit.
    straggler_share: share of tries that take `straggler_factor` times as long, independently (a full disk, a noisy neighbour).
    failure_s: mean *working* time until a worker fails, exponential; an idle worker does not fail. At least a hundredth of a
        slow try: otherwise hardly any task would finish. None: never.
    restart_s: time from the failure of a worker until it works again.

    Raises:
        ValueError: a number is outside its range; the message names it.
    """

    workers: int
    service_s: float
    broker_limit: float | None = None
    straggler_share: float = 0.0
    straggler_factor: float = 1.0
    failure_s: float | None = None
    restart_s: float = 0.0

    def __post_init__(self) -> None:
        check_whole(1, workers=self.workers)
        check_range(LEAST, service_s=self.service_s, broker_limit=self.broker_limit)
        check_range(0, 1, straggler_share=self.straggler_share)
        check_range(1, straggler_factor=self.straggler_factor)
        check_range(0, restart_s=self.restart_s)
        check_range(self.service_s * self.straggler_factor / 100, failure_s=self.failure_s)


class _Run:
    """One simulation: a process for the arrivals, one for the broker, and one for each try in progress."""

    def __init__(self, cluster: Cluster, arrived: np.ndarray, rng: np.random.Generator) -> None:
        self.cluster, self.arrived = cluster, arrived
        self.env = simpy.Environment()
        self.waiting, self.idle = simpy.Store(self.env), simpy.Store(self.env)
        self.idle.items = list(range(cluster.workers))
        self.tries = [0] * len(arrived)
        self.done: list[tuple[float, float, int] | None] = [None] * len(arrived)
        # Separate, so that a cluster has the same service times with and without failures.
        self.service, self.slow, self.failures = rng.spawn(3)
        self.env.process(self.arrivals())
        self.env.process(self.broker())

    def arrivals(self) -> Generator[simpy.Event, Any, None]:
        for task, moment in enumerate(self.arrived.tolist()):
            if moment > self.env.now:
                yield self.env.timeout(moment - self.env.now)
            self.waiting.put(task)

    def broker(self) -> Generator[simpy.Event, Any, None]:
        limit = self.cluster.broker_limit
        while True:
            task = yield self.waiting.get()
            if limit:
                yield self.env.timeout(1 / limit)
            worker = yield self.idle.get()
            self.env.process(self.work(task, worker))

    def work(self, task: int, worker: int) -> Generator[simpy.Event, Any, None]:
        self.tries[task] += 1
        cluster, started = self.cluster, self.env.now
        takes = self.service.exponential(cluster.service_s)
        if self.slow.random() < cluster.straggler_share:
            takes *= cluster.straggler_factor
        fails = self.failures.exponential(cluster.failure_s) if cluster.failure_s else np.inf
        yield self.env.timeout(min(takes, fails))
        if fails < takes:
            self.waiting.put(task)
            yield self.env.timeout(cluster.restart_s)
        else:
            self.done[task] = (started, self.env.now, worker)
        self.idle.put(worker)


def simulate(cluster: Cluster, *, tasks: int, rate: float | None = None, seed: int = 0) -> pd.DataFrame:
    """Run `tasks` tasks through a cluster until the last one is done.

    Args:
        cluster: the workers and all that slows them down.
        tasks: how many.
        rate: arrivals a second, independent (Poisson). None: all tasks arrive at time 0.
        seed: the same seed gives the same run.

    Returns:
        One row a task, in the order of arrival: `task`, `arrived`, `started` and `ended` (of the try that succeeded, in
        simulated seconds), `worker` (0, 1, …), `tries`.

    Raises:
        ValueError: tasks is not a whole number above 0, or rate is not above 0.
    """
    import pandas as pd

    check_whole(1, tasks=tasks)
    check_whole(0, seed=seed)
    check_range(LEAST, rate=rate)
    rng = np.random.default_rng(seed)
    arrived = np.zeros(tasks)
    if rate is not None:
        arrived = rng.exponential(1 / rate, tasks).cumsum()
    run = _Run(cluster, arrived, rng)
    run.env.run()  # until nothing more happens
    started, ended, worker = zip(*run.done, strict=True)
    columns = {"started": started, "ended": ended, "worker": worker, "tries": run.tries}
    return pd.DataFrame({"task": np.arange(tasks), "arrived": arrived, **columns})
