"""A guess beside what was measured, and, over all lessons, where one was furthest off.

Guesses are remembered in the file that the variable LESSONS_GUESSES names, a line of JSON for each, and nowhere without it.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

FILE = "LESSONS_GUESSES"
COLUMNS = ("lesson", "asked", "guess", "measured", "off")


def compare(guess: Mapping[Any, Any], measured: Mapping[Any, Any]) -> pd.DataFrame:
    """Guess, measurement and the distance between them, a row for each thing that was asked.

    Args:
        guess: value by question; what is asked of several things may be nested once, {thing: {question: value}}. None: no guess.
        measured: values for the same questions.

    Returns:
        A table with the columns `guess`, `measured` and `distance`: guess minus measurement for numbers, else "right" or "wrong".

    Raises:
        ValueError: something that was guessed was not measured.
    """
    guesses, found = _flat(guess), _flat(measured)
    if missing := [name for name in guesses if name not in found]:
        raise ValueError(f"guessed and not measured: {missing}; measured is {list(found)}")
    lesson = Path(os.environ.get("JPY_SESSION_NAME", "")).stem
    rows, lines = {}, []
    for asked, value in guesses.items():
        distance, off = _distance(value, found[asked])
        rows[asked] = [_shown(value), _shown(found[asked]), distance]
        answer = dict(zip(COLUMNS, [lesson, asked, *rows[asked][:2], off], strict=True))
        lines.append(json.dumps(answer) + "\n")
    # A place that can't be written must not stop a lesson.
    with (
        contextlib.suppress(OSError),
        open(os.environ.get(FILE) or os.devnull, "a", encoding="utf-8") as file,
    ):
        file.writelines(lines)
    return pd.DataFrame.from_dict(rows, orient="index", columns=["guess", "measured", "distance"])


def furthest(count: int = 5) -> pd.DataFrame:
    """The last guess at each question that was furthest from what was measured, the furthest first: at most `count` rows.

    The column `off` is the difference as a share of the larger of both numbers, and 1 for an answer that is not a number.
    """
    path = Path(os.environ.get(FILE) or os.devnull)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    last = {(one["lesson"], one["asked"]): one for one in map(json.loads, lines)}
    table = pd.DataFrame(last.values(), columns=list(COLUMNS))
    return table[table["off"] > 0].sort_values("off", ascending=False, ignore_index=True).head(count)


def _flat(values: Mapping[Any, Any]) -> dict[str, Any]:
    """The answers by question, those of a nested mapping as "thing: question"."""
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
    """The distance in words, and how far off that is: 0 is right, 1 as wrong as can be."""
    if guess is None or guess == measured:
        return ("–" if guess is None else "right"), 0
    if not (_is_number(guess) and _is_number(measured)):
        return "wrong", 1
    sign = "+" if guess > measured else ""
    return sign + _shown(guess - measured), min(1.0, abs(guess - measured) / max(abs(guess), abs(measured)))
