"""Lines of JSON decoded straight into records of the target version, where nothing about them can be in doubt.

A struct of msgspec has the fields of the target: those of the lines with their types, the others with the values that
the migration gives them. What is decoded into it has all declared fields and no other, of the right types, and is Unicode.
Left to be tested are timestamps, and whether a key stands there twice. Every line that fails is left to the caller.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from itertools import chain, repeat
from operator import attrgetter, is_
from typing import Annotated, Any, Final, Literal

import msgspec

from lib.versioning.history import SchemaHistory
from lib.versioning.records import plain_migrator, record_version
from lib.versioning.schema import VERSION_KEY, Field
from lib.versioning.suspects import drop_positions, suspects_in, try_each

#: What decoding a line may raise.
UNREADABLE: Final = (msgspec.MsgspecError, RecursionError, ValueError)
#: Strings by their length; a float is not among them, since msgspec takes an integer for one.
_TYPES: Final[dict[str, Any]] = {
    "string": str,
    "timestamp": str,
    "boolean": bool,
    "integer": Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)],
}
#: A type without values, for fields that must not stand in a line.
_NEVER: Final = Annotated[int, msgspec.Meta(gt=0, lt=0)]

_decode = msgspec.json.Decoder().decode


# ── Strings, counted: JSON libraries silently take the last of two equal keys, and then the text has more than the value ──


def strings_in_text(text: bytes) -> int:
    """Count the strings in valid JSON, keys among them, by their quotation marks."""
    if b"\\" in text and rb"\"" in text:
        text = text.replace(rb"\\", b"")  # a backslash that is left before a quotation mark escapes it
        text = text.replace(rb"\"", b"")
    return text.count(b'"') // 2


def strings_in_values(values: list[Any]) -> int:
    """Count the strings in decoded values at any depth, keys among them."""
    count = 0
    while values:
        count += list(map(type, values)).count(str)
        objects = [value for value in values if type(value) is dict]
        count += sum(map(len, objects))
        arrays = [value for value in values if type(value) is list]
        values = list(chain(*map(dict.values, objects), *arrays))
    return count


# ── Lines by their types ─────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class TypedLines:
    """How to decode lines of one version, all of them labelled with it or none. Fields go by attributes of the struct."""

    version: int
    decode: Callable[[bytes], Any]
    #: How many strings a line holds, the keys among them, if nothing is null.
    strings: int
    #: The strings that may be null.
    nullable: tuple[str, ...]
    timestamps: dict[str, Field]
    #: The attributes that get the value of another one.
    copies: dict[str, str]
    constants: dict[str, Any]

    def read(self, lines: list[bytes]) -> tuple[list[Any], list[int]]:
        """Return the migrated records of lines that are surely valid, and the places of the others."""
        records, left = try_each(self.decode, lines, UNREADABLE)
        columns = {name: _column(name, records) for name in {*self.timestamps, *self.copies.values()}}
        for attribute, source in self.copies.items():
            _set(records, attribute, columns[source])
        for attribute, value in self.constants.items():
            _set(records, attribute, repeat(value))
        if strings_in_text(b"".join(drop_positions(lines, left))) != self._strings_in(records):
            return [], list(range(len(lines)))  # there is a key twice in one of them
        wrong = {at for name, field in self.timestamps.items() for at in suspects_in(field, columns[name])}
        if wrong:
            places = drop_positions(range(len(lines)), left)
            left = sorted([*left, *(places[at] for at in wrong)])
            records = drop_positions(records, wrong)
        return records, left

    def _strings_in(self, records: list[Any]) -> int:
        nulls = sum(sum(map(is_, _column(name, records), repeat(None))) for name in self.nullable)
        return self.strings * len(records) - nulls


def _column(attribute: str, records: list[Any]) -> list[Any]:
    return list(map(attrgetter(attribute), records))


def _set(records: list[Any], attribute: str, values: Iterable[Any]) -> None:
    deque(map(setattr, records, repeat(attribute), values), maxlen=0)


def typed_lines(history: SchemaHistory, first: bytes, target: int | None) -> TypedLines | None:
    """Return the way to decode lines that are like the first one, and take them up to `target` (None: leave them).

    None if there is no such way: not for floats, and only where a migration does nothing but to add fields.
    """
    try:
        record = _decode(first)
    except UNREADABLE:
        record = None
    version, unknown = record_version(history, record)
    if unknown:
        return _typed_lines(history, 1, False, target or 1)
    return _typed_lines(history, version, VERSION_KEY in record, target or version)


@cache
def _typed_lines(history: SchemaHistory, version: int, labelled: bool, target: int) -> TypedLines | None:
    schema, migrate_all = history.schema(version), plain_migrator(history, version, target)
    if version > target or migrate_all is None or any(field.type not in _TYPES for field in schema):
        return None
    given = {name: object() for name in schema.names}
    after = migrate_all([given])[0]
    if any(after.get(name) is not value for name, value in given.items()):
        return None  # a field was renamed
    attributes = {name: f"f{at}" for at, name in enumerate(after)}  # a name may be one that Python has
    origins = {id(value): attributes[name] for name, value in given.items()}
    added = {attributes[name]: value for name, value in after.items() if name not in given}
    copies = {name: origins[id(value)] for name, value in added.items() if id(value) in origins}
    fields: list[Any] = [(attributes[field.name], _type(field)) for field in schema]
    fields += [(name, _NEVER, None if name in copies else value) for name, value in added.items()]
    if labelled:
        fields[-1] = attributes[VERSION_KEY], Literal[version]
    struct = msgspec.defstruct(
        "Line", fields, rename={attribute: name for name, attribute in attributes.items()},
        forbid_unknown_fields=True, kw_only=True, gc=False,
    )  # fmt: skip
    texts = [field for field in schema if field.type in ("string", "timestamp")]
    return TypedLines(
        version,
        msgspec.json.Decoder(struct).decode,
        strings=len(schema) + labelled + len(texts),
        nullable=tuple(attributes[field.name] for field in texts if field.nullable),
        timestamps={attributes[field.name]: field for field in texts if field.type == "timestamp"},
        copies=copies,
        constants={attributes[VERSION_KEY]: target} if labelled and version != target else {},
    )


def _type(field: Field) -> Any:
    kind = _TYPES[field.type]
    if field.length is not None:
        kind = Annotated[kind, msgspec.Meta(max_length=field.length)]
    return kind | None if field.nullable else kind
