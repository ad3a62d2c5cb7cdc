"""Compare guesses with measurements, and list the worst guesses of all lessons.

Guesses are stored in the file that the environment variable LESSONS_GUESSES names, one line of JSON each; without the variable
they are not stored.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lib.languages import said

FILE = "LESSONS_GUESSES"
COLUMNS = ("lesson", "asked", "guess", "measured", "off")


def compare(guess: Mapping[Any, Any], measured: Mapping[Any, Any]) -> pd.DataFrame:
    """Return guess, measurement and the distance between them, one row for each question.

    Args:
        guess: value by question; questions about several things may be nested once, {thing: {question: value}}. None: no guess.
        measured: values for the same questions.

    Returns:
        A table with the columns `guess`, `measured` and `distance`: guess minus measurement for numbers, otherwise "right" or "wrong".
        These words are in the language of the edition.

    Raises:
        ValueError: a guess has no measurement.
    """
    guesses, found = _flat(guess), _flat(measured)
    if missing := [name for name in guesses if name not in found]:
        raise ValueError(f"guessed but not measured: {missing}; measured: {list(found)}")
    lesson = Path(os.environ.get("JPY_SESSION_NAME", "")).stem
    rows, lines = {}, []
    for asked, value in guesses.items():
        distance, off = _distance(value, found[asked])
        rows[asked] = [_shown(value), _shown(found[asked]), distance]
        answer = dict(zip(COLUMNS, [lesson, asked, *rows[asked][:2], off], strict=True))
        lines.append(json.dumps(answer) + "\n")
    # A file that can't be written must not stop a lesson.
    with (
        contextlib.suppress(OSError),
        open(os.environ.get(FILE) or os.devnull, "a", encoding="utf-8") as file,
    ):
        file.writelines(lines)
    return pd.DataFrame.from_dict(
        rows, orient="index", columns=[said(name) for name in ("guess", "measured", "distance")]
    )


def furthest(count: int = 5) -> pd.DataFrame:
    """Return the worst guesses, counting the last guess at each question, the worst first: at most `count` rows.

    The column `off` is the difference as a share of the larger of both numbers, and 1 for an answer that is not a number.
    """
    path = Path(os.environ.get(FILE) or os.devnull)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    last = {(one["lesson"], one["asked"]): one for one in map(json.loads, lines)}
    table = pd.DataFrame(last.values(), columns=list(COLUMNS))
    return table[table["off"] > 0].sort_values("off", ascending=False, ignore_index=True).head(count)


def _flat(values: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the answers by question, those of a nested mapping as "thing: question"."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        inner = value if isinstance(value, Mapping) else {"": value}
        flat |= {f"{name}: {asked}".removesuffix(": "): answer for asked, answer in inner.items()}
    return {asked: value.item() if hasattr(value, "item") else value for asked, value in flat.items()}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    if not _is_number(value):
        return "–" if value is None else str(value)
    return f"{value:,.0f}" if isinstance(value, int) or abs(value) >= 100 else f"{value:.3g}"


def _distance(guess: Any, measured: Any) -> tuple[str, float]:
    """Return the distance in words, and how wrong the guess is, from 0 (right) to 1."""
    if guess is None or guess == measured:
        return ("–" if guess is None else said("right")), 0
    if not (_is_number(guess) and _is_number(measured)):
        return said("wrong"), 1
    sign = "+" if guess > measured else ""
    return sign + _shown(guess - measured), min(1.0, abs(guess - measured) / max(abs(guess), abs(measured)))
