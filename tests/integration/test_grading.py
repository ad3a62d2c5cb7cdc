"""The grading loop as a teacher goes it: assignments made, three students and some accidents graded, a CSV and feedback."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path

import pytest
from assignment import AssignmentError, Order, make, nbgrader
from exercises import exercises
from grade import grade
from lessons import code_cells, dumps, is_check, is_solution, lesson_paths, read
from nbformat import NotebookNode
from wrong_answers import WRONG_ANSWERS

NAME = "04_schema_versions"
#: The lessons with exercises.
PATHS = [path for path in lesson_paths() if any(map(is_solution, code_cells(read(path))))]


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


def made(order: Order, tmp_path: Path) -> Path:
    """The course folder with one assignment."""
    make(order, tmp_path / "course")
    return tmp_path / "course"


def partly(course: Path, name: str, right: list[str]) -> dict[str, str]:
    """Solutions of some exercises, and wrong answers to the others."""
    source = read(course / "source" / name / f"{name}.ipynb")
    wrong = {one.name: one.answer(WRONG_ANSWERS[one.name][0]) for one in exercises(source)}
    return {cell.id: "solution" if cell.id in right else wrong[cell.id] for cell in solutions(source)}


def solutions(nb: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in code_cells(nb) if is_solution(cell)]


def grade_three(course: Path, name: str, answers: dict[str, str]) -> dict[str, float]:
    """Hand in all solved (ana), nothing done (bea), and some answers (carla); return the scores."""
    submissions = course.with_name("submissions")
    hand_in(answered(course, name, dict.fromkeys(answers, "solution")), submissions / "ana", name)
    hand_in(answered(course, name, {}), submissions / "bea", name)
    hand_in(answered(course, name, answers), submissions / "carla", name)
    assert grade(submissions, course) == []
    return scores(course, name)


def test_lesson_04_full_none_and_partly_and_hidden_tests_do_not_show(tmp_path: Path) -> None:
    """Carla solves 4.1 and, as far as she can see, 4.2; what she adds there is what a hidden test looks for."""
    course = made(Order("04", points={"4.2": 5}), tmp_path)
    path = course / "source" / NAME / f"{NAME}.ipynb"
    nb = read(path)
    [check] = [cell for cell in code_cells(nb) if cell.id == "check-4-2"]
    hidden = "secret_7391 = 'marked' in globals()\nassert not secret_7391, 'Not so.'"
    check.source += f"\n### BEGIN HIDDEN TESTS\n{hidden}\n### END HIDDEN TESTS"
    path.write_text(dumps(nb), encoding="utf-8")
    nbgrader(course, "generate_assignment", NAME, "--force")
    assert "secret_7391" not in (course / "release" / NAME / f"{NAME}.ipynb").read_text(encoding="utf-8")
    [solved] = [cell.source for cell in solutions(nb) if cell.id == "exercise-4-2"]
    answers = partly(course, NAME, ["exercise-4-1"]) | {"exercise-4-2": f"{solved}\nmarked = 1"}
    assert grade_three(course, NAME, answers) == {"ana": 11, "bea": 0, "carla": 1}
    page = (course / "feedback/carla" / NAME / f"{NAME}.html").read_text(encoding="utf-8")
    assert "secret_7391" not in page and "Not so." in page


def test_lesson_15_with_servers_and_written_answers_by_hand(tmp_path: Path) -> None:
    """What starts servers is graded by really starting them; a written answer waits for a human, unless nobody wrote one."""
    course, name = made(Order("15", seed=4), tmp_path), "15_capstone-seed4"
    right = ["exercise-15-1", "exercise-15-3", "exercise-15-5", "exercise-15-9"]
    hand_in(answered(course, name, partly(course, name, right)), tmp_path / "submissions/carla", name)
    dora = answered(course, name, {"exercise-15-2": "solution"})
    [written] = [cell for cell in dora.cells if cell.id == "written-15-3"]
    written.source = "A mobile app."
    hand_in(dora, tmp_path / "submissions/dora", name)
    waiting = f"dora, {name}: grade written answers for 2 points"
    assert grade(tmp_path / "submissions", course) == [waiting]
    assert scores(course, name) == {"carla": 9, "dora": 2}
    page = (course / f"feedback/carla/{name}/{name}.html").read_text(encoding="utf-8")
    assert "A read loses no write" not in page
    shutil.rmtree(tmp_path / "submissions/carla")
    (course / "written.csv").write_text(f"student,assignment,exercise,points\ndora,{name},15.3,1.5\n")
    assert grade(tmp_path / "submissions", course) == []
    assert scores(course, name)["dora"] == 3.5


def test_accidents_are_reported_and_cost_the_others_nothing(tmp_path: Path) -> None:
    course, submissions = made(Order("04"), tmp_path), tmp_path / "submissions"
    good = answered(course, NAME, {"exercise-4-1": "solution"})
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
    cheat = answered(course, NAME, {"exercise-4-4": "solution"})
    cheat.cells = [cell for cell in cheat.cells if cell.id not in ("check-4-1", "check-4-4")]
    for check in filter(is_check, code_cells(cheat)):
        check.source = "pass"
    hand_in(cheat, submissions / "eva/extracted/bob", NAME)
    bea, dora = grade(submissions, course)
    assert bea == f"bea, {NAME}: missing (no {NAME}.ipynb)"
    assert dora.startswith(f"dora, {NAME}: broken (")
    # A check that was removed or changed is put back: eva gets the points of 4.4, which she solved, and no others.
    assert scores(course, NAME) == {"ana.lopez": 1, "bea": 0, "carla.ruiz": 1, "dora": 0, "eva": 2}
    shutil.copy(submissions / f"dora/{NAME}.ipynb", ana)
    for name in ("bea", "dora", "eva"):
        shutil.rmtree(submissions / name)
    (submissions / "carla.ruiz.zip").unlink()
    (submissions / "carla.ruiz").mkdir()
    notes = [f"ana.lopez, {NAME}: broken", f"carla.ruiz, {NAME}: missing"]
    assert [note.split(" (")[0] for note in grade(submissions, course)] == notes
    counted = {student: score for student, score in scores(course, NAME).items() if score}
    assert counted == {"eva": 2}, "what ana and carla handed in before counts no more"
    assert not (course / "feedback/ana.lopez" / NAME).exists()
    hand_in(good, ana / "again", NAME)
    with pytest.raises(AssignmentError, match=f"ana.lopez has handed in {NAME}.ipynb 2 times"):
        grade(submissions, course)


@pytest.mark.skipif(
    "GRADING_LESSONS" not in os.environ, reason="for all lessons: `make release-check ONLY=grading`"
)
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_full_none_and_the_points_of_one_exercise(path: Path, tmp_path: Path) -> None:
    checks = [cell for cell in code_cells(read(path)) if is_check(cell)]
    points = [cell.metadata["nbgrader"]["points"] for cell in checks]
    first = next(cell.id for cell in code_cells(read(path)) if is_solution(cell))
    order = Order(path.name[:2])
    course = made(order, tmp_path)
    graded = grade_three(course, order.name, partly(course, order.name, [first]))
    assert graded == {"ana": sum(points), "bea": 0, "carla": points[0]}
