"""Find the records that need a full check: all invalid records, and perhaps some valid ones.

Most fields are tested record by record in one generated loop. What Python does faster with many values in one call is tested
for many together: whether text is Unicode, and timestamps.
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

#: Returns the positions of suspects, and the strings whose Unicode was not tested.
Scan = Callable[[list[Record]], tuple[list[int], list[str]]]


def suspects(schema: Schema, records: list[Record], label: int | None = None) -> set[int]:
    """Return the positions of all records that are invalid or have another label, and perhaps of a few others.

    `label` is the version in the records' label; None if they have no label.
    """
    failed, texts = scanner(schema, label)(records)
    found = set(failed)
    try:
        "".join(texts).encode("utf-16")  # the fastest of the encodings that refuse half a surrogate pair
    except UnicodeEncodeError:
        found.update(at for at, r in enumerate(records) if not all(map(is_unicode, _strings(r))))
    places: Sequence[int] = range(len(records))
    if found:
        places, records = drop_positions(places, found), drop_positions(records, found)
    for field in schema:
        if field.type == "timestamp":
            found.update(places[at] for at in wrong_timestamps(field, _column(field.name, records)))
    return found


def drop_positions(items: Sequence[Any], positions: Iterable[int]) -> list[Any]:
    """Return a list without the items at some positions. Usually there are few, so deleting them is the fastest way."""
    rest = list(items)
    for at in sorted(positions, reverse=True):
        del rest[at]
    return rest


# ── Record by record ─────────────────────────────────────────────────────────────────────────────────────────────


@cache
def scanner(schema: Schema, label: int | None) -> Scan:
    """Compile the function that tests records, except for timestamps, and for whether strings are Unicode."""
    tests = ["type(r) is dict"]  # a subclass such as defaultdict might invent values
    if label is None:
        tests.append(f"{VERSION_KEY!r} not in r")
    else:
        # Python creates small integers only once. If it created one twice, the record would merely be suspect.
        tests.append(f"r[{VERSION_KEY!r}] is label")
    tests += (field_test(field, "not keep({})") for field in schema if field.type != "timestamp")
    source = f"""\
def scan(records):
    found, texts, rest = [], [], iter(records)
    keep = texts.append
    for r in rest:
        try:
            if {" and ".join(tests)}: continue
        except (KeyError, TypeError): pass
        found.append(len(records) - length_hint(rest) - 1)
    return found, texts
"""
    return compile_source(source, "scan", label=label, length_hint=length_hint)


def _strings(record: object) -> list[str]:
    return [value for value in record.values() if isinstance(value, str)] if type(record) is dict else []


# ── Timestamps, column by column ─────────────────────────────────────────────────────────────────────────────────

#: How many timestamps are tested one by one if one of them is unusual.
_PART: Final = 120
#: A valid timestamp, in place of values that need no test.
_VALID: Final = "2000-01-01"
#: Spellings without an offset other than Z, with each digit replaced by 0.
_USUAL: Final = frozenset(shape.encode() for shape in TIMESTAMP_SHAPES if shape[10:][-6:-5] not in ("+", "-"))
#: The most usual spellings, between marks.
_MOST: Final = (b"<0000-00-00>", b"<0000-00-00T00:00:00>", b"<0000-00-00T00:00:00Z>")
_TO_ZERO: Final = bytes.maketrans(b"123456789", b"000000000")
#: Times that are not valid here, each with a part that shows all like it.
_WRONG_TIMES: Final = {
    "2000-01-01T24:00:00": b"T24",
    "2000-01-01T00:60:00": b":60",
    "2000-01-01T00:00:60": b":60",
}


def _column(name: str, records: list[Record]) -> list[Any]:
    try:
        return [record[name] for record in records]
    except KeyError:
        return [record.get(name, MISSING) for record in records]


def wrong_timestamps(field: Field, values: list[Any]) -> list[int]:
    """Return the positions of values that are not valid timestamps, by our own grammar and Python's calendar.

    Python also reads other spellings. Some versions read hour 24, so each is asked whether it reads such times.
    """
    texts = [_VALID if value is None else value for value in values] if field.nullable else values.copy()
    wrong = _unread(texts)
    for at in wrong:
        texts[at] = _VALID
    times = {part for text, part in _WRONG_TIMES.items() if not _unread([text])}
    for start in range(0, len(texts), _PART):
        part = texts[start : start + _PART]
        wrong += [start + at for at in _unusual(part, times) if timestamp_problem(part[at])]
    return wrong


def _unread(values: list[Any]) -> list[int]:
    """Return the positions of values that Python does not read as a timestamp; the loop runs in C."""
    rest, found = iter(values), []
    moments = map(datetime.fromisoformat, rest)
    while True:
        try:
            deque(moments, maxlen=0)
            return found
        except (TypeError, ValueError):
            found.append(len(values) - length_hint(rest) - 1)


def _unusual(texts: list[str], times: set[bytes]) -> Sequence[int]:
    """Return the positions of the texts that have no usual spelling; of all if one may be one of the wrong `times`.

    Python reads all of the texts.
    """
    text = f"<{'><'.join(texts)}>".encode("ascii", "replace")
    everything = range(len(texts))
    if any(part in text for part in times):
        return everything
    shapes, count, size = text.translate(_TO_ZERO), 0, 0
    for shape in _MOST:
        found = shapes.count(shape)
        count, size = count + found, size + found * len(shape)
        if count == len(texts) and size == len(text):
            return ()
    single = shapes[1:-1].split(b"><")
    return [at for at in everything if single[at] not in _USUAL] if len(single) == len(texts) else everything
