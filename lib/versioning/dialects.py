"""The SQL of each database for a migration: names, types, literals, conversions, and a failure with a count.

Reserved words come from SQLAlchemy, which is imported when the first script is made. Every expression is NULL if its argument
is NULL *or can't be converted exactly*. So one rule finds the offending rows: the argument is not NULL, the result is.
"""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing
from datetime import datetime
from functools import cached_property
from importlib import import_module
from typing import Any, ClassVar, Final

from lib.versioning.expressions import Computed
from lib.versioning.schema import Field, is_unicode, to_utc

_TYPES: Final = {
    "string": "TEXT",
    "integer": "BIGINT",
    "float": "DOUBLE PRECISION",
    "boolean": "BOOLEAN",
    "timestamp": "TIMESTAMP",
}


class SqlError(ValueError):
    """Something can't be expressed in the SQL of a database; the message says what, and what to do instead."""


class Dialect:
    """The dialect of PostgreSQL. Other dialects override what differs.

    Timestamps are TIMESTAMP in UTC. Offsets may go up to ±15:59 (SQLite: ±14:59); the database refuses larger ones, which no
    place on Earth uses. PostgreSQL's text can't hold the NUL character, nor can a script.
    """

    name: ClassVar[str] = "postgresql"
    title: ClassVar[str] = "PostgreSQL"
    #: Reserved words that are missing from SQLAlchemy's list for one of the databases.
    reserved: ClassVar[frozenset[str]] = frozenset(
        "collation concurrently lateral nothing returning system_user tablesample with".split()
    )
    #: Column names that the database reserves.
    kept: ClassVar[frozenset[str]] = frozenset("tableoid xmin cmin xmax cmax ctid".split())
    #: Whether the script itself can test for the existence of a column.
    guarded: ClassVar[bool] = True
    #: The statement that begins a transaction.
    begin: ClassVar[str] = "BEGIN"
    #: Makes text without an offset mean UTC, inside a transaction.
    in_utc: ClassVar[tuple[str, ...]] = ("SET LOCAL TIME ZONE 'UTC'",)
    #: Lets only one transaction at a time create what all tables share.
    alone: ClassVar[tuple[str, ...]] = ("SELECT pg_advisory_xact_lock(1836410983)",)
    double: ClassVar[str] = "DOUBLE PRECISION"
    least: ClassVar[str] = "LEAST"
    position: ClassVar[str] = "strpos"

    # ── Names, types and literals ────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def _sqlalchemy(self) -> Any:
        return import_module(f"sqlalchemy.dialects.{self.name}").dialect()

    def quote(self, name: str) -> str:
        """Return a name, quoted if it is a reserved word or has capitals."""
        preparer = self._sqlalchemy.identifier_preparer
        return preparer.quote_identifier(name) if name in self.reserved else preparer.quote(name)

    def fold(self, name: str) -> str:
        """Normalise a name: two names with the same result are equal for the database."""
        return name if self.name == "postgresql" else name.lower()

    def column(self, table: str, name: str) -> str:
        """Return a column for use in an expression.

        A quoted column gets its table's name, because SQLite reads a quoted name without such a column as a *string*.
        """
        quoted = self.quote(name)
        return quoted if quoted == name else f"{self.quote(table)}.{quoted}"

    def type(self, field: Field) -> str:
        """Return the type of a field's column; for SQLite, the same names determine the affinity."""
        return f"VARCHAR({field.length})" if field.length else _TYPES[field.type]

    def literal(self, value: Any, kind: str = "string") -> str:
        """Write a value of a field's type. Raises SqlError for a value that the database can't hold."""
        if value is None:
            return "NULL"
        if kind == "timestamp":
            return self.timestamp_literal(to_utc(value))
        if isinstance(value, str):
            if "\0" in value or not is_unicode(value):
                raise SqlError(f"{value!r}: a script can't contain the character NUL or a lone surrogate")
            return "'" + value.replace("'", "''") + "'"
        if isinstance(value, float):
            return self.float_literal(value)
        return str(value).upper()

    def timestamp_literal(self, moment: datetime) -> str:
        """Write a datetime in UTC without an offset."""
        return f"TIMESTAMP '{moment.isoformat(' ')}'"

    def float_literal(self, value: float) -> str:
        """Write a float as text, which is read exactly, including infinities and NaN."""
        return f"CAST('{value!r}' AS {self.double})"

    # ── Expressions ──────────────────────────────────────────────────────────────────────────────────────────────

    def utc(self, value: str) -> str:
        """Convert a timestamp of any column type, including text with an offset, to TIMESTAMP in UTC."""
        return f"CAST({value} AS TIMESTAMP WITH TIME ZONE) AT TIME ZONE 'UTC'"

    def call(self, value: Computed, *sources: str) -> str:
        """Return a computed value from the SQL of its sources. Its function has the same name here as in `expressions`."""
        return getattr(self, value.function.__name__)(*sources, *value.arguments)

    def integer_to_float(self, value: str) -> str:
        # 9223372036854774784 is the greatest float below 2**63; no greater integer has an exact float.
        nearest = f"CAST({self.least}({value}, 9223372036854774784) AS {self.double})"
        return f"CASE WHEN CAST({nearest} AS BIGINT) = {value} THEN CAST({value} AS {self.double}) END"

    def float_to_integer(self, value: str) -> str:
        # NaN is above every number here.
        exact = (
            f"{value} = floor({value}) AND {value} >= -9223372036854775808 AND {value} < 9223372036854775808"
        )
        return f"CASE WHEN {exact} THEN CAST({value} AS BIGINT) END"

    def integer_to_string(self, value: str) -> str:
        return f"CAST({value} AS TEXT)"

    def string_to_integer(self, value: str) -> str:
        inside = f"CAST({value} AS NUMERIC) BETWEEN -9223372036854775808 AND 9223372036854775807"
        return (
            f"CASE WHEN {value} ~ '^(0|-?[1-9][0-9]{{0,18}})$' THEN "
            f"CASE WHEN {inside} THEN CAST({value} AS BIGINT) END END"
        )

    def to_date_time(self, value: str) -> str:
        return value  # a date is already its midnight

    def split_part(self, value: str, separator: str, number: int) -> str:
        at = f"{self.position}({value}, {self.literal(separator)})"
        part = f"{at} + {len(separator)}" if number else f"1, {at} - 1"
        return f"CASE WHEN {at} > 0 THEN substr({value}, {part}) END"

    def join_parts(self, first: str, second: str, separator: str) -> str:
        return f"({first} || {self.literal(separator)} || {second})"

    def differ(self, a: str, b: str) -> str:
        """Return whether two values differ; NULL is a value like any other."""
        return f"{a} IS DISTINCT FROM {b}"

    # ── Statements ───────────────────────────────────────────────────────────────────────────────────────────────

    def add_column(self, table: str, column: str, field: Field, default: str | None) -> str:
        """Add a nullable column, or one with a default, which fills the old rows immediately, so that the column may be required."""
        guard = "IF NOT EXISTS " if self.guarded else ""
        tail = f" DEFAULT {default}" if default else ""
        tail += " NOT NULL" if default and not field.nullable else ""
        return (
            f"ALTER TABLE {self.quote(table)} ADD COLUMN {guard}{self.quote(column)} {self.type(field)}{tail}"
        )

    def fail_if_any(self, table: str, predicate: str, reason: str) -> str:
        """Fail with `table.field: fixed reason (rows: …)` if a predicate holds for any row."""
        body = (
            f"DECLARE bad BIGINT := (SELECT count(*) FROM {self.quote(table)} WHERE {predicate}); "
            f"BEGIN IF bad > 0 THEN RAISE EXCEPTION USING MESSAGE = {self._message('bad', reason)}; END IF; END"
        )
        tag = "$$"
        while tag in body:
            tag = f"$x{tag[1:]}"
        return f"DO {tag} {body} {tag}"

    def _message(self, count: str, reason: str) -> str:
        return f"{self.literal(reason + ' (rows: ')} || {count} || ')'"


