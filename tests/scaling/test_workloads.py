"""The jobs of lesson 01: the order of a curve, and what is refused. How fast they are is no test's business."""

from __future__ import annotations

from pathlib import Path

import pytest

from lib.scaling.workloads import Job, measure_curve
from lib.stage.processes import ProcessError


def test_a_curve_has_a_row_for_each_count_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "sitecustomize.py").write_text(f"open({str(tmp_path / 'seen')!r}, 'w').close()")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    curve = measure_curve(Job("cpu", cores=1), counts=[2, 1], rounds=3, seconds=0.05)
    assert list(curve["workers"]) == [1, 2]
    assert (curve["lowest"] <= curve["throughput"]).all() and (curve["throughput"] <= curve["highest"]).all()
    assert (curve["throughput"] > 0).all() and (curve["cpu_s"] > 0).all()
    assert (tmp_path / "seen").exists(), "The PYTHONPATH of the caller was lost."


def test_a_worker_that_fails_is_reported_with_its_reason():
    with pytest.raises(ProcessError, match=r"(?s)measurement of 'lock' ended with status 1.*OverflowError"):
        measure_curve(Job("lock", work_s=1e12), [2], rounds=1, seconds=0.1)


@pytest.mark.parametrize(("kind", "counts"), [("disk", [1]), ("cpu", [1, 0]), ("cpu", [])])
def test_what_can_not_be_measured_is_refused(kind, counts):
    with pytest.raises(ValueError, match="kind='disk': choose one of|(workers|counts)=0: at least 1"):
        measure_curve(Job(kind), counts)
