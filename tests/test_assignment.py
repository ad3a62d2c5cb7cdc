"""Assignments: what they hold, what a student does not see, what a seed changes, what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import assignment
import grade
import pytest
from assignment import AssignmentError, Order, make, source
from exercises import attempt, exercises
from lessons import LESSONS, code_cells, is_check, is_solution, read

SECRETS = ("BEGIN SOLUTION", "HIDDEN", "Model answer", "A read loses no write")


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course with one assignment: lesson 15, which has hidden tests and written answers."""
    folder = tmp_path_factory.mktemp("course")
    make(Order("15", points={"15.1": 7}, due="Friday, noon", seed=3), folder)
    return folder


def test_a_release_shows_no_solution_no_hidden_test_and_no_model_answer(course: Path) -> None:
    name = "15_capstone-seed3"
    solved = (course / "source" / name / f"{name}.ipynb").read_text(encoding="utf-8")
    assert [secret for secret in SECRETS if secret not in solved] == []
    [path] = course.glob(f"release/{name}/*.ipynb")
    text, released = path.read_text(encoding="utf-8"), read(path)
    assert [secret for secret in SECRETS if secret in text] == []
    assert assignment.STUB in text and assignment.TEXT_STUB in text
    assert '"SEED = 3\\n"' in text and not any(cell.get("outputs") for cell in released.cells)
    locked = [cell.metadata.nbgrader.locked for cell in code_cells(released) if not is_solution(cell)]
    assert locked and all(locked), "a student can change nothing but answers"
    ids = [cell.id for cell in released.cells]
    assert ids.index("check-15-4") == ids.index("exercise-15-4") + 1, "or nbgrader can't put it back"
    assert (course / "release" / name / "data/capstone/reviewed.zip").exists()
    assert "| 15_capstone-seed3 | 38 | Friday, noon |" in (course / "README.md").read_text(encoding="utf-8")


def test_exercises_and_points_are_chosen() -> None:
    nb = source(Order("04", exercises=("4.1", "4.4"), points={"4.4": 9}))
    checks = {cell.id: cell.metadata.nbgrader.points for cell in code_cells(nb) if is_check(cell)}
    assert checks == {"check-4-1": 1, "check-4-4": 9}
    assert {"setup", "parameters", "data-4-2", "exercise-4-1-text"} <= {cell.id for cell in nb.cells}
    for exercise in exercises(nb):
        assert attempt(exercise, exercise.solution, LESSONS) is None


COPIED = {
    "exercise-15-7": "return versioning.Report(read=150, passed=150 - 2 * (len(second) and second['passed'].sum() == 5),"
    " quarantined=2 * (second['passed'].sum() == 5))",
    "exercise-15-9": "return {'requests': 10, 'failed': 3, 'blue': 2, 'green': 5, 'writes lost': 2}",
}


@pytest.mark.parametrize("name", COPIED)
def test_a_number_that_was_copied_is_right_for_its_own_seed_only(name: str) -> None:
    def outcome(seed: int, answer: str | None) -> Exception | None:
        nb = source(Order("15", seed=seed))
        [one] = [exercise for exercise in exercises(nb) if exercise.name == name]
        check = one.check.partition("### BEGIN HIDDEN")[0]
        shown = replace(one, check=check)
        return attempt(shown, one.answer(answer) if answer else one.solution, LESSONS)

    assert outcome(11, COPIED[name]) is None, "the copied numbers are those of seed 11"
    assert isinstance(outcome(12, COPIED[name]), AssertionError)
    assert outcome(12, None) is None, "the solution is right for every seed"


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (Order("00"), "no such lesson with exercises; choose one of 01, 02"),
        (Order("04", exercises=("4.9",)), "'4.9' of lesson 04: choose among 4.1, 4.2"),
        (Order("04", exercises=("4.1",), points={"4.2": 2}), "'4.2'"),
        (Order("04", exercises=("4.1",), seed=5), "choose among 4.4"),
        (Order("09", seed=5), "no chosen exercise of lesson 09"),
    ],
)
def test_what_is_not_there_is_refused(order: Order, message: str, tmp_path: Path) -> None:
    with pytest.raises(AssignmentError, match=message.replace("(", r"\(")):
        make(order, tmp_path / "course")
    assert not (tmp_path / "course").exists()


def test_nothing_is_left_half_written_or_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not without being asked to."""

    def fail(course: Path, command: str, name: str, *_: str) -> None:
        (course / "release" / name).mkdir(parents=True)
        raise AssignmentError("nbgrader failed")

    monkeypatch.setattr(assignment, "nbgrader", fail)
    with pytest.raises(AssignmentError):
        make(Order("04"), tmp_path)
    assert not [*tmp_path.glob("source/*"), *tmp_path.glob("release/*")]
    (tmp_path / "release/04_schema_versions").mkdir(parents=True)
    with pytest.raises(AssignmentError, match="FORCE=1"):
        make(Order("04"), tmp_path)


def test_what_can_not_be_graded_is_reported(tmp_path: Path) -> None:
    submissions, course = tmp_path / "submissions", tmp_path / "course"
    with pytest.raises(AssignmentError, match="make assignment"):
        grade.grade(submissions, course)
    (course / "release/03").mkdir(parents=True)
    with pytest.raises(AssignmentError, match="no folder of a student"):
        grade.grade(submissions, course)
    (submissions / "ana").mkdir(parents=True)
    (course / "written.csv").write_text("student,assignment,exercise,points\nana,15_capstone,15.3,good\n")
    with pytest.raises(AssignmentError, match="columns must be student"):
        grade.grade(submissions, course)
