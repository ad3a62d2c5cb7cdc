"""The plan of a migration for a table: columns to add, the values that fill them, columns to drop, and possible failures.

Every field is followed through the steps, and ends as an expression over the initial columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from lib.versioning.dialects import Dialect, SqlError, dialect_named
from lib.versioning.expressions import Computed, Constant, Copy, Expression
from lib.versioning.history import SchemaHistory
from lib.versioning.schema import Field


class Condition(NamedTuple):
    """A condition that no row may meet: an SQL predicate, the message as `table.field: fixed reason`, and the remedy."""

    predicate: str
    reason: str
    remedy: str = "fix the rows"


@dataclass(frozen=True)
class Value:
    """A field followed through the steps: an expression over the initial columns.

    `column` is the column it comes from, unchanged if `plain`; `constant` is its value if that is the same in all rows.
    `sources` are all columns in it; `version` is the last version that changed the field.
    """

    sql: str
    sources: frozenset[str] = frozenset()
    column: str | None = None
    plain: bool = False
    constant: Constant | None = None
    version: int = 0


@dataclass(frozen=True)
class Added:
    """A column to add for a field of the target version, under its own name or a temporary one, and the value that fills it.

    `checks` apply to the filled values; a row that is already filled keeps its value.
    """

    field: Field
    column: str
    value: Value
    fill: str | None
    checks: tuple[Condition, ...]


@dataclass(frozen=True)
class Plan:
    """Everything that a migration does to a table, in one dialect. `checks` apply to all rows; `absent` replaces columns."""

    history: SchemaHistory
    from_version: int
    to_version: int
    sql: Dialect
    added: tuple[Added, ...]
    dropped: tuple[str, ...]
    checks: tuple[Condition, ...]
    absent: Mapping[str, str] = field(default_factory=dict)

    @property
    def table(self) -> str:
        """The name of the table, quoted if necessary."""
        return self.sql.quote(self.history.name)

    def column(self, name: str) -> str:
        """Return a column for use in an expression."""
        return self.absent.get(name) or self.sql.column(self.history.name, name)

    def unfilled(self, added: Added) -> str:
        """Return the predicate for the rows in which to fill a column. If it may stay NULL, only rows with a value for it."""
        empty = f"{self.column(added.column)} IS NULL"
        optional = added.field.nullable and not added.value.constant
        return f"{empty} AND {added.value.sql} IS NOT NULL" if optional else empty

    def fill_checks(self, added: Added) -> list[Condition]:
        """Return the checks of the rows in which a column is filled."""
        empty = f"{self.column(added.column)} IS NULL"
        return [check._replace(predicate=f"{empty} AND {check.predicate}") for check in added.checks]

    def required_conditions(self) -> dict[str, str]:
        """Conditions that every row must meet before contract drops anything, by column.

        They are about required columns, and about columns that hold the values of dropped ones.
        """
        found = {}
        for a in self.added:
            filled = f"{self.column(a.column)} IS NOT NULL"
            if not a.field.nullable:
                found[a.column] = filled
            elif a.value.sources.intersection(self.dropped):
                found[a.column] = f"({filled} OR {a.value.sql} IS NULL)"
        return found


def migration_plan(
    history: SchemaHistory, from_version: int, to_version: int, dialect: str = "postgresql"
) -> Plan:
    """Work out what to do to the table of a history; raise UnknownVersionError, and SqlError for what SQL can't do."""
    sql, before, after = dialect_named(dialect), history.schema(from_version), history.schema(to_version)
    columns = {name: sql.column(history.name, name) for name in before.names}
    values, checks = _follow(history, from_version, to_version, sql, columns)
    stay = {name for name, value in values.items() if value.plain and value.column == name}
    added = tuple(
        _added(
            history.name, sql, f, values[f.name], f"{f.name}_v{to_version}" if f.name in before else f.name
        )
        for f in after
        if f.name not in stay
    )
    _refuse_names(history.name, sql, [*before.names, *(a.column for a in added)])
    dropped = tuple(name for name in before.names if name not in stay)
    return Plan(history, from_version, to_version, sql, added, dropped, tuple(checks))


