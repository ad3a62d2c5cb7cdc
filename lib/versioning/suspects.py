"""Finding the records that need a closer look: it may suspect a valid record, and never misses an invalid one.

Most fields are tested record by record in one generated loop. Timestamps are tested column by column, because Python
reads many of them in one call faster.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import cache
from operator import length_hint
from typing import Any, Final

from lib.versioning.records import Record, compile_source, field_test
from lib.versioning.schema import (
    MISSING,
    TIMESTAMP_SHAPES,
    VERSION_KEY,
    Field,
    Schema,
    is_unicode,
    timestamp_problem,
)

Scan = Callable[[list[Record]], tuple[list[int], list[str]]]


def suspects(schema: Schema, records: list[Record], label: int | None = None) -> set[int]:
    """Return the positions of all records that are invalid or not labelled so, and perhaps of a few others.

    `label` is the version that the records are labelled with; None if they have no label.
    """
    found, texts = scanner(schema, label)(records)
    places: Sequence[int] = range(len(records))
    if found:
        places, records = drop_positions(places, found), drop_positions(records, found)
    if not is_unicode("".join(texts)):
        these = {id(text) for text in texts if not is_unicode(text)}
        wrong = [at for at, r in enumerate(records) if not these.isdisjoint(map(id, r.values()))]
        found += [places[at] for at in wrong]
    for field in schema:
        if field.type == "timestamp":
            column = [record.get(field.name, MISSING) for record in records]
            found += [places[at] for at in suspects_in(field, column)]
    return set(found)


def drop_positions(items: Sequence[Any], positions: Iterable[int]) -> list[Any]:
    """Return a list without the items at some positions: few, as a rule, so that cutting them out is the fastest."""
    rest = list(items)
    for at in sorted(positions, reverse=True):
        del rest[at]
    return rest


# ── Record by record ─────────────────────────────────────────────────────────────────────────────────────────────


@cache
def scanner(schema: Schema, label: int | None) -> Scan:
    """Compile the function that tests records by all fields but timestamps.

    It returns the positions of suspects, and the strings that are not ASCII, of which it is open whether they are Unicode.
    """
    tests = ["type(r) is dict"]  # one of another kind, such as a defaultdict, might make values up
    if label is None:
        tests.append(f"{VERSION_KEY!r} not in r")
    else:
        # Python makes an integer like this only once. Where one were made twice, it would be suspected.
        tests.append(f"r[{VERSION_KEY!r}] is label")
    tests += [field_test(field, "not add") for field in schema if field.type != "timestamp"]
    source = f"""\
def scan(records):
    found, texts = [], []
    add = texts.append
    for at, r in enumerate(records):
        try:
            if {" and ".join(tests)}: continue
        except (KeyError, TypeError): pass
        found.append(at)
    return found, texts
"""
    return compile_source(source, "scan", label=label)


# ── Timestamps, column by column ─────────────────────────────────────────────────────────────────────────────────

#: So many timestamps get a closer look if one of them is unusual.
_PART: Final = 120


def suspects_in(field: Field, column: list[Any]) -> list[int]:
    """Return the positions of suspects in a column of timestamps, and perhaps some twice."""
    places: Sequence[int] = range(len(column))
    if field.nullable:
        places = [at for at, value in enumerate(column) if value is not None]
        column = [column[at] for at in places]
    found = _not_iso(column)
    values = column.copy()
    for at in found:
        values[at] = "2000-01-01"
    for start in range(0, len(values), _PART):
        part = values[start : start + _PART]
        if not _are_usual(part):
            found += [start + at for at, value in enumerate(part) if timestamp_problem(value)]
    return [places[at] for at in found]


def _not_iso(texts: list[Any]) -> list[int]:
    """Return the positions of those that Python can't read as a date-time by ISO 8601, such as 30 February."""
    rest, found = iter(texts), []
    while True:
        try:
            deque(map(datetime.fromisoformat, rest), maxlen=0)  # a loop in C
            return found
        except (TypeError, ValueError):
            found.append(len(texts) - length_hint(rest) - 1)


#: Spellings without an offset other than Z, each digit written as 0.
_USUAL: Final = frozenset(shape.encode() for shape in TIMESTAMP_SHAPES if shape[10:][-6:-5] not in ("+", "-"))
_TO_ZERO: Final = bytes.maketrans(b"123456789", b"000000000")


def _are_usual(texts: list[str]) -> bool:
    """Tell whether texts that Python reads are all of a usual spelling, and within the 24 hours of a day.

    Python reads other spellings, too, and some versions the hour 24 or the second 60: what is a timestamp here, we say.
    """
    text = "\n".join(texts).encode("ascii", "replace")
    shapes = text.translate(_TO_ZERO).split(b"\n")
    return (
        len(shapes) == len(texts) and _USUAL.issuperset(shapes) and b"T24" not in text and b":60" not in text
    )
