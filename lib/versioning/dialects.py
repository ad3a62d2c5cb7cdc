"""How each database spells what a migration needs: names, types, literals, conversions, and a failure with a count.

Reserved words and types are SQLAlchemy's, which is imported when the first script is made. Every expression is NULL where
its argument is NULL *or can't be converted exactly*, so that one rule finds the offending rows: an argument, no result.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from functools import cached_property
from importlib import import_module
from typing import Any, ClassVar

from lib.versioning.schema import Field, is_unicode


class SqlError(ValueError):
    """Something can't be told in the SQL of a database; the message names it, and what to do instead."""


class Dialect:
    """PostgreSQL. The others override what they spell differently.

    Timestamps are TIMESTAMP in UTC. Offsets may go to ±15:59 (SQLite ±14:59, MySQL -13:59 to +14:00): the database
    refuses others, which no place on Earth uses. PostgreSQL's text holds no NUL character, and no script does.
    """

    name: ClassVar[str] = "postgresql"
    title: ClassVar[str] = "PostgreSQL"
    #: Reserved words that SQLAlchemy's list lacks.
    reserved: ClassVar[frozenset[str]] = frozenset(
        "collation concurrently lateral system_user tablesample".split()
    )
    #: Can the script itself test whether a column is there?
    guarded: ClassVar[bool] = True
    #: Can a column be added that is required, if it has a default?
    adds_required: ClassVar[bool] = True
    #: What begins a transaction; none where it could not hold what changes a table.
    begin: ClassVar[tuple[str, ...]] = ("BEGIN",)
    #: What reads text without an offset as UTC, inside a transaction.
    in_utc: ClassVar[tuple[str, ...]] = ("SET LOCAL TIME ZONE 'UTC'",)
    #: What stands in every statement that needs this.
    reads_times: ClassVar[str] = "AT TIME ZONE 'UTC'"
    double: ClassVar[str] = "DOUBLE PRECISION"
    whole: ClassVar[str] = "BIGINT"
    text: ClassVar[str] = "TEXT"
    least: ClassVar[str] = "LEAST"
    position: ClassVar[str] = "strpos({value}, {separator})"

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

        A quoted one gets its table's name: one that is not there SQLite takes for a *string*, DuckDB for a function.
        """
        quoted = self.quote(name)
        return quoted if quoted == name else f"{self.quote(table)}.{quoted}"

    def type(self, field: Field) -> str:
        """Return the type of a field's column."""
        import sqlalchemy as sa

        kinds: dict[str, Any] = {
            "string": sa.String(field.length) if field.length else sa.Text(),
            "integer": sa.BigInteger(),
            "float": sa.Double(),
            "boolean": sa.Boolean(),
            "timestamp": sa.TIMESTAMP(),
        }
        compiled = self._sqlalchemy.type_compiler_instance.process(kinds[field.type])
        return compiled.removesuffix(" WITHOUT TIME ZONE")

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

    def convert(self, kinds: tuple[str, str], value: str) -> str:
        """Convert one type to another as `lib.versioning.operations` does."""
        if kinds == ("integer", "float"):
            # 9223372036854774784 is the greatest float below 2**63: what lies above has none of its own.
            nearest = f"CAST({self.least}({value}, 9223372036854774784) AS {self.double})"
            return (
                f"CASE WHEN CAST({nearest} AS {self.whole}) = {value} THEN CAST({value} AS {self.double}) END"
            )
        if kinds == ("float", "integer"):
            # NaN is above every number here.
            exact = f"{value} = floor({value}) AND {value} >= -9223372036854775808 AND {value} < 9223372036854775808"
            return f"CASE WHEN {exact} THEN CAST({value} AS {self.whole}) END"
        if kinds == ("integer", "string"):
            return f"CAST({value} AS {self.text})"
        return self.canonical_integer(value)

    def canonical_integer(self, value: str) -> str:
        """Read the canonical decimal form of a 64-bit integer."""
        inside = f"CAST({value} AS NUMERIC) BETWEEN -9223372036854775808 AND 9223372036854775807"
        return (
            f"CASE WHEN {value} ~ '^(0|-?[1-9][0-9]{{0,18}})$' THEN "
            f"CASE WHEN {inside} THEN CAST({value} AS BIGINT) END END"
        )

    def split(self, value: str, separator: str) -> tuple[str, str]:
        """Split at the first separator."""
        at = self.position.format(value=value, separator=self.literal(separator))
        return (
            f"CASE WHEN {at} > 0 THEN substr({value}, 1, {at} - 1) END",
            f"CASE WHEN {at} > 0 THEN substr({value}, {at} + {len(separator)}) END",
        )

    def join(self, first: str, separator: str, second: str) -> str:
        """Join two strings; NULL if either is."""
        return f"({first} || {self.literal(separator)} || {second})"

    def length(self, value: str) -> str:
        """Count characters."""
        return f"length({value})"

    def differ(self, a: str, b: str) -> str:
        """Tell whether two values differ, NULL being a value like any other."""
        return f"{a} IS DISTINCT FROM {b}"

    # ── Statements ───────────────────────────────────────────────────────────────────────────────────────────────

    def add_column(self, table: str, column: str, field: Field, default: str | None) -> str:
        """Add a nullable column; or one with a default, which fills old rows at once, so that it may be required."""
        guard = "IF NOT EXISTS " if self.guarded else ""
        tail = f" DEFAULT {default}" if default else ""
        tail += " NOT NULL" if default and not field.nullable and self.adds_required else ""
        return (
            f"ALTER TABLE {self.quote(table)} ADD COLUMN {guard}{self.quote(column)} {self.type(field)}{tail}"
        )

    def fail_if_any(self, table: str, predicate: str, reason: str) -> str:
        """Fail with `table.field: fixed reason (rows: …)` if a predicate holds for any row."""
        body = (
            f"DECLARE bad BIGINT := (SELECT count(*) FROM {self.quote(table)} WHERE {predicate}); "
            f"BEGIN IF bad > 0 THEN RAISE EXCEPTION USING MESSAGE = {self._told('bad', reason)}; END IF; END"
        )
        return dollar_quoted(body)

    def _told(self, count: str, reason: str) -> str:
        return f"{self.literal(reason + ' (rows: ')} || {count} || ')'"


