"""The rules for how a cell is written: ids, tags, length, prose above code, graded cells.

Each rule takes a `Lesson` and yields problems; `lesson_rules.py` runs them all.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from lessons import Lesson, Problem, code_cells, headings, is_check, is_solution, parse, prose_lines, tags

MAX_LINES = 25
TAGS = {"parameters", "predict", "exercise-data", "nbval-ignore-output", "raises-exception"} | {
    f"objective-{number}" for number in range(1, 6)
}
UNGRADED = {"parameters", "exercise-data"}


def cell_ids(lesson: Lesson) -> Iterator[Problem]:
    """Ids mean something, and stay. (One that is used twice is replaced by a random one on reading, and so noticed.)"""
    for cell in lesson.nb.cells:
        cell_id = cell.get("id", "")
        random = re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){0,3}(-[0-9a-f]{12})?|cell-\d+", cell_id)
        if (
            random
            or not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", cell_id)
            or not re.search(r"[a-z]{3}", cell_id)
        ):
            yield (
                cell_id,
                "give the cell an id of lower-case words joined by '-', such as 'predict-workers'.",
            )


def prose_first(lesson: Lesson) -> Iterator[Problem]:
    """Prose stands before every code cell (a prediction, and data with its exercise, lead straight to the next)."""
    for above, cell in zip([None, *lesson.nb.cells], lesson.nb.cells, strict=False):
        if cell.cell_type != "code" or cell.id == "setup" and above is None:
            continue
        if above is not None and above.cell_type == "code":
            leads = "predict" in tags(above) or (is_check(cell) and is_solution(above))
            leads = leads or (
                "exercise-data" in tags(above) and ("exercise-data" in tags(cell) or is_solution(cell))
            )
            if not leads:
                yield (
                    cell.id,
                    f"stands right below the code cell '{above.id}': say between them what the reader saw.",
                )
        elif above is None or not any(
            line.strip() and not line.startswith("#") for line in prose_lines(above.source)
        ):
            yield cell.id, "has only a heading above it: say what the cell is for."


def heading_levels(lesson: Lesson) -> Iterator[Problem]:
    """No heading skips a level: readers of pages, and of screens read aloud, find their way by them."""
    above = 0
    for cell in lesson.nb.cells:
        for level, text in headings(cell):
            if level > above + 1:
                yield cell.id, f"the heading '{text}' skips a level: give it {'#' * (above + 1)}."
            above = level


def long_cells(lesson: Lesson) -> Iterator[Problem]:
    """A cell fits on a screen."""
    for cell in code_cells(lesson.nb):
        if len(cell.source.splitlines()) > MAX_LINES:
            yield (
                cell.id,
                f"has {len(cell.source.splitlines())} lines, at most {MAX_LINES}: divide it or move code to lib.",
            )


def statements(lesson: Lesson) -> Iterator[Problem]:
    """No spelling that hides an output or a failure from the strict comparison."""
    for cell in code_cells(lesson.nb):
        if re.search(r";\s*(#.*)?\Z", cell.source.rstrip()):
            yield (
                cell.id,
                "ends with ';', which hides its output from readers only: use '_ = …' or show(…).",
            )
        if re.search(r"^\s*(\w+\s*=\s*)?!", cell.source, re.MULTILINE):
            yield (
                cell.id,
                "uses '!command', which passes when the command fails: use subprocess.run(…, check=True).",
            )
        if re.search(r"\bplt\.show\(", cell.source):
            yield (cell.id, "uses plt.show(): show(figure, alt='…') gives the figure its alt text.")


def magics(lesson: Lesson) -> Iterator[Problem]:
    """`%%ipytest` is the one magic, and only in cells that never run outside a kernel."""
    for cell in code_cells(lesson.nb):
        magic = re.match(r"%%?\w+", cell.source.lstrip())
        if re.search(r"^\s*%(?!%)\w", cell.source, re.MULTILINE) or (magic and magic[0] != "%%ipytest"):
            yield cell.id, "uses a magic other than %%ipytest: write plain Python."
        elif magic and (
            cell.id == "setup" or UNGRADED & set(tags(cell)) or is_solution(cell) or is_check(cell)
        ):
            yield (
                cell.id,
                "uses %%ipytest, but exercises are proved without a kernel: use plain asserts here.",
            )


def known_tags(lesson: Lesson) -> Iterator[Problem]:
    """An unknown `nbval-…` tag is ignored by nbval without a word, so it is refused here."""
    for cell in lesson.nb.cells:
        for tag in sorted(set(tags(cell)) - TAGS):
            yield (cell.id, f"has the tag '{tag}', which nothing reads. Known: {', '.join(sorted(TAGS))}.")
        if cell.cell_type == "code" and re.search(
            r"^\s*#\s*(NBVAL|PYTEST_VALIDATE)_", cell.source, re.MULTILINE
        ):
            yield (cell.id, "has an NBVAL comment: use the tag, which readers do not see.")


def ignored_outputs(lesson: Lesson) -> Iterator[Problem]:
    """At most a third of the cells escape comparison, and what they show is asserted in the next one."""
    code = code_cells(lesson.nb)
    ignored = [cell for cell in code if "nbval-ignore-output" in tags(cell)]
    if len(ignored) * 3 > len(code):
        yield ("", f"{len(ignored)} of {len(code)} code cells ignore their output: at most a third may.")
    for cell, following in zip(code, [*code[1:], None], strict=True):
        if cell in ignored and (following is None or "assert " not in following.source):
            yield (cell.id, "ignores its output, so the next code cell must assert what it has to show.")


def predict_cells(lesson: Lesson) -> Iterator[Problem]:
    """A prediction binds names to literals, so that the learner's edition can blank the values alone."""
    for cell in code_cells(lesson.nb):
        if "predict" not in tags(cell):
            continue
        body = parse(cell).body
        try:
            ok = bool(body) and all(
                isinstance(node, ast.Assign) and all(isinstance(target, ast.Name) for target in node.targets)
                for node in body
            )
            _ = [ast.literal_eval(node.value) for node in body if ok]
        except ValueError:
            ok = False
        if not ok:
            yield (
                cell.id,
                "a predict cell holds only assignments of literals, such as guess = {'kept': 9000}.",
            )


def graded_cells(lesson: Lesson) -> Iterator[Problem]:
    """Solutions say what is cut, checks explain themselves, and both are called by their grade id."""
    for cell in code_cells(lesson.nb):
        if (is_solution(cell) or is_check(cell)) and cell.metadata.nbgrader.get("grade_id") != cell.id:
            yield cell.id, f"its nbgrader grade_id must be '{cell.id}' too."
        marks = [cell.source.count(f"### {edge} SOLUTION") for edge in ("BEGIN", "END")]
        if marks != ([1, 1] if is_solution(cell) else [0, 0]):
            yield (
                cell.id,
                "a solution cell, and no other, has one ### BEGIN SOLUTION and one ### END SOLUTION.",
            )
        if is_check(cell):
            asserts = [node for node in ast.walk(parse(cell)) if isinstance(node, ast.Assert)]
            if not asserts or any(node.msg is None for node in asserts):
                yield (
                    cell.id,
                    "a check cell has asserts, each with a message that says what is wrong and where to look.",
                )


RULES = (
    cell_ids,
    prose_first,
    heading_levels,
    long_cells,
    statements,
    magics,
    known_tags,
    ignored_outputs,
    predict_cells,
    graded_cells,
)
