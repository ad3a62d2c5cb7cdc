"""The grading loop as a teacher goes it: assignments made, three students and some accidents graded, a CSV and feedback."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
from assignment import Order, make
from exercises import exercises
from grade import grade
from lessons import code_cells, dumps, is_check, is_solution, read
from nbformat import NotebookNode
from wrong_answers import WRONG_ANSWERS

NAME = "03_schema_versions"


def hand_in(nb: NotebookNode, folder: Path, name: str) -> None:
    folder.mkdir(parents=True)
    (folder / f"{name}.ipynb").write_text(dumps(nb), encoding="utf-8")


def answered(course: Path, name: str, answers: dict[str, str]) -> NotebookNode:
    """The release, with answers by grade id; those of the source where one is "solution"."""
    solved = {cell.id: cell.source for cell in code_cells(read(course / "source" / name / f"{name}.ipynb"))}
    nb = read(course / "release" / name / f"{name}.ipynb")
    for cell in code_cells(nb):
        if cell.id in answers:
            cell.source = solved[cell.id] if answers[cell.id] == "solution" else answers[cell.id]
    return nb


def rows(course: Path) -> dict[tuple[str, str], dict[str, str]]:
    with (course / "grades.csv").open(encoding="utf-8") as file:
        return {(row["student"], row["assignment"]): row for row in csv.DictReader(file)}


def grade_three(
    order: Order, right: list[str], tmp_path: Path
) -> tuple[Path, dict[str, dict[str, str]], list[str]]:
    """All solved, nothing done, and some solved with wrong answers to the others; return the course, rows, and all exercises."""
    course, submissions, name = tmp_path / "course", tmp_path / "submissions", order.name
    make([order], course)
    source = read(course / "source" / name / f"{name}.ipynb")
    solutions = [cell.id for cell in code_cells(source) if is_solution(cell)]
    wrong = {one.name: one.answer(WRONG_ANSWERS[one.name]) for one in exercises(source)}
    hand_in(answered(course, name, dict.fromkeys(solutions, "solution")), submissions / "ana", name)
    hand_in(answered(course, name, {}), submissions / "bea", name)
    partly = {one: "solution" if one in right else wrong[one] for one in solutions}
    hand_in(answered(course, name, partly), submissions / "carla", name)
    grade(submissions, course)
    return course, {student: row for (student, _), row in rows(course).items()}, solutions


def test_lesson_03_full_none_and_partly(tmp_path: Path) -> None:
    course, graded, _ = grade_three(
        Order("03", points={"3.2": 5}), ["exercise-3-1", "exercise-3-2"], tmp_path
    )
    assert {student: (row["score"], row["max_score"], row["status"]) for student, row in graded.items()} == {
        "ana": ("11", "11", "graded"),
        "bea": ("0", "11", "graded"),
        "carla": ("6", "11", "graded"),
    }
    assert (graded["carla"]["3.1"], graded["carla"]["3.2"], graded["carla"]["3.3"]) == ("1", "5", "0")
    assert (course / "feedback/carla" / NAME / f"{NAME}.html").exists()


def test_lesson_11_full_none_and_partly_and_written_answers_by_hand(tmp_path: Path) -> None:
    """What starts servers is graded by really starting them; a written answer waits for a human, unless nobody wrote one."""
    right = ["exercise-11-1", "exercise-11-3", "exercise-11-5", "exercise-11-9"]
    course, graded, _ = grade_three(Order("11", seed=4), right, tmp_path)
    assert {student: (row["score"], row["max_score"], row["manual"]) for student, row in graded.items()} == {
        "ana": ("22", "30", "0"),
        "bea": ("0", "30", "0"),
        "carla": ("9", "30", "0"),
    }
    name = "11_capstone-seed4"
    assert "A read loses no write" not in (course / f"feedback/carla/{name}/{name}.html").read_text(
        encoding="utf-8"
    )
    shutil.rmtree(tmp_path / "submissions")
    dora = answered(course, name, {"exercise-11-2": "solution"})
    [written] = [cell for cell in dora.cells if cell.id == "written-11-3"]
    written.source = "A mobile app."
    hand_in(dora, tmp_path / "submissions/dora", name)
    [row] = grade(tmp_path / "submissions", course)
    assert (row.score, row.manual, row.scores["11.3 (text)"]) == (2, 2, 0)
    points = f"student,assignment,exercise,points,comment\ndora,{name},11.3,1.5,a client is named\n"
    (course / "written.csv").write_text(points)
    [row] = grade(tmp_path / "submissions", course)
    assert (row.score, row.manual, row.scores["11.3 (text)"]) == (3.5, 0, 1.5)


@pytest.fixture
def course(tmp_path: Path) -> Path:
    make([Order("03", exercises=("3.1",))], tmp_path / "course")
    return tmp_path / "course"


def test_accidents_are_told_and_cost_the_others_nothing(course: Path, tmp_path: Path) -> None:
    submissions = tmp_path / "submissions"
    good = answered(course, NAME, {"exercise-3-1": "solution"})
    hand_in(good, submissions / "ana", NAME)
    (submissions / "ana/lib").mkdir()
    (submissions / "ana/lib/__init__.py").write_text("raise SystemExit('the lib of a student')")
    (submissions / "bea").mkdir()
    hand_in(good, submissions / "carla/a", NAME)
    shutil.copytree(submissions / "carla/a", submissions / "carla/b")
    (submissions / "dora").mkdir()
    (submissions / f"dora/{NAME}.ipynb").write_text("not a notebook")
    cut = answered(course, NAME, {})
    cut.cells = [cell for cell in cut.cells if not (cell.cell_type == "code" and is_check(cell))]
    hand_in(cut, submissions / "eva", NAME)
    cheat = answered(course, NAME, {})
    for cell in code_cells(cheat):
        if is_check(cell):
            cell.source = "pass"
    hand_in(cheat, submissions / "fe", NAME)
    grade(submissions, course)
    found = {student: row for (student, _), row in rows(course).items()}
    assert {name: row["status"] for name, row in found.items()} == {
        "ana": "graded", "bea": "missing", "carla": "broken", "dora": "broken", "eva": "broken", "fe": "graded",
    }  # fmt: skip
    assert (found["ana"]["score"], found["ana"]["note"]) == ("1", "left out: lib")
    assert found["fe"]["score"] == "0", "a check that was changed is put back"
    assert "check-3-1" in found["eva"]["note"]


def test_hidden_tests_grade_and_do_not_show_in_feedback(course: Path, tmp_path: Path) -> None:
    path = course / "source" / NAME / f"{NAME}.ipynb"
    nb = read(path)
    [check] = [cell for cell in code_cells(nb) if is_check(cell)]
    check.source += (
        "\n### BEGIN HIDDEN TESTS\nsecret_7391 = 1\nassert secret_7391 == 2, 'Not so.'\n### END HIDDEN TESTS"
    )
    path.write_text(dumps(nb), encoding="utf-8")
    from assignment import nbgrader

    nbgrader(course, "generate_assignment", NAME, "--force")
    assert "secret_7391" not in (course / "release" / NAME / f"{NAME}.ipynb").read_text(encoding="utf-8")
    hand_in(answered(course, NAME, {"exercise-3-1": "solution"}), tmp_path / "submissions/ana", NAME)
    [row] = grade(tmp_path / "submissions", course)
    assert (row.status, row.score, row.max_score) == ("graded", 0, 1)
    page = (course / "feedback/ana" / NAME / f"{NAME}.html").read_text(encoding="utf-8")
    assert "secret_7391" not in page and "Not so." in page
