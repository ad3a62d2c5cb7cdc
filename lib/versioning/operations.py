"""The steps of a migration: each operation states its effect once, as data, for both directions.

An operation gives the schema that it leads to. For each direction it gives the fields that it fills or changes, as expressions
over the earlier fields (`lib.versioning.expressions`). A renderer gets all this as an `Effect`:

    remove the fields in `gone`, and remember their values
    for name, value in `values`:       an existing field is replaced; a new one is filled if it is absent or None,
                                       otherwise it is kept

The two directions together determine what a migration loses: the value of a removed field, if the other direction, applied to
the result, would restore a different value.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

from lib.versioning.expressions import CONVERSIONS, Computed, Constant, Copy, Expression, convert, join, part
from lib.versioning.schema import NO_DEFAULT, DeclarationError, Field, Schema, check_name, is_unicode

Values = Mapping[str, Expression]

#: Conversions that a step may use; a float is converted to an integer only backward.
_DECLARABLE: Final = [pair for pair in CONVERSIONS if pair != ("float", "integer")]


@dataclass(frozen=True)
class Effect:
    """The effect of one direction of an operation on the fields of `before`. `back` is what the other direction fills.

    Raises DeclarationError for a new field that nothing fills, and for an expression that does not fit its field.
    """

    before: Schema
    after: Schema
    values: Values
    back: Values

    def __post_init__(self) -> None:
        if empty := [
            name for name in self.after.names if name not in self.before and name not in self.values
        ]:
            raise DeclarationError(f"nothing fills {', '.join(empty)}")
        for name, value in self.values.items():
            field, sources = self.after[name], [self.before[check_name(source)] for source in value.sources]
            fits = value.type(self.before) == field.type
            fits &= field.nullable or not any(source.nullable for source in sources)
            fits &= not isinstance(value, Copy) or sources[0].length == field.length
            if not fits:
                raise DeclarationError(f"{field.name} can't be {value}: type, length or nullability differ")

    @cached_property
    def gone(self) -> tuple[str, ...]:
        """The fields that are removed."""
        return tuple(name for name in self.before.names if name not in self.after)

    @cached_property
    def lost(self) -> tuple[str, ...]:
        """The removed fields that the other direction may not restore exactly."""
        return tuple(name for name in self.gone if not self._comes_back(name))

    def _comes_back(self, name: str) -> bool:
        """Whether the other direction restores a field exactly: yes if it was moved, or if its two parts are joined."""
        whole = self.back[name]
        halves = [self.values.get(source) for source in whole.sources]
        if isinstance(whole, Copy):
            return halves == [Copy(name)]
        separator = whole.arguments[0] if isinstance(whole, Computed) and whole.arguments else None
        return len(halves) == 2 and halves == [part(name, separator, 0), part(name, separator, 1)]

    @cached_property
    def may_fail(self) -> Mapping[str, Computed]:
        """The values that may have no result; of values that always fail together, for one reason, only the first."""
        computed = [(name, v) for name, v in self.values.items() if isinstance(v, Computed) and v.reason]
        first = {(v.sources, v.reason, v.hint): (name, v) for name, v in reversed(computed)}
        return dict(reversed(first.values()))

    @property
    def recheck(self) -> bool:
        """Whether a valid record may become invalid, so that the result must be validated again."""
        return any(isinstance(value, Computed) for value in self.values.values())


@dataclass(frozen=True)
class Operation(ABC):
    """One step of a migration. `before` is the schema before the step, in both directions."""

    name: str

    @abstractmethod
    def apply(self, before: Schema) -> Schema:
        """Return the schema after this step; raise DeclarationError if the step is impossible there."""

    @abstractmethod
    def forward(self, before: Schema) -> Values:
        """Return the fields that an upgrade fills or changes, over the fields of `before`."""

    @abstractmethod
    def backward(self, before: Schema) -> Values:
        """Return the fields that a downgrade fills or changes, over the fields of the schema after this step."""


@dataclass(frozen=True)
class AddField(Operation):
    """Add a field, filled with `default`, with a copy of another field, or (if nullable) with None.

    Backward, it is removed; its value is lost if filling would give a different one.
    """

    type: str
    nullable: bool = False
    default: Any = NO_DEFAULT
    length: int | None = None
    copy_from: str | None = None

    def field(self) -> Field:
        """The field in the later schema. A copied field has no static default."""
        nothing_given = self.default is NO_DEFAULT and self.copy_from is None
        default = None if nothing_given and self.nullable else self.default
        return Field(self.name, self.type, self.nullable, default, self.length)

    def apply(self, before: Schema) -> Schema:
        field = self.field()
        if self.copy_from is not None and self.default is not NO_DEFAULT:
            raise DeclarationError("give default or copy_from, not both")
        if self.copy_from is None and field.default is NO_DEFAULT:
            raise DeclarationError(
                "existing records have no value for it: make it nullable, or give default or copy_from"
            )
        if field.name in before:
            raise DeclarationError("the field exists already")
        return Schema(*before, field)

    def forward(self, before: Schema) -> Values:
        if self.copy_from is not None:
            return {self.name: Copy(self.copy_from)}
        return {self.name: Constant(self.field().default, self.type)}

    def backward(self, before: Schema) -> Values:
        return {}


@dataclass(frozen=True)
class DropField(Operation):
    """Drop a field; its values are lost. Backward, it is restored with `default`, or with None if it is nullable."""

    default: Any = NO_DEFAULT

    def restored(self, before: Schema) -> Field:
        """Return the field as the backward direction restores it; its default is what fills it."""
        field = before[self.name]
        if self.default is not NO_DEFAULT:
            return replace(field, default=self.default)
        return replace(field, default=None) if field.default is NO_DEFAULT and field.nullable else field

    def apply(self, before: Schema) -> Schema:
        if self.restored(before).default is NO_DEFAULT:
            raise DeclarationError(
                "it is required and has no default: give the default with which a downgrade restores it"
            )
        return before.replace(self.name)

    def forward(self, before: Schema) -> Values:
        return {}

    def backward(self, before: Schema) -> Values:
        field = self.restored(before)
        return {self.name: Constant(field.default, field.type)}


@dataclass(frozen=True)
class RenameField(Operation):
    """Give a field another name."""

    to: str

    def apply(self, before: Schema) -> Schema:
        check_name(self.to)
        if self.to in before:
            raise DeclarationError(f"a field {self.to!r} exists already")
        return before.replace(self.name, replace(before[self.name], name=self.to))

    def forward(self, before: Schema) -> Values:
        return {self.to: Copy(self.name)}

    def backward(self, before: Schema) -> Values:
        return {self.name: Copy(self.to)}


@dataclass(frozen=True)
class ConvertField(Operation):
    """Convert a field to another type: integer to float, integer to string and back, or dates to date-times.

    A value that can't be converted exactly fails. `length` limits the string that an integer becomes. Backward, a date-time
    stays unchanged, because a field for dates accepts date-times as well: the same instant in another spelling.
    """

    to: str
    length: int | None = None

    def apply(self, before: Schema) -> Schema:
        field = before[self.name]
        if (field.type, self.to) not in _DECLARABLE:
            known = ", ".join(f"{a} to {b}" for a, b in _DECLARABLE)
            raise DeclarationError(f"can't convert {field.type} to {self.to}; choose one of {known}")
        default = field.default
        if default is not NO_DEFAULT and default is not None:
            function, reason = CONVERSIONS[field.type, self.to]
            if (default := function(default)) is None:
                raise DeclarationError(f"its default {field.default!r} can't be converted: {reason}")
        return before.replace(self.name, replace(field, type=self.to, default=default, length=self.length))

    def forward(self, before: Schema) -> Values:
        return {self.name: convert(self.name, (before[self.name].type, self.to))}

    def backward(self, before: Schema) -> Values:
        old = before[self.name].type
        return {} if old == "timestamp" else {self.name: convert(self.name, (self.to, old))}


@dataclass(frozen=True)
class SplitField(Operation):
    """Split a string field in two at the first `separator`; backward they are joined again.

    A value without a separator fails; backward, a pair fails if only one half is None. If the first half contains the separator
    or ends with a part of it, the joined value would be split elsewhere next time: such halves count as lost.
    """

    into: tuple[str, str]
    separator: str

    def apply(self, before: Schema) -> Schema:
        field = before[self.name]
        if field.type != "string":
            raise DeclarationError(f"only a string can be split, not {field.type}")
        if type(self.into) is not tuple or len(self.into) != 2:
            raise DeclarationError(f"into must be a pair of names, not {self.into!r}")
        if type(self.separator) is not str or not self.separator or not is_unicode(self.separator):
            raise DeclarationError(
                f"separator must be Unicode text of at least one character, not {self.separator!r}"
            )
        for name in self.into:
            if check_name(name) in before:
                raise DeclarationError(f"a field {name!r} exists already")
        default = None if field.default is None else NO_DEFAULT
        halves = (Field(name, "string", field.nullable, default, field.length) for name in self.into)
        return before.replace(self.name, *halves)

    def forward(self, before: Schema) -> Values:
        return {name: part(self.name, self.separator, at) for at, name in enumerate(self.into)}

    def backward(self, before: Schema) -> Values:
        first, second = self.into
        return {self.name: join(first, self.separator, second)}