class SQLite(Dialect):
    """The dialect of SQLite. Its timestamps are text, spelled as in records, without offset; it can't hold NaN.

    It can't make an existing column required (the contract checks once that no value is NULL), and rewrites the whole table to
    drop a column.
    """

    name = "sqlite"
    title = "SQLite"
    kept = frozenset()
    guarded = False
    begin = "BEGIN IMMEDIATE"
    in_utc = ()
    alone = ()  # only one transaction can write at a time anyway
    double = "REAL"
    least = "min"
    position = "instr"

    def literal(self, value: Any, kind: str = "string") -> str:
        # TRUE would mean a column if there is one of this name.
        return super().literal(int(value) if isinstance(value, bool) else value, kind)

    def timestamp_literal(self, moment: datetime) -> str:
        return f"'{moment.isoformat()}'"

    def float_literal(self, value: float) -> str:
        if math.isnan(value):
            raise SqlError(f"{self.title} has no NaN: give another default")
        # SQLite 3.40 reads one decimal in 7,000 as the neighbouring float, but 18 digits correctly, down to about 1e-290; 3.53 reads all.
        for text in (repr(value).replace("inf", "9e999"), f"{value:.17e}"):
            with closing(sqlite3.connect(":memory:")) as database:
                if database.execute(f"SELECT {text}").fetchone() == (value,):
                    return text
        raise SqlError(
            f"{self.title} {sqlite3.sqlite_version} can't read {value!r} exactly: give another default"
        )

    def utc(self, value: str) -> str:
        # SQLite rounds to milliseconds, so the fraction is removed before the conversion and put back afterwards.
        offset = f"{value} GLOB '*[+-]??:??'"
        seconds = f"substr({value}, 1, 19) || CASE WHEN {offset} THEN substr({value}, -6) ELSE '' END"
        fraction = f"CASE WHEN {offset} THEN substr({value}, 20, length({value}) - 25) ELSE rtrim(substr({value}, 20), 'Z') END"
        return f"strftime('%Y-%m-%dT%H:%M:%S', {seconds}) || rtrim(rtrim({fraction}, '0'), '.')"

    def float_to_integer(self, value: str) -> str:
        # A cast saturates at the ends of the range, and the comparison is exact.
        return f"CASE WHEN CAST({value} AS INTEGER) = {value} THEN CAST({value} AS INTEGER) END"

    def string_to_integer(self, value: str) -> str:
        number = f"CAST({value} AS INTEGER)"  # stops at the ends of the range
        return f"CASE WHEN CAST({number} AS TEXT) = {value} THEN {number} END"

    def differ(self, a: str, b: str) -> str:
        return f"{a} IS NOT {b}"

    def fail_if_any(self, table: str, predicate: str, reason: str) -> str:
        # SQLite can raise an error only in a trigger. An invalid JSON path is an error that shows its text.
        failure = f"CASE WHEN count(*) > 0 THEN json_extract('{{}}', {self._message('count(*)', reason)}) END"
        return f"SELECT {failure} FROM {self.quote(table)} WHERE {predicate}"


DIALECTS: dict[str, Dialect] = {dialect.name: dialect for dialect in (Dialect(), SQLite())}


def dialect_named(name: str) -> Dialect:
    """Return a dialect by name; raise SqlError, listing the names, if there is none."""
    if name not in DIALECTS:
        raise SqlError(f"dialect {name!r}: choose one of {', '.join(DIALECTS)}")
    return DIALECTS[name]
