"""Run All, as a learner does it who has solved nothing yet."""

from __future__ import annotations

import shutil
from pathlib import Path

from learner import release
from lessons import LESSONS, code_cells, is_check, read
from nbformat import NotebookNode

import notebooks

#: A lesson that starts nothing and measures nothing.
QUICK = LESSONS / "05_schema_compatibility.ipynb"


def failures(nb: NotebookNode) -> dict[str, str]:
    """The cells of an executed notebook that raised: id → name of the error."""
    return {one.id: out.ename for one in code_cells(nb) for out in one.outputs if out.output_type == "error"}


def run_all(path: Path, folder: Path) -> None:
    """Execute the learner's edition of a lesson in a folder: nothing may fail but what is meant to, and each check."""
    shutil.copytree(LESSONS, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.ipynb"))
    meant = failures(read(path))
    checks = {one.id: "AssertionError" for one in code_cells(read(path)) if is_check(one)}
    assert failures(notebooks.execute(release(read(path)), folder, allow_errors=True)) == meant | checks
