"""What a migration does to a table: the columns to add, what fills them, which ones go, and what can go wrong.

Every field is followed through the steps, and ends as an expression over the columns that are there at the start.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from lib.versioning.dialects import Dialect, SqlError, dialect_named
from lib.versioning.expressions import Computed, Constant, Copy, Expression
from lib.versioning.history import SchemaHistory
from lib.versioning.schema import MISSING, Field


class Condition(NamedTuple):
    """What no row may be: a predicate in SQL, and what to say where it holds, as `table.field: fixed reason`."""

    predicate: str
    reason: str


@dataclass(frozen=True)
class Value:
    """A field on its way through the steps: an expression over the columns at the start.

    `column` is the one column that it comes from, unchanged if `plain`; `literal` is its value if it is the same in all
    rows. `sources` are all the columns in it, `version` the last one that changed the field.
    """

    sql: str
    sources: frozenset[str] = frozenset()
    column: str | None = None
    plain: bool = False
    literal: Any = MISSING
    version: int = 0

    @property
    def constant(self) -> bool:
        return self.literal is not MISSING


@dataclass(frozen=True)
class Added:
    """A column to add for a field of the target version, under its own name or a temporary one, and what fills it.

    `checks` hold for what is filled in; a row that is filled already keeps what it has.
    """

    field: Field
    column: str
    value: Value
    fill: str | None
    checks: tuple[Condition, ...]


@dataclass(frozen=True)
class Plan:
    """All that a migration does to a table, in one dialect. `checks` hold for all rows."""

    history: SchemaHistory
    from_version: int
    to_version: int
    sql: Dialect
    added: tuple[Added, ...]
    dropped: tuple[str, ...]
    checks: tuple[Condition, ...]

    @property
    def table(self) -> str:
        """The name of the table, quoted where it must be."""
        return self.sql.quote(self.history.name)

    def column(self, name: str) -> str:
        """A column for use in an expression."""
        return self.sql.column(self.history.name, name)

    def unfilled(self, added: Added) -> str:
        """The rows to fill a column in. Where it may stay NULL, only those that have something for it."""
        empty = f"{self.column(added.column)} IS NULL"
        optional = added.field.nullable and not added.value.constant
        return f"{empty} AND {added.value.sql} IS NOT NULL" if optional else empty

    def fill_checks(self, added: Added, *, there: bool = True) -> list[Condition]:
        """The checks of the rows to fill a column in: of all rows, if the column is not there yet."""
        empty = f"{self.column(added.column)} IS NULL AND " if there else ""
        return [Condition(f"{empty}{predicate}", reason) for predicate, reason in added.checks]

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
    walk = _follow(
        history, from_version, to_version, sql, {n: sql.column(history.name, n) for n in before.names}
    )
    stay = {name for name, value in walk.values.items() if value.plain and value.column == name}
    added = tuple(
        _added(walk, f, before.names, f"{f.name}_v{to_version}") for f in after if f.name not in stay
    )
    _refuse_names(walk, [*before.names, *(a.column for a in added)])
    dropped = tuple(name for name in before.names if name not in stay)
    return Plan(history, from_version, to_version, sql, added, dropped, tuple(walk.checks))


def losses(plan: Plan, stay: Mapping[str, str], go: Mapping[str, str]) -> dict[str, str]:
    """Predicates for the rows whose value in a column that goes the way back would not restore, by field.

    `stay` gives all fields of the version migrated to as SQL, `go` the columns of fields of the version before. As in
    records, NULL counts where the way back would bring a value; but not where that comes from what this NULL filled.
    """
    filled_from = {a.field.name: a.value.sources for a in plan.added}
    back = _follow(plan.history, plan.to_version, plan.from_version, plan.sql, stay).values
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


@dataclass
class _Walk:
    """The fields so far, and what can go wrong on the way to them."""

    table: str
    sql: Dialect
    values: dict[str, Value]
    checks: list[Condition] = field(default_factory=list)

    def check(self, name: str, predicate: str, reason: str) -> None:
        self.checks.append(Condition(predicate, f"{self.table}.{name}: {reason}"))


def _follow(history: SchemaHistory, start: int, end: int, sql: Dialect, columns: Mapping[str, str]) -> _Walk:
    """Take the fields, of which the columns are given as SQL, through all steps."""
    values = {name: Value(text, frozenset([name]), name, plain=True) for name, text in columns.items()}
    walk = _Walk(history.name, sql, values)
    for step, effect in history.effects(start, end):
        new = {}
        for name, value in effect.values.items():
            new[name] = _value(walk, value, replaces=name in effect.before, version=step.version)
        for name, value in effect.may_fail.items():
            filled = " OR ".join(f"{walk.values[source].sql} IS NOT NULL" for source in value.sources)
            walk.check(value.sources[0], f"({filled}) AND {new[name].sql} IS NULL", value.reason)
        for name in effect.gone:
            del walk.values[name]
        walk.values |= new
    return walk


def _value(walk: _Walk, value: Expression, *, replaces: bool, version: int) -> Value:
    """An expression in SQL, over the columns at the start. One that `replaces` its field still comes from that column."""
    sources = [walk.values[name] for name in value.sources]
    match value:
        case Copy():
            return replace(sources[0], version=version)
        case Constant():
            sql = walk.sql.literal(value.value, value.kind)
            return Value(sql, literal=value.value, version=version)
        case Computed():
            result = walk.sql.call(value, *(source.sql for source in sources))
            columns = frozenset().union(*(source.sources for source in sources))
            return Value(result, columns, sources[0].column if replaces else None, version=version)


# ── Columns to add ───────────────────────────────────────────────────────────────────────────────────────────────


def _added(walk: _Walk, field: Field, before: tuple[str, ...], temporary: str) -> Added:
    value = walk.values[field.name]
    if field.name in before and value.column != field.name:
        raise SqlError(
            f"{walk.table}.{field.name}: another field of this name is in the table until it is dropped: "
            "migrate, contract included, by way of the versions in between"
        )
    fill = None if value.literal is None else value.sql
    if field.type == "timestamp" and not value.constant:
        fill = walk.sql.utc(value.sql)
    checks = () if value.constant else tuple(_storage_checks(walk, field, value, str(fill)))
    return Added(field, temporary if field.name in before else field.name, value, fill, checks)


def _storage_checks(walk: _Walk, field: Field, value: Value, fill: str) -> Iterable[Condition]:
    """What a record's second validation finds: a text too long. And, where no error tells of it, a bad timestamp."""
    if field.length is not None:
        reason = f"longer than {field.length} characters"
        yield Condition(f"length({value.sql}) > {field.length}", f"{walk.table}.{field.name}: {reason}")
    if field.type == "timestamp" and walk.sql.name == "sqlite":
        unread = f"{value.sql} IS NOT NULL AND {fill} IS NULL"
        yield Condition(unread, f"{walk.table}.{field.name}: not in the accepted form")


def _refuse_names(walk: _Walk, names: list[str]) -> None:
    """Refuse names that the database keeps for itself, can't tell apart, or cuts off."""
    seen: dict[str, str] = {}
    for name in names:
        if name in walk.sql.kept:
            raise SqlError(
                f"{walk.table}.{name}: {walk.sql.title} keeps this name for itself: give the field another"
            )
        other = seen.setdefault(walk.sql.fold(name), name)
        if other != name or len(name) > 63:
            raise SqlError(
                f"{walk.table}.{name}: {walk.sql.title} can't tell it from {other!r} while both are in the table, "
                "or it is longer than 63 characters: rename the field by way of another name"
            )
