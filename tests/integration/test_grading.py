"""The grading loop as a teacher goes it: assignments made, three students and some accidents graded, a CSV and feedback."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
from assignment import AssignmentError, Order, make, nbgrader
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


def scores(course: Path, name: str) -> dict[str, float]:
    """The scores in `grades.csv` of an assignment, by student."""
    with (course / "grades.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["assignment"] == name]
    return {row["student_id"]: float(row["score"]) for row in rows}


def grade_three(order: Order, right: list[str], tmp_path: Path) -> tuple[Path, dict[str, float]]:
    """All solved, nothing done, and some solved with wrong answers to the others; return the course and the scores."""
    course, submissions, name = tmp_path / "course", tmp_path / "submissions", order.name
    make([order], course)
    source = read(course / "source" / name / f"{name}.ipynb")
    solutions = [cell.id for cell in code_cells(source) if is_solution(cell)]
    wrong = {one.name: one.answer(WRONG_ANSWERS[one.name]) for one in exercises(source)}
    hand_in(answered(course, name, dict.fromkeys(solutions, "solution")), submissions / "ana", name)
    hand_in(answered(course, name, {}), submissions / "bea", name)
    partly = {one: "solution" if one in right else wrong[one] for one in solutions}
    hand_in(answered(course, name, partly), submissions / "carla", name)
    assert grade(submissions, course) == []
    return course, scores(course, name)


def test_lesson_03_full_none_and_partly(tmp_path: Path) -> None:
    order = Order("03", points={"3.2": 5})
    course, graded = grade_three(order, ["exercise-3-1", "exercise-3-2"], tmp_path)
    assert graded == {"ana": 11, "bea": 0, "carla": 6}
    assert (course / "feedback/carla" / NAME / f"{NAME}.html").exists()


def test_lesson_11_full_none_and_partly_and_written_answers_by_hand(tmp_path: Path) -> None:
    """What starts servers is graded by really starting them; a written answer waits for a human, unless nobody wrote one."""
    right = ["exercise-11-1", "exercise-11-3", "exercise-11-5", "exercise-11-9"]
    course, graded = grade_three(Order("11", seed=4), right, tmp_path)
    assert graded == {"ana": 22, "bea": 0, "carla": 9}
    name = "11_capstone-seed4"
    page = (course / f"feedback/carla/{name}/{name}.html").read_text(encoding="utf-8")
    assert "A read loses no write" not in page
    shutil.rmtree(tmp_path / "submissions")
    dora = answered(course, name, {"exercise-11-2": "solution"})
    [written] = [cell for cell in dora.cells if cell.id == "written-11-3"]
    written.source = "A mobile app."
    hand_in(dora, tmp_path / "submissions/dora", name)
    assert grade(tmp_path / "submissions", course) == [
        f"dora, {name}: 2 points of written answers wait for you"
    ]
    assert scores(course, name)["dora"] == 2
    points = f"student,assignment,exercise,points\ndora,{name},11.3,1.5\n"
    (course / "written.csv").write_text(points)
    assert grade(tmp_path / "submissions", course) == []
    assert scores(course, name)["dora"] == 3.5


@pytest.fixture
def course(tmp_path: Path) -> Path:
    make([Order("03", exercises=("3.1",))], tmp_path / "course")
    return tmp_path / "course"


def test_accidents_are_reported_and_cost_the_others_nothing(course: Path, tmp_path: Path) -> None:
    submissions = tmp_path / "submissions"
    good = answered(course, NAME, {"exercise-3-1": "solution"})
    ana = submissions / "ana.lopez"
    hand_in(good, ana, NAME)
    (ana / "lib").mkdir()
    (ana / "lib/__init__.py").write_text("raise SystemExit('the lib of a student')")
    (submissions / "read me.txt").write_text("no student")
    (submissions / "bea").mkdir()
    hand_in(good, tmp_path / "zip/deep", NAME)
    shutil.make_archive(str(submissions / "carla.ruiz"), "zip", tmp_path / "zip")
    (submissions / "dora").mkdir()
    (submissions / f"dora/{NAME}.ipynb").write_text("not a notebook")
    cut = answered(course, NAME, {})
    cut.cells = [cell for cell in cut.cells if not (cell.cell_type == "code" and is_check(cell))]
    hand_in(cut, submissions / "eva/extracted/bob", NAME)
    cheat = answered(course, NAME, {})
    for cell in code_cells(cheat):
        if is_check(cell):
            cell.source = "pass"
    hand_in(cheat, submissions / "fe", NAME)
    bea, dora = grade(submissions, course)
    assert bea == f"bea, {NAME}: missing (no {NAME}.ipynb)"
    assert dora.startswith(f"dora, {NAME}: broken (")
    graded = scores(course, NAME)
    lazy = dict.fromkeys(("bea", "dora"), 0)
    others = {"eva": 0, "fe": 0}  # a check that was removed or changed is put back
    assert graded == {"ana.lopez": 1, "carla.ruiz": 1} | lazy | others
    for name in ("bea", "eva", "fe"):
        shutil.rmtree(submissions / name)
    shutil.copy(submissions / f"dora/{NAME}.ipynb", ana)
    (submissions / "carla.ruiz.zip").unlink()
    (submissions / "carla.ruiz").mkdir()
    assert [note.split(" (")[0] for note in grade(submissions, course)] == [
        f"ana.lopez, {NAME}: broken",
        f"carla.ruiz, {NAME}: missing",
        f"dora, {NAME}: broken",
    ]
    assert not any(scores(course, NAME).values()), "what was handed in before counts no more"
    assert not (course / "feedback/ana.lopez" / NAME).exists()
    hand_in(good, ana / "again", NAME)
    with pytest.raises(AssignmentError, match=f"ana.lopez has handed in {NAME}.ipynb 2 times"):
        grade(submissions, course)


def test_hidden_tests_grade_and_do_not_show_in_feedback(course: Path, tmp_path: Path) -> None:
    path = course / "source" / NAME / f"{NAME}.ipynb"
    nb = read(path)
    [check] = [cell for cell in code_cells(nb) if is_check(cell)]
    check.source += (
        "\n### BEGIN HIDDEN TESTS\nsecret_7391 = 1\nassert secret_7391 == 2, 'Not so.'\n### END HIDDEN TESTS"
    )
    path.write_text(dumps(nb), encoding="utf-8")
    nbgrader(course, "generate_assignment", NAME, "--force")
    assert "secret_7391" not in (course / "release" / NAME / f"{NAME}.ipynb").read_text(encoding="utf-8")
    hand_in(answered(course, NAME, {"exercise-3-1": "solution"}), tmp_path / "submissions/ana", NAME)
    assert grade(tmp_path / "submissions", course) == []
    assert scores(course, NAME) == {"ana": 0}
    page = (course / "feedback/ana" / NAME / f"{NAME}.html").read_text(encoding="utf-8")
    assert "secret_7391" not in page and "Not so." in page
