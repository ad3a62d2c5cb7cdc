"""The rules of records written a second time, as plainly as possible: what the generated functions are compared with.

Nothing here is generated, cached or fast, and nothing but declarations comes from the code under test.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from strategies import instant

from lib.versioning import Field, Schema, SchemaHistory
from lib.versioning.operations import AddField, ConvertField, DropField, RenameField, SplitField
from lib.versioning.schema import NO_DEFAULT

_TIMESTAMP = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.[0-9]{1,6})?(?:Z|([+-])([0-9]{2}):([0-9]{2}))?)?"
)


def is_timestamp(text: str) -> bool:
    """Is it a date or a date-time of RFC 3339 (offset and fraction optional) in the years 0001 to 9999 of UTC?"""
    match = _TIMESTAMP.fullmatch(text)
    if not match:
        return False
    year, month, day, hour, minute, second, sign, hours, minutes = match.groups()
    if int(hours or 0) > 23 or int(minutes or 0) > 59:
        return False
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    try:
        local = datetime(int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0))
        local + (offset if sign == "-" else -offset)
    except (ValueError, OverflowError):
        return False
    return True


def is_valid(field: Field, value: Any) -> bool:
    """Is the value one of the field's?"""
    if value is None:
        return field.nullable
    if field.type == "integer":
        return type(value) is int and -(2**63) <= value < 2**63
    if field.type == "float":
        if type(value) is int:  # a float has 53 bits, and at most 971 zeros behind them
            return len(f"{abs(value):b}".strip("0")) <= 53 and value.bit_length() <= 1024
        return type(value) is float
    if field.type == "boolean":
        return type(value) is bool
    if not isinstance(value, str) or any(0xD800 <= ord(character) <= 0xDFFF for character in value):
        return False
    if field.type == "timestamp":
        return is_timestamp(value)
    return field.length is None or len(value) <= field.length


def wrong_fields(schema: Schema, record: dict[Any, Any]) -> set[Any]:
    """The names of the fields that are missing or invalid."""
    return {f.name for f in schema if f.name not in record or not is_valid(f, record[f.name])}


class Failed(Exception):
    """A record can't take this way."""


class Migrated(NamedTuple):
    record: dict[str, Any]
    kept: list[tuple[str, Any]]
    lost: list[tuple[str, Any]]


class Way(NamedTuple):
    """A record on its way: what was kept, the steps that it does not get through, and itself after each step.

    `origins` says which field each one was at the start; `taken` are those of them that did not just move.
    """

    record: dict[str, Any]
    stages: list[dict[str, Any]]
    origins: dict[str, str]
    taken: set[str]
    kept: list[tuple[str, Any]]
    failed: list[Any]


def same(a: Any, b: Any) -> bool:
    """Are two values the same, type included? NaN is the same as NaN, and 5 as 5.0, which a float field both takes."""
    return (type(a) is type(b) or {type(a), type(b)} == {int, float}) and (a == b or (a != a and b != b))


def migrate(history: SchemaHistory, record: dict[str, Any], target: int) -> Migrated:
    """Take a valid record to another version, or raise Failed. What went is lost if it is another after the way back."""
    version = record.get("schema_version", 1)
    there = _walk(history, record, version, target)
    there.record["schema_version"] = target
    if wrong := there.failed or wrong_fields(history.schema(target), there.record):
        raise Failed(wrong)
    again, lost = _walk(history, there.stages[-1], target, version).stages[::-1], []
    for name in {name for stage in again for name in stage}:
        at = next(at for at, stage in enumerate(again) if name in stage)
        gone = any(name not in stage for stage in again[at:])
        counts = record.get(name) is not None or (at == 0 and name in there.taken)
        if gone and counts and not same(there.stages[at][name], again[at][name]):
            lost.append((name, record[name]))
    return Migrated(there.record, there.kept, lost)


