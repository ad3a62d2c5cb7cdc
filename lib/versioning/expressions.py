"""Expressions for the fields of a result: an operation describes its effect with five kinds of them.

An operation states each new field in each direction, for example `{"name": join("first", " ", "last")}`. The code for records,
Arrow tables and SQL and the verdicts on compatibility are derived from that; none of them knows the operations. A renderer
distinguishes three kinds:

- `Copy`: the unchanged value of a field. A renderer shares it if possible; nothing can fail.
- `Constant`: the same value in every record. Nothing can fail.
- `Computed`, made by `convert`, `part` and `join`: a function of the values of `sources`, followed by `arguments`. The result
  is None if a source is None, or if there is no exact result. So every renderer finds failures by one rule: *a source is not
  None, but the result is*. `reason` gives the cause in fixed words; it is None if the function cannot fail.

Generated Python calls the functions of values below. `lib.versioning.dialects` has an SQL form with the same name for each.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from lib.versioning.schema import Schema, describe

# ── Functions of values: None in, None out, and None if there is no exact result ─────────────────────────────────

_CANONICAL_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,18}")


def integer_to_float(value: int | None) -> float | None:
    """Convert exactly, or return None: above 2**53 not every integer is a float."""
    return float(value) if value is not None and int(float(value)) == value else None


def float_to_integer(value: float | None) -> int | None:
    """Convert exactly, or return None for a fraction, an infinity or NaN."""
    return int(value) if value is not None and -(2**63) <= value < 2**63 and int(value) == value else None


def integer_to_string(value: int | None) -> str | None:
    """Write in decimal."""
    return None if value is None else str(value)


def string_to_integer(value: str | None) -> int | None:
    """Read the canonical decimal form, the only one that converts back to the same text."""
    if value is None or not _CANONICAL_INTEGER.fullmatch(value):
        return None
    return int(value) if -(2**63) <= int(value) < 2**63 else None


def to_date_time(value: str | None) -> str | None:
    """Write a date as its midnight; leave a date-time unchanged."""
    return value + "T00:00:00" if value is not None and len(value) == 10 else value


def split_part(value: str | None, separator: str, number: int) -> str | None:
    """Return part 0 or 1 of a text that is split at the first separator."""
    return value.split(separator, 1)[number] if value is not None and separator in value else None


def join_parts(first: str | None, second: str | None, separator: str) -> str | None:
    """Join two texts."""
    return None if first is None or second is None else first + separator + second


#: The function that converts a value from one type to another, and the reason if it can fail. For timestamps: from dates to
#: date-times.
CONVERSIONS: Final[dict[tuple[str, str], tuple[Callable[[Any], Any], str | None]]] = {
    ("integer", "float"): (integer_to_float, "no exact float"),
    ("float", "integer"): (float_to_integer, "no exact 64-bit integer"),
    ("integer", "string"): (integer_to_string, None),
    ("string", "integer"): (string_to_integer, "no 64-bit integer in canonical form"),
    ("timestamp", "timestamp"): (to_date_time, None),
}
#: All functions of values.
FUNCTIONS: Final = (*(function for function, _ in CONVERSIONS.values()), split_part, join_parts)


# ── Expressions ──────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Copy:
    """The unchanged value of the field `source`."""

    source: str

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of the fields that it uses."""
        return (self.source,)

    def type(self, before: Schema) -> str:
        """Return the type of its result; raises DeclarationError if `before` has no such field."""
        return before[self.source].type

    def __str__(self) -> str:
        return f"a copy of {self.source}"


@dataclass(frozen=True)
class Constant:
    """The same value in every record: None, or a value of type `kind`."""

    value: Any
    kind: str
    sources: ClassVar[tuple[str, ...]] = ()

    def type(self, before: Schema) -> str:
        """The type of its result."""
        return self.kind

    def __str__(self) -> str:
        return describe(self.value)


@dataclass(frozen=True)
class Computed:
    """The result of `function` for the values of `sources` and `arguments`; None if there is no exact result.

    `words` describe it; an error message contains `hint` and the values.
    """

    function: Callable[..., Any]
    sources: tuple[str, ...]
    arguments: tuple[Any, ...]
    kind: str
    reason: str | None
    words: str
    hint: str = ""

    def type(self, before: Schema) -> str:
        """The type of its result."""
        return self.kind

    def call(self, *values: str) -> str:
        """Return the call as text, from the text for each source value: Python source if those texts are Python source."""
        return f"{self.function.__name__}({', '.join((*values, *map(repr, self.arguments)))})"

    def __str__(self) -> str:
        return self.words


Expression = Copy | Constant | Computed


def convert(source: str, kinds: tuple[str, str]) -> Computed:
    """Convert a field from one type to another; the pair is one of `CONVERSIONS`."""
    function, reason = CONVERSIONS[kinds]
    return Computed(function, (source,), (), kinds[1], reason, f"{source} as {kinds[1]}")


def part(source: str, separator: str, number: int) -> Computed:
    """Take part 0 or 1 of a string split at the first separator. Fails if there is no separator."""
    reason, hint = "no separator to split at", f"the separator is {separator!r}, "
    words = f"the part of {source} {('before', 'after')[number]} the first {separator!r}"
    return Computed(split_part, (source,), (separator, number), "string", reason, words, hint)


def join(first: str, separator: str, second: str) -> Computed:
    """Join two strings with a separator. Fails if only one of them is None."""
    reason = f"cannot be joined with {second}, because only one of them is null"
    words = f"{first} and {second}, joined with {separator!r}"
    return Computed(join_parts, (first, second), (separator,), "string", reason, words)
