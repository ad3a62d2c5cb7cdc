"""The grading loop for every lesson with exercises: a solution, an untouched release, and one exercise right. It takes long."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from assignment import Order
from lessons import code_cells, is_check, is_solution, lesson_paths, read
from test_grading import grade_three, made, partly

pytestmark = pytest.mark.skipif(
    "GRADING_LESSONS" not in os.environ, reason="for all lessons: `make release-check ONLY=grading`"
)
PATHS = [path for path in lesson_paths() if any(map(is_solution, code_cells(read(path))))]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_full_none_and_the_points_of_one_exercise(path: Path, tmp_path: Path) -> None:
    checks = [cell for cell in code_cells(read(path)) if is_check(cell)]
    points = [cell.metadata["nbgrader"]["points"] for cell in checks]
    first = next(cell.id for cell in code_cells(read(path)) if is_solution(cell))
    order = Order(path.name[:2])
    course = made(order, tmp_path)
    graded = grade_three(course, order.name, partly(course, order.name, [first]))
    assert graded == {"ana": sum(points), "bea": 0, "carla": points[0]}
