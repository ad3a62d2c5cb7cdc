"""Exercises taken out of a lesson and tried without a kernel: this answer, that check, nothing else of the lesson.

An exercise needs only the set-up cell, the parameters cell and the cells tagged `exercise-data` above its check. So an answer can be
tried in a moment, and the three proofs of an exercise (the solution passes, the stub fails, a wrong answer fails) are fast tests.
"""

from __future__ import annotations

import contextlib
import gc
import io
import re
import textwrap
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from IPython.display import display
from lessons import code_cells, is_check, is_solution, tags
from nbformat import NotebookNode

REGION = re.compile(r"^([ \t]*)### BEGIN SOLUTION\n.*?^[ \t]*### END SOLUTION$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Exercise:
    """One exercise of a lesson: sources of the cells it needs."""

    name: str
    """Its grade id, such as `exercise-4-1`."""
    needs: tuple[str, ...]
    """Set-up, parameters and exercise data, in order."""
    solution: str
    data: tuple[str, ...]
    """Exercise data between solution and check: what the answer defines can't replace it."""
    check: str

    def answer(self, code: str) -> str:
        """The solution cell with other code in place of what a learner writes."""

        def region(match: re.Match[str]) -> str:
            return textwrap.indent(textwrap.dedent(code).strip("\n"), match[1])

        return REGION.sub(region, self.solution)


def exercises(nb: NotebookNode) -> Iterator[Exercise]:
    """The exercises of a lesson, solved or as released, in order.

    Raises:
        ValueError: a solution cell has no check cell below it.
    """
    needs: list[str] = []
    data: list[str] = []
    solution: NotebookNode | None = None
    for cell in code_cells(nb):
        if cell.id == "setup" or {"parameters", "exercise-data"} & set(tags(cell)):
            (needs if solution is None else data).append(cell.source)
        elif is_solution(cell):
            solution = cell
        elif is_check(cell):
            if solution is None:
                raise ValueError(f"The check '{cell.id}' stands below no solution.")
            yield Exercise(solution.id, tuple(needs), solution.source, tuple(data), cell.source)
            needs, data, solution = [*needs, *data], [], None
    if solution is not None:
        raise ValueError(f"The solution '{solution.id}' has no check below it.")


def attempt(exercise: Exercise, answer: str, folder: Path) -> Exception | None:
    """Try an answer: run what the exercise needs, the answer, and the check, in this process and in `folder`.

    Returns:
        What the check raised, or None when it passed.

    Raises:
        Exception: whatever the cells above the check raise; a learner's Run All would show it there.
    """
    namespace: dict[str, Any] = {"__name__": "__main__", "display": display}
    failure: Exception | None = None
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.chdir(folder))
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(mock.patch("ipytest.autoconfig"))  # it needs a kernel, which exercises do without
        stack.enter_context(warnings.catch_warnings())
        # An answer that fails leaves open what it had opened: nobody else should be told.
        warnings.simplefilter("ignore", ResourceWarning)
        for source in (*exercise.needs, answer, *exercise.data):
            exec(compile(source, f"<{exercise.name}>", "exec"), namespace)  # noqa: S102 (the lessons' own code)
        try:
            exec(compile(exercise.check, f"<check of {exercise.name}>", "exec"), namespace)  # noqa: S102
        except Exception as error:  # noqa: BLE001 (whatever it is, the caller judges it)
            failure = error.with_traceback(None)
        namespace.clear()
        gc.collect()
        gc.freeze()  # the libraries that are imported by now: to search them each time would take most of the time
    return failure
