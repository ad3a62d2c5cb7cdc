"""Honest timing: warmed up, interleaved, repeated, with its spread, and only of code whose results are equal.

result = compare({"loop": lambda: loop(records), "bulk": lambda: bulk(records)}, baseline="loop")
result.speedup("bulk")
result.to_frame()
"""

from __future__ import annotations

import gc
import operator
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

CONTROL = " (again)"


class DifferentResultsError(ValueError):
    """Two candidates computed different things, so their times must not be compared."""


@dataclass(frozen=True)
class Timing:
    """What one candidate took: one number a round, in seconds for one call."""

    name: str
    calls: int
    """Calls in a round; a round is divided by it."""
    wall: tuple[float, ...]
    """Elapsed time."""
    cpu: tuple[float, ...]
    """Processor time of this process, all its threads, but not of child processes."""

    @property
    def median(self) -> float:
        """Median elapsed seconds of a call."""
        return statistics.median(self.wall)

    @property
    def spread(self) -> float:
        """Distance between the quartiles of the elapsed seconds: half of all rounds lie within it."""
        lower, _, upper = statistics.quantiles(self.wall, n=4, method="inclusive")
        return upper - lower


@dataclass(frozen=True)
class Comparison:
    """Timings of several candidates taken in the same rounds."""

    baseline: str
    timings: Mapping[str, Timing]
    environment: str

    def speedup(self, name: str) -> float:
        """How many times as fast as the baseline: the median over the rounds of baseline / candidate.

        The two are compared round by round, so that a machine that slows down for a while slows both.

        Raises:
            KeyError: no candidate has this name.
        """
        pairs = zip(self.timings[self.baseline].wall, self.timings[name].wall, strict=True)
        return statistics.median(base / other for base, other in pairs)

    @property
    def noise(self) -> float | None:
        """How far from 1 the baseline's speed-up over itself came out, or None when the comparison had no control."""
        name = self.baseline + CONTROL
        return abs(self.speedup(name) - 1) if name in self.timings else None

    def to_frame(self) -> pd.DataFrame:
        """One row a candidate: `median_s`, `spread_s`, `cpu_s` (seconds a call), `calls` (in a round), `rounds`, `speedup`."""
        import pandas as pd

        rows = {
            name: {
                "median_s": timing.median,
                "spread_s": timing.spread,
                "cpu_s": statistics.median(timing.cpu),
                "calls": timing.calls,
                "rounds": len(timing.wall),
                "speedup": self.speedup(name),
            }
            for name, timing in self.timings.items()
        }
        frame = pd.DataFrame.from_dict(rows, orient="index").rename_axis("candidate")
        frame.attrs["environment"] = self.environment
        return frame


def environment() -> str:
    """The line to print beside a measured number: Python, usable processors, platform; nothing that names the machine."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{platform.python_implementation()} {platform.python_version()}, {cpus} CPUs, {platform.system()} {platform.machine()}"


def measure(function: Callable[[], Any], calls: int = 1) -> tuple[float, float]:
    """Elapsed and processor seconds of one call, averaged over `calls` calls, with the garbage collector off.

    What earlier code left is collected first, so that nobody pays for another's garbage.
    """
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(calls):
            function()
        return (time.perf_counter() - wall) / calls, (time.process_time() - cpu) / calls
    finally:
        if enabled:
            gc.enable()


def interleave(functions: Mapping[str, Callable[[], Any]], rounds: int, min_seconds: float) -> list[Timing]:
    """Time functions in turn, round by round, the first place rotating, so that none always runs on a cold machine."""
    gc.collect()
    gc.freeze()  # what exists already need not be searched for garbage before every measurement
    try:
        once = {name: measure(function)[0] for name, function in functions.items()}
        calls = {name: max(1, round(min_seconds / max(seconds, 1e-9))) for name, seconds in once.items()}
        names, taken = list(functions), {name: [] for name in functions}
        for number in range(rounds):
            start = number % len(names)
            for name in names[start:] + names[:start]:
                taken[name].append(measure(functions[name], calls[name]))
    finally:
        gc.unfreeze()
    return [Timing(name, calls[name], *zip(*taken[name], strict=True)) for name in names]


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

    Each is called once to warm up and to compare its result with the baseline's, and once to see how long it takes; then
    all are timed in turn, round by round.

    Args:
        candidates: name → function without arguments that returns its result.
        baseline: the name that the others are compared with.
        rounds: at least 3.
        min_seconds: a function faster than this is called repeatedly within a round until that much time has passed.
        equal: when two results are the same; for data frames pass `lambda a, b: a.equals(b)`.
        control: time the baseline a second time under its name + " (again)". Its speed-up over itself shows how large a
            difference must be to mean anything on this machine (`Comparison.noise`).

    Raises:
        DifferentResultsError: a candidate's result is not equal to the baseline's. Nothing has been timed.
        ValueError: the baseline is no candidate, or there are fewer than three rounds.
    """
    if baseline not in candidates:
        raise ValueError(f"The baseline {baseline!r} is not among the candidates {', '.join(candidates)}.")
    if rounds < 3:
        raise ValueError(f"{rounds} rounds have no spread: use at least 3.")
    expected = candidates[baseline]()
    for name, function in candidates.items():
        if name != baseline and not equal(expected, function()):
            raise DifferentResultsError(
                f"{name!r} and {baseline!r} give different results: mend that before timing them."
            )
    functions = {**candidates, **({baseline + CONTROL: candidates[baseline]} if control else {})}
    timings = {timing.name: timing for timing in interleave(functions, rounds, min_seconds)}
    return Comparison(baseline, timings, environment())
