"""Honest timing: warmed up, interleaved, repeated, with its spread; only for equal results, and only on a quiet machine.

result = compare({"loop": lambda: loop(records), "bulk": lambda: bulk(records)}, baseline="loop")
result.speedup("bulk")
result.to_frame()

busy = machine_is_busy("set RATE = 50 and run this lesson again")  # before a run, so that its result cannot influence this
assert busy or result.speedup("bulk") > 2, "The bulk form is not twice as fast."
"""

from __future__ import annotations

import gc
import hashlib
import operator
import os
import platform
import statistics
import time
import timeit
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.languages import said
from lib.stage.ranges import check_whole

if TYPE_CHECKING:
    import pandas as pd

CONTROL = " (again)"

QUOTA = Path("/sys/fs/cgroup/cpu.max")  # microseconds of CPU time, and of the period
QUIET_SHARE = 0.8  # of the processors; with less, other programs distort a measurement
PAIR = 1.4  # times the work of one program that two together must do: a virtual machine may show one processor as two
USUAL_STEP, SLOW_STEP = 25e-9, 100e-9  # seconds for a step of a loop: on usual machines, on slow ones


class DifferentResultsError(ValueError):
    """Two candidates returned different results, so their times must not be compared."""


@dataclass(frozen=True)
class Timing:
    """The times of one candidate: one number a round, in seconds for one call.

    wall: elapsed time. cpu: CPU time of this process with all its threads, without child processes.
    """

    name: str
    wall: tuple[float, ...]
    cpu: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median elapsed seconds of a call."""
        return statistics.median(self.wall)

    @property
    def spread(self) -> float:
        """Distance between the quartiles of the elapsed seconds: half of all rounds lie between them."""
        lower, _, upper = statistics.quantiles(self.wall, n=4, method="inclusive")
        return upper - lower


@dataclass(frozen=True)
class Comparison:
    """Timings of several candidates taken in the same rounds."""

    baseline: str
    timings: Mapping[str, Timing]
    environment: str

    def speedup(self, name: str) -> float:
        """Return how many times as fast as the baseline a candidate is: the median over the rounds of baseline / candidate.

        Both are compared round by round, so that a machine that slows down for a while slows both.

        Raises:
            KeyError: no candidate has this name.
        """
        pairs = zip(self.timings[self.baseline].wall, self.timings[name].wall, strict=True)
        return statistics.median(base / other for base, other in pairs)

    def to_frame(self) -> pd.DataFrame:
        """Return one row a candidate: `median_s`, `spread_s`, `cpu_s` (seconds a call), `rounds`, `speedup`."""
        import pandas as pd

        rows = {
            name: {
                "median_s": timing.median,
                "spread_s": timing.spread,
                "cpu_s": statistics.median(timing.cpu),
                "rounds": len(timing.wall),
                "speedup": self.speedup(name),
            }
            for name, timing in self.timings.items()
        }
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("candidate")


def environment() -> str:
    """Return a line to print beside a measured number: Python, usable processors, platform; nothing that names the machine."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{python}, {usable_processors()} CPUs, {platform.system()} {platform.machine()}"


