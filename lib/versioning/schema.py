"""The schema of a record at one version: typed fields, and the error messages for invalid values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final

#: The key that holds a record's version; no field may use it.
VERSION_KEY: Final = "schema_version"
#: The types of fields, and the exact Python type of their values: a bool is not an integer. (Subclasses of str, such as members
#: of a StrEnum, are strings. A float field also accepts an int that is exactly a float, and keeps it.)
TYPES: Final = {"string": str, "integer": int, "float": float, "boolean": bool, "timestamp": str}

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_INT64 = range(-(2**63), 2**63)


class DeclarationError(ValueError):
    """A schema, an operation or a history was declared incorrectly; the message names the place."""


class _Marker(Enum):
    """Markers for "no value given", because None is itself a value."""

    NO_DEFAULT = "no default"
    MISSING = "missing"

    def __repr__(self) -> str:
        return self.name


NO_DEFAULT: Final[Any] = _Marker.NO_DEFAULT
MISSING: Final[Any] = _Marker.MISSING


def check_name(name: object, what: str = "field name") -> str:
    """Return `name` if it is safe in generated Python and in SQL, by the rule for names of the Avro specification.

    Letters, digits and underscores of ASCII, no digit first, at most 63 characters (PostgreSQL's limit).
    """
    if type(name) is not str or not _NAME.fullmatch(name):
        raise DeclarationError(
            f"{what} {describe(name)}: use 1 to 63 of the letters A-Z and a-z, digits and _, no digit first"
        )
    if name == VERSION_KEY:
        raise DeclarationError(f"{what} {name!r}: reserved for the version of the record")
    return name


def describe(value: object) -> str:
    """Describe a value by its type, and its content if that is short, in the words of JSON: `integer 5`, `string 'x'`, `null`."""
    if value is None:
        return "null"
    if type(value) is bool:
        return f"boolean {value}"
    if type(value) is int:
        return f"integer {value}" if value in _INT64 else f"integer of {value.bit_length()} bits"
    if type(value) is float:
        return f"float {value}"
    if type(value) is str:
        text = value if len(value) <= 40 else value[:40] + "…"
        return f"string {text!r}"
    if isinstance(value, list | tuple):
        return f"array of {len(value)}"
    if isinstance(value, dict):
        return f"object of {len(value)}"
    return type(value).__name__


def is_unicode(text: str) -> bool:
    """Return whether a string is Unicode text: JSON's escapes can produce half a surrogate pair, which is not."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_whole_float(value: object) -> bool:
    """Return whether a value is an int that is exactly a float: many producers of JSON write 5.0 as 5."""
    try:
        return type(value) is int and float(value) == value
    except OverflowError:
        return False


# ── Timestamps ───────────────────────────────────────────────────────────────────────────────────────────────────

#: Every spelling of a timestamp, with each digit replaced by 0. As in RFC 3339, section 5.6, but also a date alone, or no
#: offset; without a space instead of T, and without the week dates, basic format and 24:00 of ISO 8601.
TIMESTAMP_SHAPES: Final = frozenset(
    ["0000-00-00"]
    + [
        "0000-00-00T00:00:00" + ("." + "0" * digits if digits else "") + offset
        for digits in range(7)
        for offset in ("", "Z", "+00:00", "-00:00")
    ]
)
DIGITS_TO_ZERO: Final = str.maketrans("123456789", "000000000")


def timestamp_problem(text: str) -> str | None:
    """Return what is wrong with a timestamp; None if it is `YYYY-MM-DD` or `YYYY-MM-DDThh:mm:ss[.1-6 digits][Z|±hh:mm]`.

    The day must exist in the calendar, and the instant in UTC must be in the years 0001 to 9999.
    """
    shape = text.translate(DIGITS_TO_ZERO)
    if shape not in TIMESTAMP_SHAPES:
        return f"not in the accepted form (got {describe(text)}; write YYYY-MM-DD or YYYY-MM-DDThh:mm:ss)"
    try:
        datetime.fromisoformat(text[:10])
    except ValueError:
        return f"no such calendar day (got {describe(text)})"
    try:
        if text[11:13] == "24" or (text[-6:-5] in ("+", "-") and text[-2] > "5"):
            raise ValueError("24:00 and offsets of :60 and more, which some versions of Python accept")
        moment = datetime.fromisoformat(text)
    except ValueError:
        return f"no such time of day or offset (got {describe(text)})"
    try:
        if moment.tzinfo is not None:
            moment.astimezone(UTC)
    except OverflowError:
        return f"outside the years 0001 to 9999 in UTC (got {describe(text)})"
    return None


def to_utc(timestamp: str) -> datetime:
    """Return the instant of a valid timestamp, in UTC and without offset; a timestamp without offset is in UTC."""
    moment = datetime.fromisoformat(timestamp)
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


# ── Fields and schemas ───────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Field:
    """One named, typed field.

    A nullable field may be None, but must be present. `default` is the value that a reader uses if the writer's record has no
    such field (as in Avro). `length` is the maximum number of characters of a string. `aliases` are other names under which a
    reader finds the field in a writer's record (as in Avro); validation and migration ignore them.
    """

    name: str
    type: str
    nullable: bool = False
    default: Any = NO_DEFAULT
    length: int | None = None
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_name(self.name)
        if type(self.aliases) is not tuple:
            raise DeclarationError(f"field {self.name!r}: give aliases as a tuple, not {self.aliases!r}")
        for alias in self.aliases:
            check_name(alias, f"field {self.name!r}: alias")
        if type(self.type) is not str or self.type not in TYPES:
            raise DeclarationError(
                f"field {self.name!r}: unknown type {self.type!r}: choose one of {', '.join(TYPES)}"
            )
        if type(self.nullable) is not bool:
            raise DeclarationError(f"field {self.name!r}: nullable must be a bool, not {self.nullable!r}")
        if self.length is not None and (
            self.type != "string" or type(self.length) is not int or self.length < 1
        ):
            raise DeclarationError(
                f"field {self.name!r}: length {self.length!r}: give a positive whole number, for strings only"
            )
        if self.default is not NO_DEFAULT and (reason := self.problem(self.default)):
            raise DeclarationError(f"field {self.name!r}: its default is invalid: {reason}")
        if self.type == "float" and type(self.default) is int:
            object.__setattr__(self, "default", float(self.default))

    def __str__(self) -> str:
        length = f"({self.length})" if self.length is not None else ""
        return f"{self.name} {self.type}{length}{', nullable' if self.nullable else ''}"

    def problem(self, value: object) -> str | None:
        """Return why `value` (or `MISSING`) is invalid here, as `fixed reason (details)`; None if it is valid."""
        if value is MISSING:
            return "missing"
        if value is None:
            return None if self.nullable else "null, but required"
        expected = TYPES[self.type]
        if self.type == "float" and type(value) is int:
            return None if is_whole_float(value) else f"no exact float (got {describe(value)})"
        if not isinstance(value, str) if expected is str else type(value) is not expected:
            return f"expected {self.type} (got {describe(value)})"
        if type(value) is int and value not in _INT64:
            return f"outside the 64-bit range (got {describe(value)})"
        if not isinstance(value, str):
            return None
        if not is_unicode(value):
            return f"lone surrogate, which is not Unicode text (got {describe(value)})"
        if self.type == "timestamp":
            return timestamp_problem(value)
        if self.length is not None and len(value) > self.length:
            return f"longer than {self.length} characters (got {len(value)})"
        return None


class Schema:
    """The fields of a record at one version, in order. Hashable; two schemas with the same fields are equal."""

    def __init__(self, *fields: Field) -> None:
        if strange := [field for field in fields if not isinstance(field, Field)]:
            raise DeclarationError(f"{strange[0]!r} is not a Field: give Field(name, type)")
        self._by_name = {field.name: field for field in fields}
        self.fields: Final = tuple(fields)
        self._hash = hash(self.fields)
        names = [name for field in fields for name in (field.name, *field.aliases)]
        if len(set(names)) != len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise DeclarationError(f"fields declared twice: {', '.join(twice)} (an alias counts as a name)")
        if not fields:
            raise DeclarationError("a schema needs at least one field")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the fields, in order."""
        return tuple(self._by_name)

    def replace(self, name: str, *fields: Field) -> Schema:
        """Return a schema with `fields` (any number, even none) in place of the field `name`."""
        at = self.names.index(name)
        return Schema(*self.fields[:at], *fields, *self.fields[at + 1 :])

    def __getitem__(self, name: str) -> Field:
        if name not in self._by_name:
            raise DeclarationError(f"there is no field {name!r} here; choose one of {', '.join(self.names)}")
        return self._by_name[name]

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __iter__(self) -> Iterator[Field]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schema) and self.fields == other.fields

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[type[Schema], tuple[Field, ...]]:
        return Schema, self.fields  # hashes of strings differ between processes

    def __repr__(self) -> str:
        return f"Schema({', '.join(map(repr, self.fields))})"
