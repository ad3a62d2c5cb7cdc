"""Finding the records that need a closer look: it may suspect a valid record, and never misses an invalid one.

Most fields are tested record by record in one generated loop. What Python does faster with many values in one call is
tested column by column: whether text is Unicode, and timestamps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import cache
from operator import length_hint
from typing import Any, Final

from lib.versioning.records import Extra, Record
from lib.versioning.schema import MISSING, TIMESTAMP_SHAPES, TYPES, VERSION_KEY, Field, Schema

#: Return the positions of suspects, and the strings that are not ASCII, of which it is open whether they are Unicode.
Scan = Callable[[list[Record]], tuple[list[int], list[str]]]


def suspects(schema: Schema, extra: Extra, records: list[Record], label: int | None = None) -> set[int]:
    """Return the positions of all records that are invalid or not labelled so, and perhaps of a few others.

    `label` is the version that the records are labelled with; None if they have no label.
    """
    columns = _columns(schema, records)
    found, texts = scanner(schema, extra, columns, label)(records)
    places: Sequence[int] = range(len(records))
    if found:
        places, records = without(places, found), without(records, found)
    if broken := _no_unicode(texts):
        these = {id(texts[at]) for at in broken}
        found += [
            at for at, r in zip(places, records, strict=True) if not these.isdisjoint(map(id, r.values()))
        ]
    for name in columns:
        found += [places[at] for at in suspects_in(schema[name], _column(name, records))]
    return set(found)


def without(items: Sequence[Any], places: Iterable[int]) -> list[Any]:
    """Return a list without the items at some places: few, as a rule, so that cutting them out is the fastest."""
    rest = list(items)
    for place in sorted(places, reverse=True):
        del rest[place]
    return rest


def _columns(schema: Schema, records: list[Any]) -> tuple[str, ...]:
    """The fields that are tested as columns: timestamps, and strings that are not ASCII in the first few records."""
    first = [record for record in records[:4] if type(record) is dict]
    return tuple(
        field.name
        for field in schema
        if field.type == "timestamp"
        or (field.type == "string" and not str([record.get(field.name) for record in first]).isascii())
    )


# ── Record by record ─────────────────────────────────────────────────────────────────────────────────────────────


def scanner_source(schema: Schema, extra: Extra, columns: tuple[str, ...], label: int | None) -> str:
    """Python source of `scan(records)`, which tests all but the fields named by `columns`."""
    tests = ["type(r) is dict"]  # one of another kind, such as a defaultdict, might make values up
    if extra == "forbid":  # with all fields there, which is tested below, there is then no room for another
        tests.append(f"len(r) == {len(schema) + (label is not None)}")
    elif label is None:
        tests.append(f"{VERSION_KEY!r} not in r")
    if label is not None:
        # Python makes an integer like this only once. Where one were made twice, it would be suspected.
        tests.append(f"r[{VERSION_KEY!r}] is label")
    tests += (_test(field) for field in schema if field.name not in columns)
    return f"""
def scan(records):
    found, texts, rest = [], [], iter(records)
    add = texts.append
    for r in rest:
        try:
            if {" and ".join(tests)}: continue
        except (KeyError, TypeError): pass
        found.append(len(records) - length_hint(rest) - 1)
    return found, texts
