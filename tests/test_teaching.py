"""What TEACHING tells a teacher is true of the lessons: cells, sections, minutes, rubrics, a workflow; and the exam covers them."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from pathlib import Path

import lessons
import pytest
import yaml
from documents import ROOT, blocks, tables, text_of
from lessons import LESSONS, code_cells, headings, lesson_paths, objectives, read, tags
from nbformat import NotebookNode
from test_workflows import check

PAGE = LESSONS / "TEACHING.md"
TEXT = text_of(PAGE)
PLANS = TEXT.partition("## Plans")[2].partition("## Misconceptions")[0]
PATHS = {path.name[:2]: path for path in lesson_paths()}


def parts(heading: str) -> dict[str, str]:
    """The parts of a section of TEACHING by their headings, in order."""
    section = TEXT.partition(f"## {heading}")[2].partition("\n## ")[0]
    return dict(re.findall(r"^### (.*?)\n(.*?)(?=^### |\Z)", section, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("path", PATHS.values(), ids=lambda path: path.stem)
def test_each_prediction_of_a_lesson_is_named_in_its_order_with_what_it_exposes(path: Path) -> None:
    text = parts("Misconceptions")[headings(read(path).cells[0])[0][1]]
    [table] = tables(text)
    predictions = [cell.id for cell in code_cells(read(path)) if "predict" in tags(cell)]
    assert [row[0].strip("`") for row in table] == predictions
    assert all(len(row) == 3 and len(row[1].split()) > 8 and row[2].endswith("?") for row in table)
    assert "Also common:" in text


def sections(nb: NotebookNode) -> dict[str, list[NotebookNode]]:
    """The cells below each heading, those of deeper headings included."""
    found: dict[str, list[NotebookNode]] = {}
    above: dict[int, str] = {}
    for cell in nb.cells:
        for level, text in headings(cell):
            above = {upper: name for upper, name in above.items() if upper < level} | {level: text}
        for name in above.values():
            found.setdefault(name, []).append(cell)
    return found


def test_the_plans_fill_their_meetings_and_name_what_is_there() -> None:
    meetings = tables(PLANS)
    assert len(meetings) == 1 + 2 + 6
    for meeting in meetings:
        assert sum(int(minutes) for minutes, *_ in meeting) == 90, meeting
        guesses = sum(len(re.findall("`predict-", what)) for *_, what in meeting)
        assert guesses <= 8, f"{guesses} predictions take {3 * guesses} of 90 minutes: {meeting}"
        for minutes, _, lesson, what in meeting:
            there = sections(read(PATHS[lesson]))
            named = set(re.findall(r"\*(.+?)\*", what))
            assert named <= set(there), what
            cells = {cell.id: cell for name in named for cell in there[name]}
            asked = re.findall(r"`(predict-[\w-]+)`", what)
            assert set(asked) <= set(cells), what
            if what.startswith("*"):
                taken = lessons.minutes(NotebookNode(cells=list(cells.values()))) + 1.5 * len(asked)
                assert int(minutes) > taken - 5, f"{minutes} minutes for what takes {taken}: {what}"
    titles = " ".join(name for path in PATHS.values() for name in sections(read(path)))
    numbers = re.findall(r"\b(\d\d?\.\d)\b", PLANS)
    assert [one for one in numbers if f"Exercise {one} " not in titles] == []


@pytest.mark.parametrize("first", [1, 3], ids=["two meetings", "all meetings"])
def test_a_plan_has_the_minutes_of_its_lessons_in_class_or_at_home(first: int) -> None:
    """By the formula, with what predictions take longer in class."""
    planned, extra = Counter[str](), Counter[str]()
    rows = itertools.chain(*tables(PLANS)[first : 3 if first == 1 else None])
    for minutes, home, lesson, what in rows:
        planned[lesson] += (0 if "exercise " in what else int(minutes)) + int(home)
        extra[lesson] += 3 * len(re.findall("`predict-", what)) // 2
    wanted = {"00", "02", "04", "05", "10"} if first == 1 else set(PATHS) - {"15"}
    assert set(planned) == wanted
    needed = {lesson: lessons.minutes(read(PATHS[lesson])) for lesson in planned}
    for lesson in planned:
        most = needed[lesson] + extra[lesson] + 20
        assert needed[lesson] <= planned[lesson] <= most, f"{lesson} takes {needed[lesson]} minutes"


WRITTEN = r"in a cell of your own|for your own use|\*\*Your answer\."


def test_each_task_that_no_machine_grades_has_a_rubric_and_a_model_answer() -> None:
    known, asked = set(), set()
    for title, text in parts("Written answers").items():
        assert "*One*" in text or "*One point*" in text, title
        assert "\n> " in text or "model answer is folded" in text, title
        names = re.findall(r"^\*\*(.+?)\*\*", text, re.MULTILINE)
        known |= {(title.removeprefix("Lesson "), name) for name in names}
    for lesson, path in PATHS.items():
        for cell in read(path).cells:
            if lesson != "15" and re.search(WRITTEN, cell.source):
                numbers = [re.search(r"Exercise \S+", text) for _, text in headings(cell)]
                asked.add((lesson, numbers[0][0] if numbers else "Your answer"))
    assert known == asked


EXAM = text_of(LESSONS / "EXAM.md")
QUESTIONS = re.findall(
    r"^### (\d+) · .+\n\*Objectives: (.+)\*\n\n(.+\?.*)\n\n<details><summary>Answer</summary>\n\n(.+)\n</details>$",
    EXAM,
    re.MULTILINE,
)


def test_the_exam_has_questions_with_numbers_and_answers_that_cover_every_objective() -> None:
    assert [int(number) for number, *_ in QUESTIONS] == list(range(1, len(QUESTIONS) + 1))
    assert EXAM.count("\n### ") == len(QUESTIONS) >= 40, (
        "a question without objectives, a question mark or an answer"
    )
    for number, _, question, answer in QUESTIONS:
        assert len(answer.split()) >= 12, f"{number}: why?"
        assert re.search(r"\d|\([a-d]\)", question) and re.search(r"\d|None", answer), f"{number}: no number"
    covered = {one for _, objectives_, *_ in QUESTIONS for one in objectives_.split(", ")}
    counts = {lesson: len(objectives(read(path))) for lesson, path in PATHS.items()}
    assert covered == {f"{lesson}.{n}" for lesson, count in counts.items() for n in range(1, count + 1)}


def test_the_workflow_is_short_valid_and_pinned_as_ours(tmp_path: Path) -> None:
    [workflow] = blocks(PAGE, "yaml")
    file = tmp_path / "lesson.yml"
    file.write_text(workflow, encoding="utf-8")
    check("check_jsonschema", "--builtin-schema", "vendor.github-workflows", file)
    assert len(workflow.splitlines()) <= 10
    ours = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    assert all(use in ours for use in re.findall(r"uses: \S+ # \S+", workflow))
    assert yaml.safe_load(workflow)["permissions"] == {"contents": "read"}