class DuckDB(Dialect):
    """DuckDB. SQLAlchemy knows it not: its types are PostgreSQL's, and so are most reserved words.

    It drops no column that stands before one with an index: the key comes first.
    """

    name = "duckdb"
    title = "DuckDB"
    reserved = Dialect.reserved | frozenset(
        "anti asof at by describe glob lambda pivot pivot_longer pivot_wider positional qualify semi show summarize "
        "unpack unpivot".split()
    )
    adds_required = False  # not together with IF NOT EXISTS
    in_utc = ("SET TimeZone = 'UTC'",)
    reads_times = "timezone('UTC'"

    @cached_property
    def _sqlalchemy(self) -> Any:
        return POSTGRESQL._sqlalchemy

    def utc(self, value: str) -> str:
        return f"timezone('UTC', CAST({value} AS TIMESTAMPTZ))"

    def canonical_integer(self, value: str) -> str:
        matches = f"regexp_full_match({value}, '0|-?[1-9][0-9]{{0,18}}')"
        return f"CASE WHEN {matches} THEN TRY_CAST({value} AS BIGINT) END"

    def fail_if_any(self, table: str, predicate: str, reason: str) -> str:
        failure = f"CASE WHEN count(*) > 0 THEN error({self._told('count(*)', reason)}) END"
        return f"SELECT {failure} FROM {self.quote(table)} WHERE {predicate}"


class SQLite(Dialect):
    """SQLite. Its timestamps are text, spelled as in records, without offset; it can't hold NaN.

    It has no way to require a column that is there already (the contract checks once that none is NULL), and writes the
    whole table anew to drop one.
    """

    name = "sqlite"
    title = "SQLite"
    reserved = frozenset(["nothing", "returning", "with"])
    guarded = False
    begin = ("BEGIN IMMEDIATE",)
    in_utc = ()
    double = "REAL"
    least = "min"
    position = "instr({value}, {separator})"

    def timestamp_literal(self, moment: datetime) -> str:
        return f"'{moment.isoformat()}'"

    def float_literal(self, value: float) -> str:
        if math.isnan(value):
            raise SqlError(f"{self.title} has no NaN: give another default")
        return repr(value).replace("inf", "9e999")

    def utc(self, value: str) -> str:
        # SQLite rounds to milliseconds: the fraction is taken off before, and put back after.
        offset = f"{value} GLOB '*[+-]??:??'"
        seconds = f"substr({value}, 1, 19) || CASE WHEN {offset} THEN substr({value}, -6) ELSE '' END"
        fraction = f"CASE WHEN {offset} THEN substr({value}, 20, length({value}) - 25) ELSE rtrim(substr({value}, 20), 'Z') END"
        return f"strftime('%Y-%m-%dT%H:%M:%S', {seconds}) || {fraction}"

    def convert(self, kinds: tuple[str, str], value: str) -> str:
        if kinds == ("float", "integer"):  # a cast stops at the ends of the range, and comparing is exact
            return f"CASE WHEN CAST({value} AS INTEGER) = {value} THEN CAST({value} AS INTEGER) END"
        return super().convert(kinds, value)

    def canonical_integer(self, value: str) -> str:
        number = f"CAST({value} AS INTEGER)"  # stops at the ends of the range
        return f"CASE WHEN CAST({number} AS TEXT) = {value} THEN {number} END"

    def differ(self, a: str, b: str) -> str:
        return f"{a} IS NOT {b}"

    def fail_if_any(self, table: str, predicate: str, reason: str) -> str:
        # SQLite can raise an error in a trigger only. A JSON path that makes no sense is an error that shows its text.
        failure = f"CASE WHEN count(*) > 0 THEN json_extract('{{}}', {self._told('count(*)', reason)}) END"
        return f"SELECT {failure} FROM {self.quote(table)} WHERE {predicate}"


