"""The three proofs of every exercise: its solution passes, the untouched stub fails helpfully, three kinds of wrong answers fail."""

from __future__ import annotations

from pathlib import Path

import pytest
from exercises import Exercise, attempt, exercises
from learner import STUB, release
from lessons import LESSONS, lesson_paths, read
from wrong_answers import WRONG_ANSWERS

#: Their checks start servers: tests/integration/test_exercises_with_servers.py proves them.
WITH_SERVERS = {"exercise-6-5"} | {f"exercise-15-{number}" for number in (4, 5, 6, 10, 11)}
ALL = {exercise.name: exercise for path in lesson_paths() for exercise in exercises(read(path))}
SOLVED = {name: exercise for name, exercise in ALL.items() if name not in WITH_SERVERS}


def prove_solution(exercise: Exercise, folder: Path) -> None:
    """The solution passes its own check."""
    error = attempt(exercise, exercise.solution, folder)
    assert error is None, f"{exercise.name}: its own check refuses the solution: {error!r}"


def prove_failure(exercise: Exercise, answer: str, folder: Path) -> None:
    """The answer runs, and the check refuses it with a message that helps."""
    error = attempt(exercise, answer, folder)
    assert error is not None, f"{exercise.name}: the check accepts {answer!r}"
    assert type(error) is AssertionError, f"{exercise.name}: the check breaks with {error!r}"
    assert len(str(error).split()) >= 4, f"{exercise.name}: a message that does not help: {str(error)!r}"


@pytest.fixture(scope="module")
def stubs() -> dict[str, Exercise]:
    """All exercises as a learner gets them."""
    return {exercise.name: exercise for path in lesson_paths() for exercise in exercises(release(read(path)))}


@pytest.mark.parametrize("name", SOLVED)
def test_solution_passes(name: str) -> None:
    prove_solution(SOLVED[name], LESSONS)


@pytest.mark.parametrize("name", SOLVED)
def test_untouched_stub_fails_helpfully(name: str, stubs: dict[str, Exercise]) -> None:
    assert STUB in stubs[name].solution, f"{name}: the learner would not see where to write"
    prove_failure(stubs[name], stubs[name].solution, LESSONS)


@pytest.mark.parametrize(
    ("name", "number"), [(name, n) for name in SOLVED for n, _ in enumerate(WRONG_ANSWERS[name])]
)
def test_wrong_answer_fails_helpfully(name: str, number: int) -> None:
    prove_failure(SOLVED[name], SOLVED[name].answer(WRONG_ANSWERS[name][number]), LESSONS)


def test_each_exercise_has_three_wrong_answers_or_more() -> None:
    """In tests/wrong_answers.py: the misconception, a constant, one that ignores an input."""
    assert [name for name, answers in WRONG_ANSWERS.items() if len(set(answers)) < 3] == []
    assert set(WRONG_ANSWERS) == set(ALL)
    assert set(ALL) >= WITH_SERVERS
