"""How each database spells what a migration needs: names, types, literals, conversions, and a failure with a count.

Reserved words are SQLAlchemy's, which is imported when the first script is made. Every expression is NULL where
its argument is NULL *or can't be converted exactly*, so that one rule finds the offending rows: an argument, no result.
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
    """Something has no form in the SQL of a database; the message names it, and what to do instead."""


class Dialect:
    """PostgreSQL. The others override what they spell differently.

    Timestamps are TIMESTAMP in UTC. Offsets may go to ±15:59 (SQLite ±14:59): the database
    refuses others, which no place on Earth uses. PostgreSQL's text holds no NUL character, and no script does.
    """

    name: ClassVar[str] = "postgresql"
    title: ClassVar[str] = "PostgreSQL"
    #: Reserved words that SQLAlchemy's list of one of the databases lacks.
    reserved: ClassVar[frozenset[str]] = frozenset(
        "collation concurrently lateral nothing returning system_user tablesample with".split()
    )
    #: Names of columns that the database keeps for itself.
    kept: ClassVar[frozenset[str]] = frozenset("tableoid xmin cmin xmax cmax ctid".split())
    #: Can the script itself test whether a column is there?
    guarded: ClassVar[bool] = True
    #: What begins a transaction.
    begin: ClassVar[str] = "BEGIN"
    #: What reads text without an offset as UTC, inside a transaction.
    in_utc: ClassVar[tuple[str, ...]] = ("SET LOCAL TIME ZONE 'UTC'",)
    #: What lets only one transaction at a time make what all tables share.
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
        """Two names with the same result are the same to the database."""
        return name if self.name == "postgresql" else name.lower()

    def column(self, table: str, name: str) -> str:
        """Return a column for use in an expression.

        A quoted one gets its table's name: SQLite takes one that is not there for a *string*.
        """
        quoted = self.quote(name)
        return quoted if quoted == name else f"{self.quote(table)}.{quoted}"

    def type(self, field: Field) -> str:
        """Return the type of a field's column; SQLite goes by the affinity of the same names."""
        return f"VARCHAR({field.length})" if field.length else _TYPES[field.type]

    def literal(self, value: Any, kind: str = "string") -> str:
        """Write a value of a field's type. Raises SqlError for what the database can't hold."""
        if value is None:
            return "NULL"
        if kind == "timestamp":
            return self.timestamp_literal(to_utc(value))
        if isinstance(value, str):
            if "\0" in value or not is_unicode(value):
                raise SqlError(f"{value!r}: the character NUL and lone surrogates can't stand in a script")
            return "'" + value.replace("'", "''") + "'"
        if isinstance(value, float):
            return self.float_literal(value)
        return str(value).upper()

    def timestamp_literal(self, moment: datetime) -> str:
        """Write a moment, which is in UTC and has no offset."""
        return f"TIMESTAMP '{moment.isoformat(' ')}'"

    def float_literal(self, value: float) -> str:
        """Write a float: as text, which is read exactly, infinities and NaN too."""
        return f"CAST('{value!r}' AS {self.double})"

    # ── Expressions ──────────────────────────────────────────────────────────────────────────────────────────────

    def utc(self, value: str) -> str:
        """Turn a timestamp of any column type, text with an offset too, into TIMESTAMP in UTC."""
        return f"CAST({value} AS TIMESTAMP WITH TIME ZONE) AT TIME ZONE 'UTC'"

    def call(self, value: Computed, *sources: str) -> str:
        """A computed value, from the SQL of its sources: its function has the same name here as in `expressions`."""
        return getattr(self, value.function.__name__)(*sources, *value.arguments)

    def integer_to_float(self, value: str) -> str:
        # 9223372036854774784 is the greatest float below 2**63: what lies above has none of its own.
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
        return value  # a date is its midnight already

    def split_part(self, value: str, separator: str, number: int) -> str:
        at = f"{self.position}({value}, {self.literal(separator)})"
        part = f"{at} + {len(separator)}" if number else f"1, {at} - 1"
        return f"CASE WHEN {at} > 0 THEN substr({value}, {part}) END"

    def join_parts(self, first: str, second: str, separator: str) -> str:
        return f"({first} || {self.literal(separator)} || {second})"

    def differ(self, a: str, b: str) -> str:
        """Tell whether two values differ, NULL being a value like any other."""
        return f"{a} IS DISTINCT FROM {b}"

    # ── Statements ───────────────────────────────────────────────────────────────────────────────────────────────

    def add_column(self, table: str, column: str, field: Field, default: str | None) -> str:
        """Add a nullable column; or one with a default, which fills old rows at once, so that it may be required."""
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
    """SQLite. Its timestamps are text, spelled as in records, without offset; it can't hold NaN.

    It has no way to require a column that is there already (the contract checks once that none is NULL), and writes the
    whole table anew to drop one.
    """

    name = "sqlite"
    title = "SQLite"
    kept = frozenset()
    guarded = False
    begin = "BEGIN IMMEDIATE"
    in_utc = ()
    alone = ()  # a transaction that writes is alone anyway
    double = "REAL"
    least = "min"
    position = "instr"

    def literal(self, value: Any, kind: str = "string") -> str:
        # TRUE would be a column where there is one of this name.
        return super().literal(int(value) if isinstance(value, bool) else value, kind)

    def timestamp_literal(self, moment: datetime) -> str:
        return f"'{moment.isoformat()}'"

    def float_literal(self, value: float) -> str:
        if math.isnan(value):
            raise SqlError(f"{self.title} has no NaN: give another default")
        # SQLite before 3.47 reads one decimal in 7,000 as its neighbour, but 18 digits right, down to about 1e-290.
        for text in (repr(value).replace("inf", "9e999"), f"{value:.17e}"):
            with closing(sqlite3.connect(":memory:")) as database:
                if database.execute(f"SELECT {text}").fetchone() == (value,):
                    return text
        raise SqlError(
            f"{self.title} {sqlite3.sqlite_version} can't read {value!r} exactly: give another default"
        )

    def utc(self, value: str) -> str:
        # SQLite rounds to milliseconds: the fraction is taken off before, and put back after.
        offset = f"{value} GLOB '*[+-]??:??'"
        seconds = f"substr({value}, 1, 19) || CASE WHEN {offset} THEN substr({value}, -6) ELSE '' END"
        fraction = f"CASE WHEN {offset} THEN substr({value}, 20, length({value}) - 25) ELSE rtrim(substr({value}, 20), 'Z') END"
        return f"strftime('%Y-%m-%dT%H:%M:%S', {seconds}) || rtrim(rtrim({fraction}, '0'), '.')"

    def float_to_integer(self, value: str) -> str:
        # A cast stops at the ends of the range, and comparing is exact.
        return f"CASE WHEN CAST({value} AS INTEGER) = {value} THEN CAST({value} AS INTEGER) END"

    def string_to_integer(self, value: str) -> str:
        number = f"CAST({value} AS INTEGER)"  # stops at the ends of the range
        return f"CASE WHEN CAST({number} AS TEXT) = {value} THEN {number} END"

    def differ(self, a: str, b: str) -> str:
        return f"{a} IS NOT {b}"

    def fail_if_any(self, table: str, predicate: str, reason: str) -> str:
        # SQLite can raise an error in a trigger only. A JSON path that makes no sense is an error that shows its text.
        failure = f"CASE WHEN count(*) > 0 THEN json_extract('{{}}', {self._message('count(*)', reason)}) END"
        return f"SELECT {failure} FROM {self.quote(table)} WHERE {predicate}"


DIALECTS: dict[str, Dialect] = {dialect.name: dialect for dialect in (Dialect(), SQLite())}


def dialect_named(name: str) -> Dialect:
    """Return a dialect; raise SqlError that lists them."""
    if name not in DIALECTS:
        raise SqlError(f"dialect {name!r}: choose one of {', '.join(DIALECTS)}")
    return DIALECTS[name]
