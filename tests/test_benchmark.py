"""Timing is honest: fair order, equal results first, garbage collector handled, figures that add up."""

from __future__ import annotations

import dataclasses
import gc
import platform
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from lib import benchmark
from lib.benchmark import CONTROL, Comparison, DifferentResultsError, Timing, compare, environment, measure


def recorded(calls: list[str], name: str, result: object = 1) -> Callable[[], object]:
    """A function that writes down that it was called."""

    def function() -> object:
        calls.append(name)
        return result

    return function


def comparison(base: tuple[float, ...], other: tuple[float, ...]) -> Comparison:
    """A comparison with given times."""
    timings = {name: Timing(name, 1, wall, wall) for name, wall in (("base", base), ("other", other))}
    return Comparison("base", timings, environment())


def test_candidates_are_warmed_up_and_interleaved_with_a_rotating_start() -> None:
    calls: list[str] = []
    compare({name: recorded(calls, name) for name in "abc"}, baseline="a", rounds=4, min_seconds=0)
    warm_up, rounds = calls[:6], calls[6:]
    assert warm_up == ["a", "b", "c", "a", "b", "c"]  # once for the result, once for the number of calls
    assert ["".join(rounds[i : i + 3]) for i in range(0, 12, 3)] == ["abc", "bca", "cab", "abc"]


def test_different_results_are_refused_before_anything_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "measure", lambda *_: pytest.fail("something was timed"))
    with pytest.raises(DifferentResultsError, match="'b' and 'a' give different results"):
        compare({"a": lambda: [1, 2], "b": lambda: [1, 3]}, baseline="a")


def test_equality_can_be_given() -> None:
    result = compare({"a": lambda: 1.0, "b": lambda: 1.01}, baseline="a", equal=lambda a, b: abs(a - b) < 0.1)
    assert set(result.timings) == {"a", "b"}


@pytest.mark.parametrize(
    ("baseline", "rounds", "message"), [("x", 7, "'x' is not among the candidates a"), ("a", 2, "2 rounds")]
)
def test_impossible_comparison_is_refused(baseline: str, rounds: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compare({"a": lambda: 1}, baseline=baseline, rounds=rounds)


def test_slower_is_measured_as_slower() -> None:
    result = compare(
        {"slow": lambda: time.sleep(0.02), "fast": lambda: time.sleep(0.002)},
        baseline="slow",
        rounds=5,
        control=True,
    )
    assert 3 < result.speedup("fast") <= 10.5
    assert result.speedup("slow") == 1 and result.speedup("slow" + CONTROL) == pytest.approx(1, abs=0.3)
    assert result.noise == abs(result.speedup("slow" + CONTROL) - 1)
    assert result.timings["slow"].median >= 0.02


def test_processor_time_is_told_from_waiting() -> None:
    wall, cpu = measure(lambda: time.sleep(0.05))
    assert wall >= 0.05 and cpu < 0.025

    def work() -> None:
        end = time.process_time() + 0.03
        while time.process_time() < end:
            pass

    def threads() -> None:
        both = [threading.Thread(target=work) for _ in range(2)]
        [thread.start() for thread in both]
        [thread.join() for thread in both]

    assert measure(work)[1] >= 0.03
    assert measure(threads)[1] >= 0.03


def test_fast_functions_are_called_many_times_a_round() -> None:
    calls: list[str] = []
    result = compare({"a": recorded(calls, "a"), "b": lambda: 1}, baseline="a", rounds=3, min_seconds=0.001)
    timing = result.timings["a"]
    assert timing.calls > 50 and len(calls) == 2 + 3 * timing.calls
    assert timing.median * timing.calls < 1 and timing.median < 0.0005


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_collector_is_off_while_timing_and_then_as_before(enabled: bool) -> None:
    (gc.enable if enabled else gc.disable)()
    try:
        seen: list[bool] = []
        measure(lambda: seen.append(gc.isenabled()))
        with pytest.raises(ZeroDivisionError):
            measure(lambda: 1 / 0)
        assert seen == [False] and gc.isenabled() == enabled
    finally:
        gc.enable()


def test_median_spread_and_speedup_are_those_of_the_rounds() -> None:
    result = comparison((1.0, 2.0, 3.0, 4.0, 100.0), (0.5, 1.0, 1.5, 2.0, 25.0))
    assert result.timings["base"].median == 3.0
    assert result.timings["base"].spread == 2.0  # quartiles 2 and 4; the outlier counts for nothing
    assert result.speedup("other") == 2.0 and result.noise is None
    with pytest.raises(KeyError):
        result.speedup("third")


def test_frame_has_one_row_a_candidate() -> None:
    frame = comparison((1.0, 2.0, 3.0), (0.5, 1.0, 1.5)).to_frame()
    assert list(frame.index) == ["base", "other"] and frame.index.name == "candidate"
    assert frame.loc["other"].to_dict() == {
        "median_s": 1.0,
        "spread_s": 0.5,
        "cpu_s": 1.0,
        "calls": 1,
        "rounds": 3,
        "speedup": 2.0,
    }
    assert frame.attrs["environment"] == environment()


def test_results_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        comparison((1, 2, 3), (1, 2, 3)).timings["base"].calls = 2  # type: ignore[misc]


def test_environment_line_tells_python_processors_and_platform_only() -> None:
    line = environment()
    assert re.fullmatch(r"\w+ 3\.\d+\.\d+\S*, \d+ CPUs, \w+ \w+", line)
    assert platform.python_version() in line and socket.gethostname() not in line


def test_pandas_is_imported_only_for_the_frame() -> None:
    code = "import sys, lib.benchmark; sys.exit('pandas' in sys.modules or 'numpy' in sys.modules)"
    root = benchmark.__file__.removesuffix("lib/benchmark.py")
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
