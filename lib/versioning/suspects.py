"""Find the records that need a full check: all invalid records, and perhaps some valid ones.

Fields are tested record by record in one generated loop. The spelling of timestamps is tested for many of them together,
because that is faster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final

from lib.versioning.records import Record, compile_source, field_test
from lib.versioning.schema import TIMESTAMP_SHAPES, VERSION_KEY, Schema

Scan = Callable[[list[Record]], list[int]]


def suspects(schema: Schema, records: list[Record], label: int | None = None) -> set[int]:
    """Return the positions of all records that are invalid or have another label, and perhaps of a few others.

    `label` is the version in the records' label; None if they have no label.
    """
    found = scanner(schema, label)(records)
    places: Sequence[int] = range(len(records))
    if found:
        places, records = drop_positions(places, found), drop_positions(records, found)
    for field in schema:
        if field.type == "timestamp":
            for start in range(0, len(records), _PART):
                values = [record[field.name] for record in records[start : start + _PART]]
                if not _are_usual([value for value in values if value is not None]):
                    found += [places[at] for at, value in enumerate(values, start) if field.problem(value)]
    return set(found)


def drop_positions(items: Sequence[Any], positions: Iterable[int]) -> list[Any]:
    """Return a list without the items at some positions. Usually there are few, so deleting them is the fastest way."""
    rest = list(items)
    for at in sorted(positions, reverse=True):
        del rest[at]
    return rest


# ── Record by record ─────────────────────────────────────────────────────────────────────────────────────────────


@cache
def scanner(schema: Schema, label: int | None) -> Scan:
    """Compile the function that returns the positions of suspects.

    It tests only whether Python can read timestamps; Python also reads spellings such as 2024-W09-4.
    """
    tests = ["type(r) is dict"]  # a subclass such as defaultdict might invent values
    if label is None:
        tests.append(f"{VERSION_KEY!r} not in r")
    else:
        # Python creates small integers only once. If it created one twice, the record would merely be suspect.
        tests.append(f"r[{VERSION_KEY!r}] is label")
    for field in schema:
        value = f"r[{field.name!r}]"
        is_date = (
            f"({value} is None or fromisoformat({value}))" if field.nullable else f"fromisoformat({value})"
        )
        tests.append(is_date if field.type == "timestamp" else field_test(field))
    source = f"""\
def scan(records):
    found = []
    for at, r in enumerate(records):
        try:
            if {" and ".join(tests)}: continue
        except (KeyError, TypeError, ValueError): pass
        found.append(at)
    return found
"""
    return compile_source(source, "scan", label=label, fromisoformat=datetime.fromisoformat)


# ── Timestamps, many at a time ───────────────────────────────────────────────────────────────────────────────────

#: How many timestamps are tested one by one if one of them is unusual.
_PART: Final = 120
#: Spellings without an offset other than Z, with each digit replaced by 0.
_USUAL: Final = frozenset(shape.encode() for shape in TIMESTAMP_SHAPES if shape[10:][-6:-5] not in ("+", "-"))
_TO_ZERO: Final = bytes.maketrans(b"123456789", b"000000000")


def _are_usual(texts: list[str]) -> bool:
    """Return whether texts that Python can read all have a usual spelling, and a time of day within 24 hours.

    Python also reads other spellings, and some versions accept hour 24 or second 60, which are not valid timestamps here.
    """
    text = "\n".join(texts).encode("ascii", "replace")
    shapes = text.translate(_TO_ZERO).split(b"\n")
    return (
        len(shapes) == len(texts) and _USUAL.issuperset(shapes) and b"T24" not in text and b":60" not in text
    )
