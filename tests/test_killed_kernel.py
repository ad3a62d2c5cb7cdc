"""A kernel that is killed in the middle of a lesson leaves no process: what the lesson has started dies with it.

The other lessons take longer to get to their middle: tests/integration/test_killed_kernels.py.
"""

from __future__ import annotations

import pytest
from killed_kernels import left_of
from lessons import LESSONS

QUICK = ["02"]


@pytest.mark.parametrize("number", QUICK)
def test_killed_in_the_middle_nothing_is_left(
    number: str, kernel_path: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(LESSONS)
    assert left_of(number) == []
