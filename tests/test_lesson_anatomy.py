"""Every lesson has the parts of a lesson; and a lesson that lacks one is told so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import lesson_anatomy
import pytest
import sample_lesson as sample
from lesson_rules import check, rule_name
from lessons import code_hash, lesson_paths
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell
from sample_lesson import cell, replace

RULES = {rule_name(rule) for rule in lesson_anatomy.RULES}
Change = Callable[[NotebookNode], object]


def found(path: Path) -> dict[str, list[str]]:
    """The findings of the anatomy rules in a notebook: rule → lines."""
    lines: dict[str, list[str]] = {}
    for finding in check(path):
        if finding.rule in RULES:
            lines.setdefault(finding.rule, []).append(str(finding))
    return lines


def drop(nb: NotebookNode, *cell_ids: str) -> None:
    """Remove cells."""
    nb.cells = [cell for cell in nb.cells if cell.id not in cell_ids]


def insert(nb: NotebookNode, before: str, *cells: NotebookNode) -> None:
    """Put cells before the one with this id."""
    index = next(i for i, cell in enumerate(nb.cells) if cell.id == before)
    nb.cells[index:index] = cells


def crowd(nb: NotebookNode) -> None:
    """Put many code cells under one heading."""
    insert(nb, "sum-means", *(new_code_cell("1 + 1", id=f"extra-{number}") for number in range(7)))


def swap(nb: NotebookNode, first: str, second: str) -> None:
    """Exchange two cells."""
    places = {cell.id: i for i, cell in enumerate(nb.cells)}
    i, j = places[first], places[second]
    nb.cells[i], nb.cells[j] = nb.cells[j], nb.cells[i]


BROKEN: list[tuple[str, str, Change]] = [
    ("title", "other number", lambda nb: replace(nb, "title", "# 03", "# 04")),
    ("title", "no sentence", lambda nb: replace(nb, "title", "Three numbers .*", "")),
    ("title", "not first", lambda nb: swap(nb, "title", "objectives")),
    ("title", "empty notebook", lambda nb: drop(nb, *[cell.id for cell in nb.cells])),
    ("opening", "row missing", lambda nb: replace(nb, "title", r"\| Memory .*", "")),
    ("opening", "time is no number", lambda nb: replace(nb, "title", "20 minutes", "a while")),
    ("opening", "prerequisite without link", lambda nb: replace(nb, "title", r"\[00\]\(.*?\)", "lesson 00")),
    ("parts", "part missing", lambda nb: drop(nb, "further")),
    ("parts", "part twice", lambda nb: insert(nb, "further", new_markdown_cell("## Exercises", id="again"))),
    ("parts", "order", lambda nb: swap(nb, "production", "further")),
    ("heading-first", "text above", lambda nb: replace(nb, "production", "^", "So.\n\n")),
    ("heading-first", "two in a cell", lambda nb: replace(nb, "further", "$", "\n\n## More")),
    ("objectives", "too few", lambda nb: replace(nb, "objectives", "2. .*\n", "")),
    (
        "objectives",
        "too many",
        lambda nb: replace(nb, "objectives", "$", "\n4. a **b**\n5. c **d**\n6. e **f**"),
    ),
    ("objectives", "vague", lambda nb: replace(nb, "objectives", "add (?=..one)", "understand how to add ")),
    ("objectives", "vague in bold", lambda nb: replace(nb, "objectives", r"add \*\*one", "**know one")),
    ("objectives", "no key term", lambda nb: replace(nb, "objectives", r"\*\*one\*\*", "one")),
    ("objective-checks", "unproved", lambda nb: cell(nb, "check-3-1").metadata.pop("tags")),
    ("objective-checks", "unknown", lambda nb: cell(nb, "check-3-3").metadata.update(tags=["objective-5"])),
    ("setup", "not first", lambda nb: swap(nb, "setup", "parameters")),
    ("setup", "nine names", lambda nb: replace(nb, "setup", "^import time", "import a, b, c, d, e, f, time")),
    ("setup", "import later", lambda nb: replace(nb, "add-numbers", "^", "import math\n")),
    ("parameters", "no tag", lambda nb: cell(nb, "parameters").metadata.pop("tags")),
    ("parameters", "code", lambda nb: replace(nb, "parameters", "$", "\nprint(START)")),
    ("section-size", "seven cells", crowd),
    ("predicts", "no guess", lambda nb: cell(nb, "predict-sum").metadata.pop("tags")),
    ("exercises", "two of them", lambda nb: drop(nb, "exercise-3-3-text", "exercise-3-3", "check-3-3")),
    ("exercises", "numbers", lambda nb: replace(nb, "exercise-3-2-text", "3.2", "3.4")),
    ("exercises", "no hint", lambda nb: replace(nb, "exercise-3-2-text", "<details>.*", "")),
    ("exercises", "no check", lambda nb: drop(nb, "check-3-2")),
    ("exercises", "check first", lambda nb: swap(nb, "exercise-3-2", "check-3-2")),
    ("exercises", "needs other cell", lambda nb: insert(nb, "check-3-2", new_code_cell("START", id="more"))),
    ("production", "no box", lambda nb: replace(nb, "production", "> ", "")),
    ("production", "long box", lambda nb: replace(nb, "production", "$", " word" * 160)),
    ("takeaways", "too few", lambda nb: replace(nb, "takeaways", "2. .*\n", "")),
    ("takeaways", "other order", lambda nb: replace(nb, "takeaways", "one(.*\n.*)two", r"two\1one")),
    ("takeaways", "two questions", lambda nb: replace(nb, "recall", r"<details>.*3\?", "<details>")),
    ("takeaways", "no answer", lambda nb: replace(nb, "recall", "An answer that is long enough.", "Yes.")),
    ("reset", "no cell", lambda nb: drop(nb, "stop-and-reset")),
    ("reset", "no help", lambda nb: replace(nb, "stop-text", "<details>.*", "")),
    ("reset", "no links", lambda nb: replace(nb, "further", r"- \[.*\n", "")),
    ("components", "undrawn", lambda nb: replace(nb, "title", "Starts . nothing", "Starts | Valkey")),
]
STARTS: list[tuple[str, str, Change]] = [
    ("doctor", "no doctor", lambda nb: drop(nb, "doctor")),
    ("parts", "no glossary", lambda nb: drop(nb, "glossary")),
    ("exercises", "exercise", lambda nb: insert(nb, "glossary", sample.graded("exercise-0-1", 1))),
]


def start_lesson() -> NotebookNode:
    """A first notebook that keeps every anatomy rule."""
    nb = sample.build_executed()
    nb.cells = [cell(nb, "title"), cell(nb, "setup-text"), cell(nb, "setup")]
    replace(nb, "title", "# 03", "# 00")
    for name in ("doctor", "routes", "tour", "glossary"):
        nb.cells.append(
            new_markdown_cell(f"## {name.title()}: what it is", id=name + "-text" * (name == "doctor"))
        )
    insert(nb, "routes", new_code_cell("1", id="doctor"))
    return nb


@pytest.mark.parametrize("path", lesson_paths(), ids=lambda path: path.stem)
def test_lesson_has_its_anatomy(path: Path) -> None:
    assert not found(path), "\n".join(line for lines in found(path).values() for line in lines)


def test_sample_lessons_keep_every_rule(tmp_path: Path) -> None:
    path = sample.write(tmp_path, sample.build_executed())
    assert [str(finding) for finding in check(path)] == []
    path.rename(tmp_path / "00_sample.ipynb").write_text(sample.dumps(start_lesson()), encoding="utf-8")
    assert found(tmp_path / "00_sample.ipynb") == {}


@pytest.mark.parametrize(
    ("rule", "case", "change"), BROKEN, ids=[f"{rule}-{case}" for rule, case, _ in BROKEN]
)
def test_broken_lesson_is_told_what_to_mend(rule: str, case: str, change: Change, tmp_path: Path) -> None:
    nb = sample.build_executed()
    change(nb)
    nb.metadata.lesson.code_sha256 = code_hash(nb)
    lines = found(sample.write(tmp_path, nb)).get(rule, [])
    assert lines and all(len(line.rsplit(f"{rule}: ")[-1]) > 20 for line in lines), f"{case} was not noticed"


@pytest.mark.parametrize(
    ("rule", "case", "change"), STARTS, ids=[f"{rule}-{case}" for rule, case, _ in STARTS]
)
def test_broken_first_notebook_is_told_what_to_mend(
    rule: str, case: str, change: Change, tmp_path: Path
) -> None:
    nb = start_lesson()
    change(nb)
    (tmp_path / "00_sample.ipynb").write_text(sample.dumps(nb), encoding="utf-8")
    assert rule in found(tmp_path / "00_sample.ipynb"), f"{case} was not noticed"


def test_every_rule_has_a_lesson_that_breaks_it() -> None:
    assert {rule for rule, _, _ in BROKEN + STARTS} == RULES


def test_lesson_that_starts_servers_draws_and_explains_them(tmp_path: Path) -> None:
    nb = sample.build_executed()
    replace(nb, "title", "Starts . nothing", "Starts | Valkey")
    replace(nb, "sum-means", "It is", "The [glossary](00_start_here.ipynb#Glossary) says: it is")
    cell(nb, "sum-means").id = "components-text"
    assert found(sample.write(tmp_path, nb)) == {}
