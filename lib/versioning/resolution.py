"""Decide whether a reader's schema can read a writer's records, by Avro's rules for schema resolution and aliases (1.12).

Fields match by name, or by an alias of the reader. A field that the writer does not have takes the reader's default; one that
the reader does not have is ignored; an integer is promoted to a float; only a nullable field accepts null. Every other
difference breaks the reader: it can't read a valid record of the writer, or reads it wrongly.

Avro knows neither lengths nor the format of timestamps. Here, they break a reader as well, because it would find the record
invalid (`Kind.LENGTH` and `Kind.FORMAT`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from typing import Any, Final

from lib.versioning.schema import NO_DEFAULT, Field, Schema

_LONGEST_TIMESTAMP: Final = len("2024-02-29T10:00:00.000000+01:00")


class Kind(StrEnum):
    """What breaks a reader."""

    MISSING_DEFAULT = "reader field missing default value"
    TYPE_MISMATCH = "type mismatch"
    NULL = "null not accepted"
    AMBIGUOUS = "ambiguous alias"
    LENGTH = "length exceeded"
    FORMAT = "format not assured"
    MOVED = "value moved"


@dataclass(frozen=True)
class Difference:
    """One difference that breaks a reader: its kind, the path to the field (its name, because schemas are flat), reason, remedy."""

    kind: Kind
    path: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}: {self.kind} ({self.reason}); remedy: {self.remedy}"


def differences(reader: Schema, writer: Schema) -> tuple[Difference, ...]:
    """Return all differences that break a reader, in the order of its fields; none if it can read every valid record of `writer`."""
    return tuple(difference for field in reader for difference in _meet(field, writer))


def readable(reader: Schema, writer: Schema) -> bool:
    """Return whether `reader` can directly read every valid record of `writer`."""
    return not differences(reader, writer)


def matches(field: Field, writer: Schema) -> list[str]:
    """Return the names of the writer's fields that match a reader's field. If there are several, the match is ambiguous."""
    return [name for name in (field.name, *field.aliases) if name in writer]


def _meet(field: Field, writer: Schema) -> Iterator[Difference]:
    names = matches(field, writer)
    if len(names) > 1:
        reason = f"the writer has {' and '.join(names)}, which are one field to the reader"
        yield Difference(Kind.AMBIGUOUS, field.name, reason, "remove the alias while both are written")
    elif names:
        yield from _compare(field, writer[names[0]])
    elif field.default is NO_DEFAULT:
        remedy = "give the reader's field a default, or, if it was renamed, its former name as an alias"
        reason = "the writer has no such field, and the reader's has no default"
        yield Difference(Kind.MISSING_DEFAULT, field.name, reason, remedy)


def _compare(field: Field, written: Field) -> Iterator[Difference]:
    name, types = field.name, (written.type, field.type)
    if types == ("string", "timestamp"):
        reason, remedy = (
            "not every string is a timestamp",
            "let the reader accept strings, or migrate the writer's records",
        )
        yield Difference(Kind.FORMAT, name, reason, remedy)
    elif types[0] != types[1] and types not in (("integer", "float"), ("timestamp", "string")):
        reason = f"the writer has {types[0]}, the reader {types[1]}; only integer is promoted, to float"
        remedy = "add a field of the new type instead, and drop the old one in a later release"
        yield Difference(Kind.TYPE_MISMATCH, name, reason, remedy)
    if written.nullable and not field.nullable:
        reason = "the writer's field is nullable, the reader's is not"
        yield Difference(Kind.NULL, name, reason, "make the reader's field nullable first")
    longest = _LONGEST_TIMESTAMP if written.type == "timestamp" else written.length
    if (
        field.length is not None
        and types[0] in ("string", "timestamp")
        and not (longest and longest <= field.length)
    ):
        reason = f"up to {longest or 'any number of'} characters written, up to {field.length} read"
        yield Difference(Kind.LENGTH, name, reason, "let the reader accept longer strings first")


def expanded(before: Schema, after: Schema) -> Schema:
    """Return the schema written in the expand phase: the fields of `after`, and those that only `before` has.

    So readers of both versions find their fields. A field in both schemas has the form of `after`.
    """
    dropped = [field for field in before if field.name not in after]
    return Schema(*(replace(field, aliases=()) for field in (*after, *dropped)))


@cache
def resolver(reader: Schema, writer: Schema) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return the function that reads a valid record of `writer` as Avro does, into a new one of the reader's fields only.

    Raises ValueError, with every reason, if the writer's records are not `readable`.
    """
    if breaking := differences(reader, writer):
        raise ValueError("; ".join(map(str, breaking)))
    sources = [(field, next(iter(matches(field, writer)), None)) for field in reader]

    def resolve(record: dict[str, Any]) -> dict[str, Any]:
        read = {}
        for field, source in sources:
            value = field.default if source is None else record[source]
            read[field.name] = float(value) if field.type == "float" and type(value) is int else value
        return read

    return resolve
