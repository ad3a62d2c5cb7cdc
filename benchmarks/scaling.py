"""The simulated cluster: 10,000 workers with 100,000 tasks, in under 20 seconds.

    python benchmarks/run.py --only scaling [--quick]

There is nothing to compare it with: the unit is the goal itself, so that a speed-up of 1 or more meets it. "A record" is a
task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final

from benchmarks.rows import Row
from lib.benchmark import Timing, environment, interleave
from lib.scaling.simulation import Cluster, simulate

GOAL_S: Final = 20.0


def simulations(workers: int, tasks: int, rounds: int) -> Iterator[Row]:
    """A cluster in which all goes well, and one with a broker limit, stragglers and failures."""
    plain = Cluster(workers, service_s=1.0)
    troubled = replace(
        plain,
        broker_limit=workers * 0.9,
        straggler_share=0.02,
        straggler_factor=5.0,
        failure_s=100.0,
        restart_s=3.0,
    )
    cases: dict[str, Callable[[], Any]] = {
        "lib, simulate": lambda: simulate(plain, tasks=tasks, rate=workers * 0.95, seed=1),
        "lib, simulate, with failures": lambda: simulate(troubled, tasks=tasks, rate=workers * 0.8, seed=1),
    }
    goal = Timing("the goal", (GOAL_S,) * rounds, (0.0,) * rounds)
    for timing in [goal, *interleave(cases, rounds, min_seconds=0.0)]:
        yield row_of(timing, f"simulation of {workers:,} workers", tasks)


def row_of(timing: Timing, case: str, tasks: int) -> Row:
    """One row; the goal is met if the median takes at most `GOAL_S`."""
    return Row(
        "scaling", case, tasks, timing.name, timing.median, timing.spread, sum(timing.cpu) / len(timing.cpu),
        len(timing.wall), GOAL_S / timing.median, None, None if timing.name == "the goal" else 1.0, environment(),
    )  # fmt: skip


def rows(quick: bool = False) -> Iterator[Row]:
    """All cases; a quick run shows that it works, not how fast."""
    yield from simulations(*((100, 1_000, 3) if quick else (10_000, 100_000, 3)))
