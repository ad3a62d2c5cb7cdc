"""As tests/test_killed_kernel.py, for all other lessons that start something."""

from __future__ import annotations

import pytest
from lessons import LESSONS
from test_killed_kernel import MIDDLE, QUICK, left_of


@pytest.mark.parametrize("number", [number for number in MIDDLE if number not in QUICK])
def test_a_kill_leaves_nothing(number: str, kernel_path: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(LESSONS)
    assert left_of(number) == []
