"""The three proofs of exercises whose checks start servers, which takes too long for `make test`; and that their answers are refused
for the reason that is meant.
"""

from __future__ import annotations

import pytest
from exercises import attempt, exercises
from learner import release
from lessons import LESSONS, read
from test_exercises import ALL, WITH_SERVERS, prove_failure, prove_solution
from wrong_answers import WRONG_ANSWERS

STUBS = {one.name: one for one in exercises(release(read(LESSONS / "11_capstone.ipynb")))}

#: More mistakes of the capstone, and what the check says to each.
MISTAKES = [
    ("exercise-11-4", 'return ["ALTER TABLE users ADD COLUMN full_name VARCHAR(255)"]', "Run twice"),
    (
        "exercise-11-4",
        "return [f'ALTER TABLE users ADD COLUMN IF NOT EXISTS {name} VARCHAR(50) NOT NULL DEFAULT random()::text'"
        " for name in ('full_name', 'phone_country', 'phone_number')]",
        "written anew",
    ),
    (
        "exercise-11-5",
        "return \"UPDATE users SET full_name = name, phone_country = split_part(phone, ' ', 1), phone_number = split_part(phone, ' ', 2) \""
        '"WHERE id > %(low)s AND id <= %(high)s AND phone_country IS NULL"',
        "split otherwise",
    ),
    (
        "exercise-11-5",
        "return 'UPDATE users SET full_name = COALESCE(full_name, name) WHERE id > %(low)s AND id <= %(high)s'",
        "split otherwise|updated",
    ),
    (
        "exercise-11-6",
        "phone = record['phone']\n"
        "if phone is None or ' ' in phone: return record\n"
        "if phone == 'unknown': raise ValueError\n"
        "code = next((c for c in ('+351', '+35', '+34', '+1') if phone.startswith(c)), None)\n"
        "return record | {'phone': code and f'{code} {phone[len(code):]}'}",
        "A name or a number is not what it was",
    ),
]


@pytest.mark.parametrize("name", sorted(WITH_SERVERS))
def test_solution_passes_and_stub_and_wrong_answer_fail_helpfully(name: str) -> None:
    prove_solution(ALL[name], LESSONS)
    prove_failure(STUBS[name], STUBS[name].solution, LESSONS)
    prove_failure(ALL[name], ALL[name].answer(WRONG_ANSWERS[name]), LESSONS)


@pytest.mark.long
@pytest.mark.parametrize(("name", "answer", "reason"), MISTAKES)
def test_a_mistake_is_refused_for_the_reason_that_is_meant(name: str, answer: str, reason: str) -> None:
    with pytest.raises(AssertionError, match=reason):
        if error := attempt(ALL[name], ALL[name].answer(answer), LESSONS):
            raise error