class MySQL(Dialect):
    """MySQL 8.0.19 or later. It commits with each statement that changes a table; it has no NaN and no infinity."""

    name = "mysql"
    title = "MySQL"
    reserved = frozenset()
    guarded = False
    begin = ()
    in_utc = ("SET time_zone = '+00:00'",)
    reads_times = "AS DATETIME(6))"
    double = "DOUBLE"
    whole = "SIGNED"
    text = "CHAR"
    position = "LOCATE({separator}, {value} COLLATE utf8mb4_bin)"

    def type(self, field: Field) -> str:
        special = {"timestamp": "DATETIME(6)", "string": "LONGTEXT"}
        return super().type(field) if field.length else special.get(field.type) or super().type(field)

    def literal(self, value: Any, kind: str = "string") -> str:
        if isinstance(value, str) and kind != "timestamp":
            value = value.replace("\\", "\\\\")
        return super().literal(value, kind)

    def float_literal(self, value: float) -> str:
        if not math.isfinite(value):
            raise SqlError(f"{self.title} has no {value}: give another default")
        return repr(value)

    def utc(self, value: str) -> str:
        return f"CAST(REPLACE({value}, 'Z', '+00:00') AS DATETIME(6))"

    def canonical_integer(self, value: str) -> str:
        inside = f"CAST({value} AS DECIMAL(20)) BETWEEN -9223372036854775808 AND 9223372036854775807"
        return (
            f"CASE WHEN {value} REGEXP '\\\\A(0|-?[1-9][0-9]{{0,18}})\\\\z' THEN "
            f"CASE WHEN {inside} THEN CAST({value} AS SIGNED) END END"
        )

    def join(self, first: str, separator: str, second: str) -> str:
        return f"CONCAT({first}, {self.literal(separator)}, {second})"

    def length(self, value: str) -> str:
        return f"char_length({value})"

    def differ(self, a: str, b: str) -> str:
        return f"NOT ({a} <=> {b})"

    def add_column(self, table: str, column: str, field: Field, default: str | None) -> str:
        if default and self.type(field) == "LONGTEXT":  # which takes a default in parentheses only
            default = f"({default})"
        return super().add_column(table, column, field, default)

    def fail_if_any(self, table: str, predicate: str, reason: str) -> str:
        # MySQL can raise an error in a procedure only. An XPath that makes no sense is an error that shows its text.
        text = f"CONCAT('~rows: ', count(*), ', ', {self.literal(reason)})"  # it shows 32 characters
        failure = f"CASE WHEN count(*) > 0 THEN extractvalue('<x/>', {text}) END"
        return f"SELECT {failure} FROM {self.quote(table)} WHERE {predicate}"


POSTGRESQL = Dialect()
DIALECTS: dict[str, Dialect] = {d.name: d for d in (SQLite(), POSTGRESQL, MySQL(), DuckDB())}


def dialect_named(name: str) -> Dialect:
    """Return a dialect; raise SqlError that lists them."""
    if name not in DIALECTS:
        raise SqlError(f"dialect {name!r}: choose one of {', '.join(DIALECTS)}")
    return DIALECTS[name]


def to_utc(timestamp: str) -> datetime:
    """Return the moment that a valid timestamp names, in UTC and without offset; one without offset is in UTC."""
    moment = datetime.fromisoformat(timestamp)
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def dollar_quoted(body: str) -> str:
    """Make a DO statement of PostgreSQL, with a tag that the body does not hold."""
    tag = "$$"
    while tag in body:
        tag = f"$x{tag[1:]}"
    return f"DO {tag} {body} {tag}"
