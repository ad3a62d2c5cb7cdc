"""Timing is honest: fair order, equal results first, garbage collector handled, figures that add up."""

from __future__ import annotations

import gc
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from waiting import until

from lib import benchmark


def test_candidates_are_warmed_up_and_interleaved_with_a_rotating_start() -> None:
    calls: list[str] = []
    candidates = {name: partial(calls.append, name) for name in "abc"}
    benchmark.compare(candidates, baseline="a", rounds=4, min_seconds=0)
    warm_up, rounds = calls[:6], calls[6:]
    assert warm_up == ["a", "b", "c", "a", "b", "c"]  # once for the result, once for the number of calls
    assert ["".join(rounds[i : i + 3]) for i in range(0, 12, 3)] == ["abc", "bca", "cab", "abc"]


def test_different_results_are_refused_before_anything_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    different = {"a": lambda: 1.0, "b": lambda: 1.01}
    result = benchmark.compare(different, baseline="a", equal=lambda a, b: abs(a - b) < 0.1)
    assert set(result.timings) == {"a", "b"}
    monkeypatch.setattr(benchmark, "measure", lambda *_: pytest.fail("something was timed"))
    with pytest.raises(benchmark.DifferentResultsError, match="'b' and 'a' return different results"):
        benchmark.compare(different, baseline="a")


def test_impossible_comparison_is_refused() -> None:
    with pytest.raises(KeyError, match="'x'"):
        benchmark.compare({"a": lambda: 1}, baseline="x")
    with pytest.raises(ValueError, match="rounds=2: at least 3"):
        benchmark.compare({"a": lambda: 1}, baseline="a", rounds=2)


@dataclass
class Clock:
    """A clock for `lib.benchmark` that moves only when a test says so."""

    wall: float = 0.0
    cpu: float = 0.0

    def go_on(self, seconds: float, computing: float = 0.0) -> None:
        self.wall += seconds
        self.cpu += computing

    def perf_counter(self) -> float:
        return self.wall

    def process_time(self) -> float:
        return self.cpu


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock by which everything in this test is timed."""
    clock = Clock()
    monkeypatch.setattr(benchmark, "time", clock)
    return clock


def test_slower_is_measured_as_slower_and_computing_is_told_from_waiting(clock: Clock) -> None:
    candidates = {"slow": lambda: clock.go_on(0.25, 0.125), "fast": lambda: clock.go_on(0.0625)}
    result = benchmark.compare(candidates, baseline="slow", rounds=5, control=True)
    assert result.timings["slow"].median == 0.25 and result.speedup("fast") == 4
    assert result.timings["slow"].cpu == (0.125,) * 5 and result.timings["fast"].cpu == (0.0,) * 5
    assert result.speedup("slow") == result.speedup("slow" + benchmark.CONTROL) == 1


def test_fast_functions_are_called_many_times_a_round(clock: Clock) -> None:
    fast = {"a": lambda: clock.go_on(1 / 1024)}
    timing = benchmark.compare(fast, baseline="a", rounds=3, min_seconds=0.0625).timings["a"]
    assert timing.median == 1 / 1024
    assert clock.wall == (2 + 3 * 64) / 1024


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_collector_is_off_while_timing_and_then_as_before(enabled: bool) -> None:
    (gc.enable if enabled else gc.disable)()
    try:
        seen: list[bool] = []
        benchmark.measure(lambda: seen.append(gc.isenabled()))
        with pytest.raises(ZeroDivisionError):
            benchmark.measure(lambda: 1 / 0)
        assert seen == [False] and gc.isenabled() == enabled
    finally:
        gc.enable()


def test_median_spread_and_speedup_are_those_of_the_rounds() -> None:
    times = {"base": (1.0, 2.0, 3.0, 4.0, 100.0), "other": (0.5, 1.0, 1.5, 2.0, 25.0)}
    timings = {name: benchmark.Timing(name, wall, wall) for name, wall in times.items()}
    result = benchmark.Comparison("base", timings, benchmark.environment())
    assert result.timings["base"].median == 3.0
    assert result.timings["base"].spread == 2.0  # quartiles 2 and 4; the outlier counts for nothing
    assert result.speedup("other") == 2.0
    frame = result.to_frame()
    assert list(frame.index) == ["base", "other"] and frame.index.name == "candidate"
    numbers = {"median_s": 1.5, "spread_s": 1.0, "cpu_s": 1.5, "rounds": 5, "speedup": 2.0}
    assert frame.loc["other"].to_dict() == numbers
    assert re.fullmatch(r"\w+ 3\.\d+\.\d+\S*, \d+ CPUs, \w+ \w+", result.environment)


@pytest.mark.parametrize(("quota", "usable"), [("max 100000", 3), ("150000 100000", 1), ("800000 100000", 3)])
def test_container_quota(quota: str, usable: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole processors of its quota are used."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    monkeypatch.setattr(benchmark, "QUOTA", tmp_path / "cpu.max")
    assert benchmark.usable_processors() == 3
    (tmp_path / "cpu.max").write_text(f"{quota}\n")
    assert benchmark.usable_processors() == usable


@pytest.mark.parametrize(
    ("changed", "report"),
    [
        ({}, ""),
        ({"processor_share": 0.3}, "busy: a program that computes gets 30% of its processors. So times"),
        ({"work_of_two": 1.1}, "busy: two programs that compute at once do only 1.1 times the work of one."),
        ({"loop_step": 400e-9}, "slow: a step of a loop takes 400 ns, and usually 25. So times"),
    ],
    ids=["quiet", "busy", "one core", "slow"],
)
def test_busy_is_said_in_words_with_a_remedy_and_noted(
    changed: dict[str, float], report: str, monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path
) -> None:
    quiet = {"processor_share": 0.9, "work_of_two": 1.9, "loop_step": 25e-9}
    for name, value in (quiet | changed).items():
        monkeypatch.setattr(benchmark, name, lambda value=value: value)
    (noted := tmp_path / "busy").touch()
    monkeypatch.setenv("LESSONS_BUSY", str(noted))
    assert benchmark.machine_is_busy("set RATE = 50 and run again") is bool(report)
    printed = capsys.readouterr().out
    assert printed == noted.read_text()
    assert printed.startswith(report and f"This machine is {report}")
    assert ("set RATE = 50 and run again" in printed) is bool(report)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not choose processors")
def test_two_names_of_one_processor_do_the_work_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    usable = os.sched_getaffinity(0)
    monkeypatch.setattr(benchmark, "usable_processors", lambda: 2)
    os.sched_setaffinity(0, {min(usable)})
    try:
        # While other programs compute on this processor, too, two threads get more of it than one.
        until(lambda: benchmark.work_of_two() < benchmark.PAIR)
    finally:
        os.sched_setaffinity(0, usable)


def test_a_machine_where_others_compute_is_busy(capsys: pytest.CaptureFixture[str]) -> None:
    endless = [sys.executable, "-c", "print(flush=True)\nwhile True: pass"]
    others = [subprocess.Popen(endless, stdout=subprocess.PIPE) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        for other in others:
            assert other.stdout and other.stdout.readline()  # it has begun
        assert benchmark.processor_share() < 0.7 and benchmark.machine_is_busy("wait")
    finally:
        for other in others:
            other.kill()
            other.communicate()
    assert "wait" in capsys.readouterr().out
