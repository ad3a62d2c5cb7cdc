"""The learner's edition of all lessons but the quick one; those that measure take as long as these lessons."""

from __future__ import annotations

from pathlib import Path

import pytest
from learners import QUICK, run_all
from lessons import lesson_paths
from run_tests import measures

PATHS = [path for path in lesson_paths() if path != QUICK]
LESSONS = [pytest.param(path, id=path.stem, marks=[pytest.mark.long] * measures(path)) for path in PATHS]


@pytest.mark.parametrize("path", LESSONS)
def test_run_all_of_a_learner_fails_only_in_checks(path: Path, tmp_path: Path, kernel_path: None) -> None:
    run_all(path, tmp_path)