"""


def _test(field: Field) -> str:
    """An expression that is true of a record `r` if a field is valid; it adds a string that is not ASCII to the texts."""
    value = f"r[{field.name!r}]"
    if field.type == "string":
        test = (
            f"(isascii({value}) or add({value}) is None)"  # isascii raises a TypeError for what is no string
        )
        if field.length is not None:
            test += f" and len({value}) <= {field.length}"
    else:
        test = f"type({value}) is {TYPES[field.type].__name__}"
        if field.type == "integer":
            test += f" and -0x8000000000000000 <= {value} < 0x8000000000000000"
    return f"({value} is None or {test})" if field.nullable else test


@cache
def scanner(schema: Schema, extra: Extra, columns: tuple[str, ...], label: int | None) -> Scan:
    """Compile the function that tests records by all but the fields named by `columns`."""
    names: dict[str, Any] = {"isascii": str.isascii, "length_hint": length_hint, "label": label}
    source = scanner_source(schema, extra, columns, label)
    exec(compile(source, "<generated scan>", "exec"), names)  # noqa: S102 - names checked, no data
    return names["scan"]


# ── Column by column ─────────────────────────────────────────────────────────────────────────────────────────────


def failing(check: Callable[[Any], Any], values: list[Any]) -> list[int]:
    """Return the positions of the values for which `check` raises a TypeError or ValueError; it loops in C."""
    rest, found = iter(values), []
    checks = map(check, rest)
    while True:
        try:
            deque(checks, maxlen=0)
            return found
        except (TypeError, ValueError):
            found.append(len(values) - length_hint(rest) - 1)


def _column(name: str, records: list[Record]) -> list[Any]:
    try:
        return [record[name] for record in records]
    except KeyError:
        return [record.get(name, MISSING) for record in records]


def suspects_in(field: Field, column: list[Any]) -> list[int]:
    """Return the positions of suspects in a column of strings or timestamps, and perhaps some twice; replaces values."""
    values = [value for value in column if value is not None] if field.nullable else column
    found = _no_timestamps(values) if field.type == "timestamp" else _no_texts(values, field.length)
    if found and len(values) < len(column):
        places = [at for at, value in enumerate(column) if value is not None]
        return [places[at] for at in found]
    return found


def _no_texts(values: list[Any], length: int | None) -> list[int]:
    """Positions of what is no string, too long, or no Unicode."""
    found = []
    try:
        found += _no_unicode(values)
    except TypeError:
        found += failing(str.isascii, values)
        for at in found:
            values[at] = ""
        found += _no_unicode(values)
    if length is not None and max(map(len, values), default=0) > length:
        found += [at for at, value in enumerate(values) if len(value) > length]
    return found


def _no_unicode(texts: list[str]) -> list[int]:
    """Positions of strings with half a surrogate pair; raises a TypeError if there is something else than strings."""
    joined = "".join(texts)
    if not joined.isascii():
        try:
            joined.encode("utf-16-le")  # the fastest of the encodings that refuse surrogates
        except UnicodeEncodeError:
            return failing(str.encode, texts)
    return []


#: So many timestamps get a closer look if one of them is unusual.
_PART: Final = 120
_DIGITS: Final = b"0123456789"
_DIGITS_TO_ZERO: Final = bytes.maketrans(_DIGITS, b"0" * 10)
_WITH_OFFSET: Final = frozenset(
    shape.encode() for shape in TIMESTAMP_SHAPES if len(shape) > 10 and shape[-6] in "+-"
)
_WITHOUT_OFFSET: Final = frozenset(map(str.encode, TIMESTAMP_SHAPES)) - _WITH_OFFSET


def _no_timestamps(values: list[Any]) -> list[int]:
    """Positions of what is no timestamp, and of some timestamps with an offset; replaces values."""
    # Python 3.11 to 3.13 refuse a day that is not in the calendar, 24:00 and :60 here.
    found = failing(datetime.fromisoformat, values)
    for at in found:
        values[at] = "0001-01-01"
    return found + _odd_shapes(values)


def _odd_shapes(values: list[str]) -> list[int]:
    """Positions of what `datetime.fromisoformat` takes and is no timestamp, and of some timestamps with an offset."""
    found = []
    for start in range(0, len(values), _PART):
        part = values[start : start + _PART]
        text = ("\n".join(part) + "\n").encode("ascii", "replace")
        if _are_usual(text, len(part)):
            continue
        shapes = text.translate(_DIGITS_TO_ZERO).split(b"\n")[:-1]
        if len(shapes) > len(part):  # a value holds a line break
            shapes = [value.encode("ascii", "replace").translate(_DIGITS_TO_ZERO) for value in part]
        found += [
            start + at
            for at, shape in enumerate(shapes)
            if shape not in _WITHOUT_OFFSET and (shape not in _WITH_OFFSET or _has_odd_offset(part[at]))
        ]
    return found


def _are_usual(text: bytes, lines: int) -> bool:
    """Tell whether lines that `datetime.fromisoformat` takes are all dates, date-times, or date-times with a Z.

    Without its digits a date is `--`, a date-time `--T::`. Anything else it takes that looks so then is longer.
    """
    signs = text.translate(None, _DIGITS)
    dates, times, with_z = (signs.count(line) for line in (b"--\n", b"--T::\n", b"--T::Z\n"))
    return (
        dates + times + with_z == lines
        and 3 * dates + 6 * times + 7 * with_z == len(signs)
        and 11 * dates + 20 * times + 21 * with_z == len(text)
    )


def _has_odd_offset(text: str) -> bool:
    """Tell whether an offset may have 60 minutes or more, or lead out of the years 0001 to 9999."""
    return text[-2] > "5" or text[:4] in ("0001", "9999")
