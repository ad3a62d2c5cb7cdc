"""As tests/test_killed_kernel.py, for all other lessons that start something."""

from __future__ import annotations

import pytest
from killed_kernels import MIDDLE, left_of, that_start_something
from lessons import LESSONS
from test_killed_kernel import QUICK


def test_no_middle_of_a_lesson_that_starts_nothing() -> None:
    assert set(MIDDLE) <= set(that_start_something())


@pytest.mark.parametrize("number", [number for number in that_start_something() if number not in QUICK])
def test_killed_in_the_middle_nothing_is_left_after_five_seconds(
    number: str, kernel_path: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(LESSONS)
    assert left_of(number) == []