def _walk(history: SchemaHistory, record: dict[str, Any], version: int, target: int) -> Way:
    """Take a record all the way. Where it does not get through, a field becomes None."""
    stages = [_stage(history.schema(version), record)]
    way = Way(dict(record), stages, {name: name for name in record}, set(), [], [])
    for step in history.steps(version, target):
        forward = version < target
        old, new = (step.before, step.after) if forward else (step.after, step.before)
        _go(step.operation, old, new, forward, way)
        way.stages.append(_stage(new, way.record))
    return way


def _stage(schema: Schema, record: dict[str, Any]) -> dict[str, Any]:
    """What a record has in the fields of a schema; timestamps of the same moment are the same."""
    times = {f.name for f in schema if f.type == "timestamp" and record[f.name] is not None}
    return {n: instant(record[n]).isoformat() if n in times else record[n] for n in schema.names}


def _midnight(value: str | None) -> str | None:
    return f"{value}T00:00:00" if value is not None and "T" not in value else value


def _put(way: Way, field: Field, value: Any) -> None:
    """Fill a field, unless it is filled: then that stays."""
    there = way.record.get(field.name)
    if there is None:
        way.record[field.name] = value
        return
    if not is_valid(field, there):
        raise Failed(field.name)
    way.kept.append((field.name, there))


def _take(way: Way, name: str) -> Any:
    way.taken.add(way.origins.pop(name, name))
    return way.record.pop(name)


def _move(way: Way, name: str, *to: str) -> Any:
    way.origins.update(dict.fromkeys(to, way.origins.pop(name, name)))
    return way.record.pop(name)


def _filler(operation: AddField | DropField, field: Field, record: dict[str, Any]) -> Any:
    if isinstance(operation, AddField) and operation.copy_from is not None:
        return record[operation.copy_from]
    default = next((d for d in (operation.default, field.default) if d is not NO_DEFAULT), None)
    # A float field is filled with floats, also where the default was written as 5.
    return float(default) if field.type == "float" and default is not None else default


def _go(operation: Any, old: Schema, new: Schema, forward: bool, way: Way) -> None:
    """Do one step in either direction, from the schema `old` to `new`."""
    name, record = operation.name, way.record
    if isinstance(operation, AddField | DropField):
        if isinstance(operation, AddField) == forward:
            _put(way, new[name], _filler(operation, new[name], record))
        else:
            _take(way, name)
    elif isinstance(operation, RenameField):
        here, there = (name, operation.to) if forward else (operation.to, name)
        _put(way, new[there], _move(way, here, there))
    elif isinstance(operation, SplitField) and forward:
        value, separator = _move(way, name, *operation.into), operation.separator
        halves = value.split(separator, 1) if value is not None and separator in value else [None, None]
        way.failed.extend([name] if value is not None and None in halves else [])
        for half, part in zip(operation.into, halves, strict=True):
            _put(way, new[half], part)
    elif isinstance(operation, SplitField):
        halves = [_take(way, half) for half in operation.into]
        way.failed.extend([name] if halves.count(None) == 1 else [])
        _put(way, new[name], None if None in halves else operation.separator.join(halves))
    else:
        assert isinstance(operation, ConvertField)
        if record[name] is not None and (forward or new[name].type != "timestamp"):
            record[name] = _converted(record[name], old[name].type, new[name].type)
            way.failed.extend([name] if record[name] is None else [])


def _converted(value: Any, old: str, new: str) -> Any:
    """A value as one of another type; None if there is no exact one."""
    if new == "timestamp":
        return _midnight(value)
    result = {"integer": int, "float": float, "string": str}[new](value) if _converts(value) else None
    back = None if result is None else {"integer": int, "float": float, "string": str}[old](result)
    exact = same(value, back) and (new != "integer" or -(2**63) <= result < 2**63)
    return result if exact else None


def _converts(value: Any) -> bool:
    if isinstance(value, str):
        return bool(re.fullmatch(r"-?[0-9]+", value)) and len(value) < 30
    return value == value and abs(value) != float("inf")
