"""Functions on lessons for all tools: find, read and write them, and classify their cells."""

from __future__ import annotations

import argparse
import ast
import hashlib
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from lib.stage.files import replace_file

ROOT = Path(__file__).resolve().parents[1]
LESSONS = ROOT / "notebooks"
KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
ANSI = re.compile(r"\x1b\[[0-9;]*m")
WORKING_TIME = re.compile(r"(?<=\| Working time \| )\d+(?= minutes(?!, in))")
FENCE = re.compile(r"^ {0,3}(```+|~~~+)")


def lesson_paths() -> list[Path]:
    """All lessons of the collection, in the order of their numbers."""
    return sorted(LESSONS.glob("*.ipynb"))


def named_paths(names: list[str]) -> list[Path]:
    """The notebooks named on a command line, or all lessons when none is named."""
    paths = [Path(name).resolve() for name in names] or lesson_paths()
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise SystemExit(
            f"No such notebook: {', '.join(missing)}. Name one as notebooks/00_start_here.ipynb."
        )
    return paths


def display_path(path: Path) -> str:
    """Return the path as a reader would type it: relative to the repository if it is inside."""
    path = path.resolve()
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else os.path.relpath(path)


def command_line(description: str) -> argparse.ArgumentParser:
    """Return a parser that prints the description unchanged."""
    layout = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(description=description, formatter_class=layout)


def read(path: Path) -> NotebookNode:
    """Read a notebook in format 4.

    Raises:
        ValueError: the file is not a notebook; the message names it.
    """
    try:
        return nbformat.read(path, as_version=4)
    except (ValueError, KeyError, AttributeError, nbformat.ValidationError) as error:
        message = f"{display_path(path)} is not a valid notebook ({error}). Restore it, or delete it."
        raise ValueError(message) from error


def dumps(nb: NotebookNode) -> str:
    """The one text form in which notebooks are stored: indent 1, Unicode as it is, one newline at the end; tagged cells are folded."""
    for cell in code_cells(nb):
        if "hide-input" in tags(cell):  # the site reads the tag, JupyterLab does not
            cell.metadata["jupyter"] = {"source_hidden": True}
    text = nbformat.writes(nb, indent=1, ensure_ascii=False)
    return text if text.endswith("\n") else text + "\n"


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file and its folder atomically: a crash or a full disk leaves the old file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, content)


def code_cells(nb: NotebookNode) -> list[NotebookNode]:
    """The code cells, in order."""
    return [cell for cell in nb.cells if cell.cell_type == "code"]


def code_hash(nb: NotebookNode) -> str:
    """SHA-256 of the code cells' sources: what the stored outputs were made from."""
    return hashlib.sha256("\0".join(cell.source for cell in code_cells(nb)).encode()).hexdigest()


def tags(cell: NotebookNode) -> list[str]:
    """The cell's tags."""
    return list(cell.metadata.get("tags", []))


def is_solution(cell: NotebookNode) -> bool:
    """Whether nbgrader treats the cell as a learner's answer."""
    return bool(cell.metadata.get("nbgrader", {}).get("solution"))


def is_check(cell: NotebookNode) -> bool:
    """Whether nbgrader treats the cell as a test of an answer."""
    return bool(cell.metadata.get("nbgrader", {}).get("grade"))


def python(cell: NotebookNode) -> str:
    """The source of a code cell, with spaces in place of a magic such as `%%ipytest`."""
    return re.sub(r"\A\s*%%\w.*", lambda magic: " " * len(magic[0]), cell.source)


def span(source: str, node: ast.expr) -> tuple[int, int]:
    """Where a node of the source's syntax tree begins and ends, in characters."""
    lines = source.encode().splitlines(keepends=True)
    begin = b"".join(lines[: node.lineno - 1]) + lines[node.lineno - 1][: node.col_offset]
    end = b"".join(lines[: node.end_lineno - 1]) + lines[node.end_lineno - 1][: node.end_col_offset]
    return len(begin.decode()), len(end.decode())


def parse(cell: NotebookNode) -> ast.Module:
    """The syntax tree of a code cell; empty when it is not Python (ruff reports that)."""
    try:
        return ast.parse(python(cell))
    except SyntaxError:
        return ast.Module(body=[], type_ignores=[])


def prose_lines(cell: NotebookNode) -> Iterator[str]:
    """The lines of a markdown cell that are not inside a code fence; of a code cell none."""
    fence = ""
    for line in cell.source.splitlines() if cell.cell_type == "markdown" else ():
        mark = FENCE.match(line)
        if mark and (not fence or mark[1].startswith(fence)):
            fence = "" if fence else mark[1]
        elif not fence:
            yield line


def headings(cell: NotebookNode) -> list[tuple[int, str]]:
    """The headings of a markdown cell, as (level, text)."""
    found = (re.match(r"^(#{1,6})\s+(.+?)\s*#*$", line) for line in prose_lines(cell))
    return [(len(match[1]), match[2]) for match in found if match]


def objectives(nb: NotebookNode) -> list[str]:
    """What a lesson promises in the numbered list below "You will be able to"; nothing in the first notebook."""
    lists = [cell.source.partition("## You will be able to\n")[2] for cell in nb.cells]
    return re.findall(r"^\d+\.\s+(.+)$", "\n".join(lists), re.MULTILINE)


def lines(cell: NotebookNode) -> int:
    """How many lines of a code cell are not blank."""
    return sum(bool(line.strip()) for line in cell.source.splitlines())


def taught(nb: NotebookNode) -> Iterator[NotebookNode]:
    """The cells outside Exercises and the glossary."""
    counts = True
    for cell in nb.cells:
        for level, text in headings(cell):
            counts = text not in {"Exercises", "Glossary"} if level <= 2 else counts
        if counts:
            yield cell


def minutes(nb: NotebookNode) -> int:
    """Working time up to the next five minutes, outside Exercises, the glossary and what is folded in prose.

    A minute for 110 words, or for 15 lines of code (45 in a folded cell), and one and a half for a prediction.
    """
    total = 0.0
    for cell in taught(nb):
        if cell.cell_type == "markdown":
            text = re.sub(r"(?s)<details>.*?</details>|\]\([^)]*\)", "", cell.source)
            total += len(re.findall(r"[^\W_]+(?:[-'’.][^\W_]+)*", text)) / 110
        else:
            total += lines(cell) / (45 if "hide-input" in tags(cell) else 15)
            total += 1.5 * ("predict" in tags(cell))
    return math.ceil(total / 5) * 5


def anchor(heading: str) -> str:
    """Return the anchor of a heading, as JupyterLab and the site generate it."""
    return re.sub(r"[`*]", "", heading).strip().replace(" ", "-")


def anchors(nb: NotebookNode) -> set[str]:
    """Return all link targets in a notebook."""
    found = {anchor(text).lower() for cell in nb.cells for _, text in headings(cell)}
    return found | {name.lower() for cell in nb.cells for name in re.findall(r'\bid="([^"]+)"', cell.source)}
