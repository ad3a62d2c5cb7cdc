"""Lessons 01 and 02 on a busy machine: checks of times are left out, and checks of counts are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from lessons import LESSONS, code_cells, read

from lib.scaling import laws

SLOW = pd.DataFrame({"measured": [0.2] * 4, "ideal": [1.0, 2.0, 3.0, 4.0]}, index=[1, 2, 3, 4])
LOCK = {"lock": pd.DataFrame({"speedup": np.full(7, 0.2)}), "COUNTS": [1, 2, 3, 4, 6, 8, 12], "serial": 0.2}
WAITING = {number: range(12) for number in SLOW.index}


def check(lesson: str, cell: str, names: dict[str, Any]) -> None:
    """Run a cell of a lesson that checks what was measured."""
    [code] = [one.source for one in code_cells(read(LESSONS / f"{lesson}.ipynb")) if one.id == cell]
    exec(code, names | {"laws": laws, "pd": pd})  # noqa: S102 - a cell of ours


@pytest.mark.parametrize(
    ("lesson", "cell", "measured"),
    [
        ("01_scaling_theory", "assert-ceiling", LOCK),
        ("02_scaling_out_with_celery", "assert-io", {"io": SLOW, "waiting": WAITING, "TASKS": 12}),
        ("02_scaling_out_with_celery", "assert-speed-up", {"io": SLOW, "cpu": SLOW, "cores": 2}),
    ],
)
def test_slow_times_fail_on_a_quiet_machine(lesson: str, cell: str, measured: dict[str, Any]) -> None:
    check(lesson, cell, measured | {"busy": True, "machine_busy": True})
    with pytest.raises(AssertionError):
        check(lesson, cell, measured | {"busy": False, "machine_busy": False})


def test_wrong_counts_fail_it_on_a_busy_machine_too() -> None:
    names = {"io": SLOW, "waiting": WAITING | {2: range(13)}, "TASKS": 12, "busy": True}
    with pytest.raises(AssertionError, match="A task was done twice"):
        check("02_scaling_out_with_celery", "assert-io", names)