def usable_processors() -> int:
    """Return how many processors this process may use; a container's quota is rounded to whole ones."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if QUOTA.exists():
        limit, period = QUOTA.read_text().split()
        count = count if limit == "max" else min(count, max(1, int(limit) // int(period)))
    return count


def processor_share(repeats: int = 5, seconds: float = 0.04) -> float:
    """Return the share of the processors that a program gets if it computes on all of them: 1 if nothing else runs.

    On each processor, a thread hashes until it has used `seconds` of CPU time (hashing releases the interpreter lock). The
    share is this CPU time divided by the elapsed time. The median of the repeats counts.
    """
    block, count = bytes(1_000_000), usable_processors()

    def spin(_: int) -> float:
        cpu, wall = time.thread_time(), time.perf_counter()
        while (used := time.thread_time() - cpu) < seconds:
            hashlib.sha256(block)
        return used / (time.perf_counter() - wall)

    with ThreadPoolExecutor(count) as threads:
        return statistics.median(statistics.mean(threads.map(spin, range(count))) for _ in range(repeats))


def work_of_two(repeats: int = 5, seconds: float = 0.04) -> float:
    """Return how much two threads hash together, as a multiple of one thread: 2 if each has its own processor.

    CPU time alone does not show this: a virtual machine counts time that its host gives to others as its own, and two of its
    processors may be one core. The median of the repeats counts. The result is 2 if only one processor can be used.
    """
    if usable_processors() < 2:
        return 2.0
    block = bytes(1_000_000)

    def blocks_per_second(_: int) -> float:
        begin, done = time.perf_counter(), 0
        while (passed := time.perf_counter() - begin) < seconds:
            hashlib.sha256(block)
            done += 1
        return done / passed

    with ThreadPoolExecutor(2) as threads:
        pairs = [sum(threads.map(blocks_per_second, range(2))) / blocks_per_second(0) for _ in range(repeats)]
    return statistics.median(pairs)


def loop_step(steps: int = 50_000) -> float:
    """Return the CPU seconds for one step of a plain Python loop: the shortest of five repeats."""
    return min(timeit.repeat("total += 1", "total = 0", timer=time.thread_time, number=steps)) / steps


def machine_is_busy(remedy: str) -> bool:
    """Whether times measured now would say more about this machine than about the program. Takes less than a second.

    Ask before a run, and make only assertions on times and ratios depend on it: counts and orders hold on every machine. If the
    machine is busy or slow, a report is printed (so nbval must not compare the cell's output), and written as a line to the
    file that the environment variable LESSONS_BUSY names.

    Args:
        remedy: what to do about it, such as "set RATE = 50 and run this lesson again".
    """
    if (share := processor_share()) < QUIET_SHARE:
        reason = said("This machine is busy: a program that computes gets {:.0%} of its processors", share)
    elif (pair := work_of_two()) < PAIR:
        reason = said(
            "This machine is busy: two programs that compute at once do only {:.1f} times the work of one",
            pair,
        )
    elif (step := loop_step()) > SLOW_STEP:
        reason = said(
            "This machine is slow: a step of a loop takes {:.0f} ns, and usually {:.0f}",
            step * 1e9,
            USUAL_STEP * 1e9,
        )
    else:
        return False
    report = said("{}. So times are shown, but not checked. To check them, {}.", reason, remedy)
    print(report)
    if path := os.environ.get("LESSONS_BUSY"):
        with open(path, "a", encoding="utf-8") as file:
            file.write(report + "\n")
    return True


def measure(function: Callable[[], Any], calls: int = 1) -> tuple[float, float]:
    """Return the elapsed and the CPU seconds of one call, averaged over `calls` calls, with the garbage collector off.

    Earlier garbage is collected first, so that no function pays for the garbage of another.
    """
    import numpy as np

    gc.collect()
    timer = timeit.Timer(function, timer=lambda: np.array([time.perf_counter(), time.process_time()]))
    wall, cpu = timer.timeit(calls).tolist()
    return wall / calls, cpu / calls


def interleave(functions: Mapping[str, Callable[[], Any]], rounds: int, min_seconds: float) -> list[Timing]:
    """Time functions in turn, round by round; the first place rotates, so that no function always runs on a cold machine."""
    gc.collect()
    gc.freeze()  # existing objects need not be searched for garbage before every measurement
    try:
        once = {name: measure(function)[0] for name, function in functions.items()}
        calls = {name: max(1, round(min_seconds / max(seconds, 1e-9))) for name, seconds in once.items()}
        names = list(functions)
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
        for number in range(rounds):
            start = number % len(names)
            for name in names[start:] + names[:start]:
                taken[name].append(measure(functions[name], calls[name]))
    finally:
        gc.unfreeze()
    return [Timing(name, *zip(*taken[name], strict=True)) for name in names]


def compare(
    candidates: Mapping[str, Callable[[], Any]],
    *,
    baseline: str,
    rounds: int = 7,
    min_seconds: float = 0.02,
    equal: Callable[[Any, Any], bool] = operator.eq,
    control: bool = False,
) -> Comparison:
    """Time candidates that compute the same thing.

    Each is called once to warm up and to compare its result with the baseline's, and once to estimate its time. Then all are
    timed in turn, round by round.

    Args:
        candidates: name → function without arguments that returns its result.
        baseline: the name that the others are compared with.
        rounds: at least 3.
        min_seconds: a function faster than this is called repeatedly within a round until that much time has passed.
        equal: when two results are the same; for data frames pass `lambda a, b: a.equals(b)`.
        control: time the baseline a second time under its name + " (again)". Its speed-up over itself shows how large a
            difference must be to mean anything on this machine.

    Raises:
        DifferentResultsError: a candidate's result differs from the baseline's. Nothing was timed.
        KeyError: the baseline is not a candidate.
        ValueError: there are fewer than three rounds.
    """
    check_whole(3, rounds=rounds)
    expected = candidates[baseline]()
    for name, function in candidates.items():
        if name != baseline and not equal(expected, function()):
            raise DifferentResultsError(
                f"{name!r} and {baseline!r} return different results: fix that before timing them."
            )
    functions = {**candidates, **({baseline + CONTROL: candidates[baseline]} if control else {})}
    timings = {timing.name: timing for timing in interleave(functions, rounds, min_seconds)}
    return Comparison(baseline, timings, environment())
