"""The jobs of lesson 01: what is counted adds up, and what can't be faster is not. How fast they are is no test's business."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lib.scaling.workloads import Job, measure_curve
from lib.stage.processes import ProcessError


def test_each_task_tells_each_other_worker():
    curve = measure_curve(Job("exchange", work_s=0.005, shared_s=0.0005), [1, 3], rounds=1, seconds=0.2)
    assert (curve["tasks"] >= curve["workers"]).all()
    assert list(curve["messages"]) == list(curve["tasks"] * (curve["workers"] - 1))


def test_a_lock_is_passed_no_faster_than_it_opens():
    row = measure_curve(Job("lock", work_s=0.001, shared_s=0.02), [4], rounds=1, seconds=0.3).iloc[0]
    assert row["messages"] == 0
    assert row["tasks"] * 0.02 <= row["wall_s"] * 1.01


def test_a_curve_has_a_row_for_each_count_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "sitecustomize.py").write_text(f"open({str(tmp_path / 'seen')!r}, 'w').close()")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    curve = measure_curve(Job("cpu", cores=1), counts=[2, 1], rounds=3, seconds=0.05)
    assert list(curve["workers"]) == [1, 2]
    assert (curve["lowest"] <= curve["throughput"]).all() and (curve["throughput"] <= curve["highest"]).all()
    assert (curve["throughput"] > 0).all() and (curve["cpu_s"] > 0).all()
    assert (tmp_path / "seen").exists(), "The PYTHONPATH of the caller was lost."


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs to choose the core")
def test_many_workers_on_one_core_do_no_more_than_one_core_can():
    """Each by its own clock, twelve of them would seem to do half as much again."""
    curve = measure_curve(Job("cpu", cores=1), [1, 12], rounds=3, seconds=0.2)
    core = (curve["tasks"] / curve["cpu_s"]).max()  # tasks a second of a core that does nothing else
    assert (curve["throughput"] <= 1.1 * core).all(), curve


def test_a_worker_that_fails_is_reported_with_its_reason():
    with pytest.raises(ProcessError, match=r"(?s)measurement of 'lock' ended with status 1.*OverflowError"):
        measure_curve(Job("lock", work_s=1e12), [2], rounds=1, seconds=0.1)


@pytest.mark.parametrize(("kind", "counts"), [("disk", [1]), ("cpu", [1, 0]), ("cpu", [])])
def test_what_can_not_be_measured_is_refused(kind, counts):
    with pytest.raises(ValueError, match="kind='disk': choose one of|(workers|counts)=0: at least 1"):
        measure_curve(Job(kind), counts)
