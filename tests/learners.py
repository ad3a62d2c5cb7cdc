"""Run All, as a learner does it who has solved nothing yet."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from learner import release
from lessons import LESSONS, code_cells, is_check, lesson_paths, read
from nbformat import NotebookNode

import notebooks


def failures(nb: NotebookNode) -> dict[str, str]:
    """The cells of an executed notebook that raised: id → name of the error."""
    return {one.id: out.ename for one in code_cells(nb) for out in one.outputs if out.output_type == "error"}


def lessons(measuring: bool) -> list[object]:
    """The lessons that time things, or the others, as parameters of a test."""
    chosen = [
        p for p in lesson_paths() if bool(read(p).metadata.get("lesson", {}).get("measures")) is measuring
    ]
    return [pytest.param(path, id=path.stem) for path in chosen]


def run_all(path: Path, folder: Path) -> None:
    """Execute the learner's edition of a lesson in a folder: nothing may fail but what is meant to, and each check."""
    shutil.copytree(LESSONS, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.ipynb"))
    meant = failures(read(path))
    checks = {one.id: "AssertionError" for one in code_cells(read(path)) if is_check(one)}
    assert failures(notebooks.execute(release(read(path)), folder, allow_errors=True)) == meant | checks
