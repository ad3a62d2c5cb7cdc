"""The jobs of lesson 01: what is counted adds up, and what can't be faster is not. How fast they are is no test's business."""

from __future__ import annotations

import pytest

from lib.scaling.workloads import Job, measure, measure_curve, running


def test_each_task_tells_each_other_worker():
    measured = measure(Job("exchange", work_s=0.005, shared_s=0.0005), workers=3, seconds=0.2)
    assert measured["tasks"] >= 3
    assert measured["messages"] == measured["tasks"] * 2
    assert running() == 0


def test_a_lock_is_passed_no_faster_than_it_opens():
    measured = measure(Job("lock", work_s=0.001, shared_s=0.02), workers=4, seconds=0.3)
    assert measured["messages"] == 0
    assert measured["tasks"] * 0.02 <= measured["wall_s"] * 1.01
    assert measured["cpu_s"] < measured["wall_s"] * 4


def test_a_curve_has_a_row_for_each_count_and_takes_the_best_round():
    curve = measure_curve(Job("cpu", hashes=200, cores=1), counts=[2, 1], rounds=2, seconds=0.05)
    assert list(curve["workers"]) == [1, 2]
    assert (curve["throughput"] > 0).all() and (curve["cpu_s"] > 0).all()


def test_a_worker_that_fails_is_told():
    with pytest.raises(
        RuntimeError, match=r"2 of 2 workers ended with exit codes \[1, 1\] and without a result"
    ):
        measure(Job("cpu", hashes=-1), workers=2, seconds=0.1)
    assert running() == 0
