"""The steps of a migration: each operation knows its effect on a schema, its effect on a record, and the reverse of both.

The vocabulary is closed, so that every operation also has a form as SQL and as a change of an Arrow table. There is no
expression language.

The effect on a record is given as a few lines of Python, from which `lib.versioning.records` builds one function for a
whole chain of steps. The lines work on `r`, a copy of the record, and may call
`kept((field, value))` where a filled field was left as it was, `lost((field, value))` for a value that the opposite way
would not restore, and `failed(text)` where a value can't be converted. Only names checked by `check_name` and literals
made by `literal` stand in them.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

from lib.versioning.schema import (
    NO_DEFAULT,
    DeclarationError,
    Field,
    Schema,
    check_name,
    describe,
    is_unicode,
)


def literal(value: Any) -> str:
    """Write a string, number, boolean or None as Python source (`float('nan')` is no literal of its own)."""
    if isinstance(value, str):
        return str.__repr__(value)  # the members of an Enum of strings represent themselves otherwise
    return f"float({str(value)!r})" if type(value) is float else repr(value)


# ── Lines that several operations share ──────────────────────────────────────────────────────────────────────────


def _fill(name: str, source: str) -> Iterator[str]:
    """Put the value of the expression `source` where the field is absent or None; keep what is filled."""
    yield f"v = r.get({name!r})"
    yield f"if v is None: r[{name!r}] = {source}"
    yield f"else: kept(({name!r}, v))"


def _remove(name: str, restored: str) -> Iterator[str]:
    """Take a field away; its value, also None, is lost unless it equals what the opposite way would put there."""
    yield f"v = r.pop({name!r}, None)"
    yield f"if {_differ('v', restored)}: lost(({name!r}, v))"


def _differ(a: str, b: str) -> str:
    """The expression that tells whether two values differ; NaN equals NaN here."""
    return f"{a} is not None" if b == "None" else f"{a} != {b} and ({a} == {a} or {b} == {b})"


def _give(name: str, variable: str, source: str) -> Iterator[str]:
    """Put a variable, taken from the field `source`, where `name` is absent or None; where it differs, it is lost."""
    yield f"w = r.get({name!r})"
    yield f"if w is None: r[{name!r}] = {variable}"
    yield "else:"
    yield f"    kept(({name!r}, w))"
    yield f"    if {variable} is not None and {_differ(variable, 'w')}: lost(({source!r}, {variable}))"


def _move(old: str, new: str) -> Iterator[str]:
    yield f"v = r.pop({old!r}, None)"
    yield from _give(new, "v", old)


# ── Conversions of one value ─────────────────────────────────────────────────────────────────────────────────────

_CANONICAL_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,18}")


def integer_to_float(value: int) -> float:
    """Convert exactly, or raise ValueError: above 2**53 not every integer has a float."""
    if int(float(value)) != value:
        raise ValueError(f"no exact float (got {describe(value)})")
    return float(value)


def float_to_integer(value: float) -> int:
    """Convert exactly, or raise ValueError: a fraction, an infinity or NaN has no integer."""
    if not value.is_integer() or not -(2.0**63) <= value < 2.0**63:
        raise ValueError(f"no exact 64-bit integer (got {describe(value)})")
    return int(value)


def integer_to_string(value: int) -> str:
    """Write in decimal."""
    return str(value)


def string_to_integer(value: str) -> int:
    """Read the canonical decimal form, the only one that converts back to the same text; else raise ValueError."""
    if not _CANONICAL_INTEGER.fullmatch(value) or not -(2**63) <= int(value) < 2**63:
        raise ValueError(f"no 64-bit integer in canonical form (got {describe(value)})")
    return int(value)


def to_date_time(value: str) -> str:
    """Spell a date as its midnight; a date-time stays."""
    return value + "T00:00:00" if len(value) == 10 else value


def keep_spelling(value: str) -> str:
    """Leave a date-time as it is: a field that takes dates takes date-times as well."""
    return value


#: The function that converts a value from one type to another. Timestamps go from dates to date-times.
CONVERSIONS: Final[dict[tuple[str, str], Callable[[Any], Any]]] = {
    ("integer", "float"): integer_to_float,
    ("float", "integer"): float_to_integer,
    ("integer", "string"): integer_to_string,
    ("string", "integer"): string_to_integer,
    ("timestamp", "timestamp"): to_date_time,
}
#: Those that a step may ask for; a float becomes an integer only on the way back.
_DECLARABLE: Final = [pair for pair in CONVERSIONS if pair != ("float", "integer")]


def _convert(name: str, function: Callable[[Any], Any]) -> Iterator[str]:
    yield f"v = r.get({name!r})"
    yield "if v is not None:"
    yield f"    try: r[{name!r}] = {function.__name__}(v)"
    yield "    except ValueError as error:"
    yield f"        r[{name!r}] = None"
    yield f"        failed({name + ': '!r} + str(error))"


# ── The operations ───────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Operation(ABC):
    """One step of a migration. `before` is the schema that the step starts from, for the backward way too."""

    name: str

    #: Can a valid record come out invalid, so that the result must be validated again?
    recheck: ClassVar[bool] = False

    @abstractmethod
    def apply(self, before: Schema) -> Schema:
        """Return the schema after this step; raise DeclarationError if the step makes no sense there."""

    @abstractmethod
    def summary(self, before: Schema) -> str:
        """The step in a line, as a difference of schemas."""

    @abstractmethod
    def undone(self, before: Schema) -> str:
        """The step backward in a line."""

    @abstractmethod
    def forward(self, before: Schema) -> Iterator[str]:
        """Lines of Python that upgrade the record `r`."""

    @abstractmethod
    def backward(self, before: Schema) -> Iterator[str]:
        """Lines of Python that downgrade the record `r`."""


@dataclass(frozen=True)
class AddField(Operation):
    """Add a field, filled with `default`, with a copy of another field, or (if nullable) with None.

    Backward it is taken away; a value that differs from what filling would give is lost.
    """

    type: str
    nullable: bool = False
    default: Any = NO_DEFAULT
    length: int | None = None
    copy_from: str | None = None

    def field(self) -> Field:
        """The field as the later schema has it. A copied field has no static default."""
        nothing_given = self.default is NO_DEFAULT and self.copy_from is None
        default = None if nothing_given and self.nullable else self.default
        return Field(self.name, self.type, self.nullable, default, self.length)

    def apply(self, before: Schema) -> Schema:
        field = self.field()
        if self.copy_from is not None:
            source = before[check_name(self.copy_from)]
            if self.default is not NO_DEFAULT:
                raise DeclarationError("give default or copy_from, not both")
            if (source.type, source.length) != (
                field.type,
                field.length,
            ) or source.nullable > field.nullable:
                raise DeclarationError(f"copy_from {source.name!r}: type, length or nullability differ")
        elif field.default is NO_DEFAULT:
            raise DeclarationError(
                "existing records have no value for it: make it nullable, or give default or copy_from"
            )
        if field.name in before:
            raise DeclarationError("there is such a field already")
        return Schema(*before, field)

    def source(self) -> str:
        """The expression that fills the field."""
        return f"r[{self.copy_from!r}]" if self.copy_from else literal(self.field().default)

    def summary(self, before: Schema) -> str:
        filled = (
            f"copied from {self.copy_from}" if self.copy_from else f"filled with {self.field().default!r}"
        )
        return f"+ {self.field()}, {filled}"

    def undone(self, before: Schema) -> str:
        return f"- {self.name}"

    def forward(self, before: Schema) -> Iterator[str]:
        return _fill(self.name, self.source())

    def backward(self, before: Schema) -> Iterator[str]:
        return _remove(self.name, self.source())


@dataclass(frozen=True)
class DropField(Operation):
    """Drop a field; its values are lost. Backward it comes back with `default`, or with None if it is nullable."""

    default: Any = NO_DEFAULT

    def restored(self, before: Schema) -> Field:
        """The field as the backward way brings it back, with what fills it as its default."""
        field = before[self.name]
        if self.default is not NO_DEFAULT:
            return replace(field, default=self.default)
        return replace(field, default=None) if field.default is NO_DEFAULT and field.nullable else field

    def apply(self, before: Schema) -> Schema:
        if self.restored(before).default is NO_DEFAULT:
            raise DeclarationError(
                "it is required and has no default: give the default that the way back puts there"
            )
        return before.replace(self.name)

    def summary(self, before: Schema) -> str:
        return f"- {self.name}"

    def undone(self, before: Schema) -> str:
        return f"+ {before[self.name]}, filled with {self.restored(before).default!r}"

    def forward(self, before: Schema) -> Iterator[str]:
        return _remove(self.name, literal(self.restored(before).default))

    def backward(self, before: Schema) -> Iterator[str]:
        return _fill(self.name, literal(self.restored(before).default))


@dataclass(frozen=True)
class RenameField(Operation):
    """Give a field another name."""

    to: str

    def apply(self, before: Schema) -> Schema:
        check_name(self.to)
        if self.to in before:
            raise DeclarationError(f"there is a field {self.to!r} already")
        return before.replace(self.name, replace(before[self.name], name=self.to))

    def summary(self, before: Schema) -> str:
        return f"{self.name} → {self.to}"

    def undone(self, before: Schema) -> str:
        return f"{self.to} → {self.name}"

    def forward(self, before: Schema) -> Iterator[str]:
        return _move(self.name, self.to)

    def backward(self, before: Schema) -> Iterator[str]:
        return _move(self.to, self.name)


@dataclass(frozen=True)
class ConvertField(Operation):
    """Convert a field to another type: integer to float, integer to string and back, or dates to date-times.

    A value that can't be converted exactly fails. `length` limits the string that an integer becomes. The way back leaves
    a date-time as it is, since a field that takes dates takes date-times as well: the same instant, spelled otherwise.
    """

    to: str
    length: int | None = None

    recheck: ClassVar[bool] = True

    def conversion(self, before: Schema) -> tuple[str, str]:
        """The pair of types."""
        return before[self.name].type, self.to

    def apply(self, before: Schema) -> Schema:
        field, pair = before[self.name], self.conversion(before)
        if pair not in _DECLARABLE:
            known = ", ".join(f"{a} to {b}" for a, b in _DECLARABLE)
            raise DeclarationError(f"no conversion of {pair[0]} to {pair[1]}; there are: {known}")
        default = field.default
        if default is not NO_DEFAULT and default is not None:
            try:
                default = CONVERSIONS[pair](default)
            except ValueError as error:
                raise DeclarationError(f"its default {default!r} can't be converted: {error}") from None
        converted = replace(field, type=self.to, default=default, length=self.length)
        return before.replace(self.name, converted)

    def summary(self, before: Schema) -> str:
        return f"{self.name}: {before[self.name].type} → {self.to}"

    def undone(self, before: Schema) -> str:
        return f"{self.name}: {self.to} → {before[self.name].type}"

    def forward(self, before: Schema) -> Iterator[str]:
        return _convert(self.name, CONVERSIONS[self.conversion(before)])

    def backward(self, before: Schema) -> Iterator[str]:
        old, new = self.conversion(before)
        return _convert(self.name, keep_spelling if old == "timestamp" else CONVERSIONS[new, old])


@dataclass(frozen=True)
class SplitField(Operation):
    """Split a string field in two at the first `separator`; backward they are joined again.

    A value without a separator fails; backward so does a pair of which one half is None. Halves that would be split
    elsewhere the next time, since the first holds the separator or ends in a part of it, count as lost.
    """

    into: tuple[str, str]
    separator: str

    recheck: ClassVar[bool] = True

    def apply(self, before: Schema) -> Schema:
        field = before[self.name]
        if field.type != "string":
            raise DeclarationError(f"only a string can be split, not {field.type}")
        if type(self.into) is not tuple or len(self.into) != 2:
            raise DeclarationError(f"into: a pair of names, not {self.into!r}")
        if type(self.separator) is not str or not self.separator or not is_unicode(self.separator):
            raise DeclarationError(
                f"separator: Unicode text of at least one character, not {self.separator!r}"
            )
        for name in self.into:
            if check_name(name) in before:
                raise DeclarationError(f"there is a field {name!r} already")
        default = None if field.default is None else NO_DEFAULT
        halves = (Field(name, "string", field.nullable, default, field.length) for name in self.into)
        return before.replace(self.name, *halves)

    def summary(self, before: Schema) -> str:
        return f"{self.name} → {', '.join(self.into)}, split at {self.separator!r}"

    def undone(self, before: Schema) -> str:
        return f"{', '.join(self.into)} → {self.name}, joined with {self.separator!r}"

    def forward(self, before: Schema) -> Iterator[str]:
        no_separator = f"{self.name}: no separator to split at (the separator is {self.separator!r}, got "
        yield f"v = r.pop({self.name!r}, None)"
        yield "a = b = None"
        yield "if v is not None:"
        yield f"    a, s, b = v.partition({self.separator!r})"
        yield f"    if not s: failed({no_separator!r} + describe(v) + ')')"
        yield from _give(self.into[0], "a", self.name)
        yield from _give(self.into[1], "b", self.name)

    def backward(self, before: Schema) -> Iterator[str]:
        first, second = self.into
        yield f"a, b = r.pop({first!r}, None), r.pop({second!r}, None)"
        for name, v, other, w in ((first, "a", second, "b"), (second, "b", first, "a")):
            half_null = f"{name}: null, but {other} is not, so they can't be joined"
            yield f"if {v} is None and {w} is not None: failed({half_null!r})"
        yield f"v = None if a is None or b is None else a + {self.separator!r} + b"
        yield f"if v is not None and v.find({self.separator!r}) < len(a):"
        yield f"    lost(({first!r}, a)); lost(({second!r}, b))"
        yield from _give(self.name, "v", first)
