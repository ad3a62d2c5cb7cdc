"""A small lesson that keeps every rule, for the tests of the tools: made here, so that no real lesson has to stand still."""

from __future__ import annotations

import re
from pathlib import Path

from lessons import KERNELSPEC, code_cells, code_hash, dumps
from nbformat import NotebookNode, from_dict
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

NAME = "03_sample.ipynb"


def picture(alt: str, plain: str) -> NotebookNode:
    """The output that holds a figure, with its alt text and what a terminal shows."""
    data, about = {"image/png": "iVBORw0KGgo=", "text/plain": plain}, {"image/png": {"alt": alt}}
    return new_output("display_data", data=data, metadata=about)


SOLUTION = (
    "def add_{n}(x: int) -> int:\n    ### BEGIN SOLUTION\n    return x + {n} + OFFSET\n    ### END SOLUTION"
)
CHECK = 'assert add_{n}(START) == START + {n}, "add_{n} must add the number in its name: look at what it returns."'
ERROR = {"ename": "ValueError", "evalue": "alt is empty", "traceback": ["ValueError: alt is empty"]}
OUTPUTS = {
    "add-numbers": new_output("stream", name="stdout", text="6\n"),
    "draw-sum": picture("One bar, six high.", "One bar, six high."),
    "mute-figure": new_output("error", **ERROR),
}
TEXTS = {
    "title": "# 03 · A sample\n\nThree numbers are added and you see what comes out.\n\n| Working time | 5 minutes |",
    "objectives": "## You will be able to\n\n1. add **one**\n2. add **two**",
    "sum-question": "## How much is the sum?",
    "sum-means": "It is six. See [the start](00_start_here.ipynb#Glossary) and [above](#You-will-be-able-to).",
    "exercises": "## Exercises\n\nTwo of them.",
}
CODE = {
    "setup": ("import time\n\nfrom lib.guesses import compare\nfrom lib.plots import show, subplots", []),
    "parameters": ("START = 1\nNUMBERS = [1, 2, 3]", ["parameters"]),
    "predict-sum": ('guess = {"sum": 5, "parts": [1, -2]}  # your numbers', ["predict"]),
    "add-numbers": ('print(sum(NUMBERS))\ncompare(guess, {"sum": sum(NUMBERS), "parts": [1, 5]})', []),
    "draw-sum": ('fig, ax = subplots()\nax.bar(["sum"], [6])\nshow(fig, alt="One bar, six high.")', []),
    "time-sum": ("start = time.time()\nelapsed = time.time() - start\nelapsed", ["nbval-ignore-output"]),
    "assert-sum": ('assert elapsed < 60 and sum(NUMBERS) == 6, "Adding is fast."', []),
    "mute-figure": ('raise ValueError("alt is empty")', ["raises-exception"]),
    "data-3-1": ("OFFSET = 0", ["exercise-data"]),
}
ORDER = """
    title objectives setup parameters sum-question predict-sum add-numbers sum-means draw-sum time-sum assert-sum mute-figure
    exercises data-3-1 exercise-3-1 check-3-1 exercise-3-2 check-3-2
""".split()


def graded(cell_id: str, number: int) -> NotebookNode:
    """A solution or check cell with nbgrader's metadata."""
    check = cell_id.startswith("check")
    metadata = {"grade": check, "solution": not check, "locked": check, "task": False}
    metadata |= {"grade_id": cell_id, "schema_version": 3}
    cell = new_code_cell((CHECK if check else SOLUTION).format(n=number), id=cell_id)
    cell.metadata.nbgrader = from_dict(metadata | ({"points": 1} if check else {}))
    if check:
        cell.metadata.tags = [f"objective-{number}"]
    return cell


def build() -> NotebookNode:
    """The lesson before its first run: no outputs, no counts, no hash."""
    cells = []
    for cell_id in ORDER:
        if cell_id in TEXTS:
            cells.append(new_markdown_cell(TEXTS[cell_id], id=cell_id))
        elif cell_id in CODE:
            source, tags = CODE[cell_id]
            cells.append(new_code_cell(source, id=cell_id, metadata={"tags": tags} if tags else {}))
        else:
            cells.append(graded(cell_id, int(cell_id[-1])))
    metadata = {"kernelspec": KERNELSPEC, "language_info": {"name": "python"}, "lesson": {"measures": False}}
    return new_notebook(cells=cells, metadata=from_dict(metadata))


def build_executed() -> NotebookNode:
    """The lesson as one Run All would leave it, written by hand: for tests that need no kernel."""
    nb = build()
    for count, cell in enumerate(code_cells(nb), start=1):
        cell.execution_count = count
        cell.outputs = [OUTPUTS[cell.id]] if cell.id in OUTPUTS else []
    nb.metadata.lesson.code_sha256 = code_hash(nb)
    return nb


def write(folder: Path, nb: NotebookNode) -> Path:
    """Store the lesson in a folder, with a first notebook beside it that its links can reach."""
    folder.mkdir(parents=True, exist_ok=True)
    start = new_notebook(cells=[new_markdown_cell("# 00 · Start\n\n## Glossary", id="title")])
    (folder / "00_start_here.ipynb").write_text(dumps(start), encoding="utf-8")
    path = folder / NAME
    path.write_text(dumps(nb), encoding="utf-8")
    return path


def cell(nb: NotebookNode, cell_id: str) -> NotebookNode:
    """The cell with this id."""
    return next(cell for cell in nb.cells if cell.id == cell_id)


def replace(nb: NotebookNode, cell_id: str, old: str, new: str) -> None:
    """Change the source of one cell by a regular expression that must match."""
    target = cell(nb, cell_id)
    target.source, count = re.subn(old, new, target.source)
    assert count, f"{old!r} does not match in {cell_id}"
