"""The learner's edition of lessons that measure: as long as these lessons."""

from __future__ import annotations

from pathlib import Path

import pytest
from learners import lessons, run_all


@pytest.mark.long
@pytest.mark.parametrize("path", lessons(measuring=True))
def test_run_all_of_a_learner_fails_only_in_checks(path: Path, tmp_path: Path, kernel_path: None) -> None:
    run_all(path, tmp_path)