def losses(plan: Plan, stay: Mapping[str, str], go: Mapping[str, str]) -> dict[str, str]:
    """Return predicates, by field, for the rows whose value in a dropped column the opposite migration would not restore.

    `stay` gives all fields of the target version as SQL, `go` the columns of fields of the version before. As in records, NULL
    counts as lost if the opposite migration would restore a value; but not if that value comes from what this NULL filled.
    """
    filled_from = {a.field.name: a.value.sources for a in plan.added}
    back, _ = _follow(plan.history, plan.to_version, plan.from_version, plan.sql, stay)
    found = {}
    for name, column in go.items():
        here, restored = plan.column(column), back[name].sql
        moved = any(name in filled_from.get(source, ()) for source in back[name].sources)
        predicate = f"{here} IS NOT NULL AND " if moved else ""
        if plan.history.schema(plan.from_version)[name].type == "timestamp":
            here, restored = plan.sql.utc(here), restored if back[name].constant else plan.sql.utc(restored)
        found[name] = predicate + plan.sql.differ(here, restored)
    return found


# ── Following the fields ─────────────────────────────────────────────────────────────────────────────────────────


def _follow(
    history: SchemaHistory, start: int, end: int, sql: Dialect, columns: Mapping[str, str]
) -> tuple[dict[str, Value], list[Condition]]:
    """Follow the fields, whose columns are given as SQL, through all steps; also return the checks for failures on the way."""
    values = {name: Value(text, frozenset([name]), name, plain=True) for name, text in columns.items()}
    checks = []
    for step, effect in history.effects(start, end):
        new = {}
        for name, value in effect.values.items():
            sources = [values[source] for source in value.sources]
            new[name] = replace(
                _value(sql, value, sources, replaces=name in effect.before), version=step.version
            )
        for name, value in effect.may_fail.items():
            filled = " OR ".join(f"{values[source].sql} IS NOT NULL" for source in value.sources)
            reason = f"{history.name}.{value.sources[0]}: {value.reason}"
            checks.append(Condition(f"({filled}) AND {new[name].sql} IS NULL", reason))
        values = {name: value for name, value in values.items() if name not in effect.gone} | new
    return values, checks


def _value(sql: Dialect, value: Expression, sources: list[Value], *, replaces: bool) -> Value:
    """Return an expression in SQL, over the initial columns. One that `replaces` its field still comes from that column."""
    match value:
        case Copy():
            return sources[0]
        case Constant():
            return Value(sql.literal(value.value, value.kind), constant=value)
        case Computed():
            constants = [source.constant.value for source in sources if source.constant]
            if len(constants) == len(sources):
                same = Constant(value.function(*constants, *value.arguments), value.kind)
                return _value(sql, same, [], replaces=replaces)
            result = sql.call(value, *(source.sql for source in sources))
            columns = frozenset().union(*(source.sources for source in sources))
            return Value(result, columns, sources[0].column if replaces else None)


# ── Columns to add ───────────────────────────────────────────────────────────────────────────────────────────────


def _added(table: str, sql: Dialect, field: Field, value: Value, column: str) -> Added:
    """Return the column for a field. A column with a temporary name replaces the field's former column, and no other."""
    place = f"{table}.{field.name}"
    if column != field.name and value.column != field.name:
        raise SqlError(
            f"{place}: the table has another field of this name until that is dropped: "
            "migrate to each version in between, contract included"
        )
    fill, checks = None if value.sql == "NULL" else value.sql, []
    if field.type == "timestamp" and not value.constant:
        fill = sql.utc(value.sql)
        if sql.name == "sqlite":  # SQLite raises no error for it
            unread = f"{value.sql} IS NOT NULL AND {fill} IS NULL"
            checks.append(Condition(unread, f"{place}: not in the accepted form"))
    same = value.constant and value.constant.value
    if field.length is not None and isinstance(same, str) and len(same) > field.length:
        value = replace(value, constant=None)  # a step computed it from a shorter default
    if field.length is not None and not value.constant:  # as a record's second validation checks
        too_long = f"length({value.sql}) > {field.length}"
        checks.append(Condition(too_long, f"{place}: longer than {field.length} characters"))
    return Added(field, column, value, fill, tuple(checks))


def _refuse_names(table: str, sql: Dialect, names: list[str]) -> None:
    """Refuse names that the database reserves, can't distinguish, or truncates."""
    seen: dict[str, str] = {}
    for name in names:
        if name in sql.kept:
            raise SqlError(f"{table}.{name}: {sql.title} reserves this name: give the field another")
        other = seen.setdefault(sql.fold(name), name)
        if other != name or len(name) > 63:
            raise SqlError(
                f"{table}.{name}: {sql.title} can't distinguish it from {other!r} while both are in the table, "
                "or it is longer than 63 characters: rename the field in two steps, through a third name"
            )
