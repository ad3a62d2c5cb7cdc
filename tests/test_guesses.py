"""Guesses beside measurements: what the table says of each kind of answer, and what is remembered where."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lib.guesses import compare, furthest

CASES = {
    "equal": (4, 4, "right"),
    "too high": (4_000, np.int64(1_500), "+2,500"),
    "too low": (0.5, 1.25, "-0.75"),
    "much": (100.0, 123_456.7, "-123,357"),
    "word": ("blue", "green", "wrong"),
    "no number": (10, "nobody says", "wrong"),
    "truth": (True, False, "wrong"),
    "a truth is no number": (True, 2, "wrong"),
    "several": (["a", "b"], ["a", "b"], "right"),
    "none": (None, 3, "–"),
}


def test_each_answer_stands_beside_what_was_measured() -> None:
    guesses, found, distances = ({name: case[n] for name, case in CASES.items()} for n in range(3))
    table = compare(guesses, found)
    assert table["distance"].to_dict() == distances
    assert list(table.loc["too high"]) == ["4,000", "1,500", "+2,500"] and table.loc["none", "guess"] == "–"


def test_what_is_asked_of_several_things_has_a_row_each() -> None:
    table = compare({"early": {"lost": 1, "done": 4}, 0.8: 2}, {"early": {"lost": 1, "done": 3}, 0.8: 2})
    assert table["distance"].to_dict() == {"early: lost": "right", "early: done": "+1", "0.8": "right"}


def test_the_words_are_those_of_the_edition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LESSONS_LANGUAGE", "es")
    table = compare({"best": "a", "number": 2}, {"best": "b", "number": 3})
    assert [*table] == ["predicción", "medido", "distancia"] and [*table["distancia"]] == ["otro", "-1"]


def test_a_guess_that_nobody_measured_is_named() -> None:
    with pytest.raises(ValueError, match=r"guessed but not measured: \['lots'\]; measured: \['lost'\]"):
        compare({"lots": 1}, {"lost": 1})


def test_the_last_guess_and_the_furthest_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert furthest().empty, "Without the variable nothing is remembered."
    monkeypatch.setenv("LESSONS_GUESSES", str(tmp_path / "guesses.jsonl"))
    monkeypatch.setenv("JPY_SESSION_NAME", "work/02_scaling_out_with_celery.ipynb")
    assert furthest().empty, "Nothing was guessed so far."
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("LESSONS_GUESSES", str(tmp_path / "gone" / "guesses.jsonl"))
        # A place that can't be written must not stop a lesson.
        assert len(compare({"lost": 9}, {"lost": 1})) == 1
    measured = {"lost": 1, "done": 40, "setting": "early", "again": 2}
    compare({"lost": 9, "done": 30, "setting": "late", "again": None}, measured)
    compare({"lost": 2}, {"lost": 1})
    assert furthest()[["asked", "off"]].values.tolist() == [["setting", 1], ["lost", 0.5], ["done", 0.25]]
    assert len(furthest(2)) == 2 and set(furthest()["lesson"]) == {"02_scaling_out_with_celery"}
