"""The three proofs of exercises whose checks start servers, which takes too long for `make test`; and that their answers are refused
for the reason that is meant.
"""

from __future__ import annotations

import pytest
from exercises import attempt, exercises
from learner import release
from lessons import LESSONS, lesson_paths, read
from test_exercises import ALL, WITH_SERVERS, prove_failure, prove_solution
from wrong_answers import MISTAKES, WRONG_ANSWERS

STUBS = {one.name: one for path in lesson_paths() for one in exercises(release(read(path)))}


@pytest.mark.parametrize("name", sorted(WITH_SERVERS))
def test_solution_passes_and_stub_and_wrong_answers_fail_helpfully(name: str) -> None:
    prove_solution(ALL[name], LESSONS)
    prove_failure(STUBS[name], STUBS[name].solution, LESSONS)
    for answer in WRONG_ANSWERS[name]:
        prove_failure(ALL[name], ALL[name].answer(answer), LESSONS)


@pytest.mark.long
@pytest.mark.parametrize(("name", "answer", "reason"), MISTAKES)
def test_a_mistake_is_refused_for_the_reason_that_is_meant(name: str, answer: str, reason: str) -> None:
    with pytest.raises(AssertionError, match=reason):
        if error := attempt(ALL[name], ALL[name].answer(answer), LESSONS):
            raise error
