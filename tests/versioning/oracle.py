"""The rules of records written a second time, as plainly as possible: what the generated functions are compared with.

Nothing here is generated, cached or fast, and nothing but declarations comes from the code under test.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any, NamedTuple

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


def same(a: Any, b: Any) -> bool:
    """Are two values the same, type included? NaN is the same as NaN, and 5 as 5.0, which a float field both takes."""
    return (type(a) is type(b) or {type(a), type(b)} == {int, float}) and (a == b or (a != a and b != b))


def migrate(history: SchemaHistory, record: dict[str, Any], target: int) -> Migrated:
    """Take a valid record to another version, or raise Failed."""
    version = record.get("schema_version", 1)
    done = Migrated(dict(record), [], [])
    for step in history.steps(version, target):
        if version < target:
            _forward(step.operation, step.before, step.after, done)
        else:
            _backward(step.operation, step.before, done)
    done.record["schema_version"] = target
    if wrong := wrong_fields(history.schema(target), done.record):
        raise Failed(wrong)
    return done


def _put(done: Migrated, field: Field, value: Any, source: str | None = None) -> None:
    """Fill a field, unless it is filled: then that stays, and a value moved from the field `source` is lost."""
    there = done.record.get(field.name)
    if there is None:
        done.record[field.name] = value
        return
    if not is_valid(field, there):
        raise Failed(field.name)
    done.kept.append((field.name, there))
    if source is not None and value is not None and not same(value, there):
        done.lost.append((source, value))


def _take(done: Migrated, name: str, restored: Any) -> None:
    value = done.record.pop(name)
    if not same(value, restored):
        done.lost.append((name, value))


def _filler(operation: AddField, done: Migrated) -> Any:
    if operation.copy_from is not None:
        return done.record[operation.copy_from]
    return None if operation.default is NO_DEFAULT else _declared(operation.default, operation.type)


def _restored(operation: DropField, before: Schema) -> Any:
    for default in (operation.default, before[operation.name].default):
        if default is not NO_DEFAULT:
            return _declared(default, before[operation.name].type)
    return None


def _declared(default: Any, kind: str) -> Any:
    """A default as it is filled in: a float field is filled with floats, also where the default was written as 5."""
    return float(default) if kind == "float" and default is not None else default


def _forward(operation: Any, before: Schema, after: Schema, done: Migrated) -> None:
    name, record = operation.name, done.record
    if isinstance(operation, AddField):
        _put(done, after[name], _filler(operation, done))
    elif isinstance(operation, DropField):
        _take(done, name, _restored(operation, before))
    elif isinstance(operation, RenameField):
        _put(done, after[operation.to], record.pop(name), name)
    elif isinstance(operation, SplitField):
        value, (first, second) = record.pop(name), operation.into
        if value is not None and operation.separator not in value:
            raise Failed(name)
        halves = (None, None) if value is None else value.split(operation.separator, 1)
        _put(done, after[first], halves[0], name)
        _put(done, after[second], halves[1], name)
    else:
        assert isinstance(operation, ConvertField)
        record[name] = _converted(record[name], before[name].type, operation.to)


def _backward(operation: Any, before: Schema, done: Migrated) -> None:
    name, record = operation.name, done.record
    if isinstance(operation, AddField):
        _take(done, name, _filler(operation, done))
    elif isinstance(operation, DropField):
        _put(done, before[name], _restored(operation, before))
    elif isinstance(operation, RenameField):
        _put(done, before[name], record.pop(operation.to), operation.to)
    elif isinstance(operation, SplitField):
        halves = [record.pop(half) for half in operation.into]
        if halves.count(None) == 1:
            raise Failed(name)
        joined = None if halves[0] is None else operation.separator.join(halves)
        if joined is not None and joined.split(operation.separator, 1) != halves:
            done.lost.extend(zip(operation.into, halves, strict=True))
        _put(done, before[name], joined, operation.into[0])
    else:
        assert isinstance(operation, ConvertField)
        if before[name].type != "timestamp":
            record[name] = _converted(record[name], operation.to, before[name].type)


def _converted(value: Any, old: str, new: str) -> Any:
    if value is None:
        return None
    if new == "timestamp":
        return f"{value}T00:00:00" if "T" not in value else value
    result = {"integer": int, "float": float, "string": str}[new](value) if _converts(value) else None
    back = None if result is None else {"integer": int, "float": float, "string": str}[old](result)
    if not same(value, back) or (new == "integer" and not -(2**63) <= result < 2**63):
        raise Failed(value)
    return result


def _converts(value: Any) -> bool:
    if isinstance(value, str):
        return bool(re.fullmatch(r"-?[0-9]+", value)) and len(value) < 30
    return value == value and abs(value) != float("inf")
