"""The same migration as SQL: what to add, how to fill it, and what to take away when nobody needs it any more.

A plan follows every field through the steps and ends with an expression over the columns that are there at the start.
Its phases keep old and new code working at the same time (expand and contract, or "parallel change"):

- *expand* only adds. A rename adds the new column and leaves the old, a split adds two; a conversion adds a column under
  a temporary name, `<field>_v<version>`. From here on the application writes both forms.
- *backfill* fills what is NULL, and keeps what is filled. It fails as a whole if any value can't be converted exactly.
- *contract* fills what came in since, makes required columns NOT NULL, and drops what the target version does not have.

Nothing is dropped unless the phase "contract" is asked for by name. NULL means "not filled", as in records: who writes
NULL on purpose, in a new field that has something to be filled with, waits for the contract.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Any, Literal, NamedTuple

from lib.versioning.dialects import Dialect, SqlError, dialect_named, dollar_quoted
from lib.versioning.history import SchemaHistory, Step
from lib.versioning.operations import AddField, ConvertField, DropField, RenameField, SplitField
from lib.versioning.schema import MISSING, Field

Phase = Literal["expand", "backfill", "contract"]
PHASES: tuple[Phase, ...] = ("expand", "backfill", "contract")
#: The reason for which `lib.versioning.operations` refuses to convert a value to a type.
_INEXACT = {
    ("integer", "float"): "no exact float",
    ("float", "integer"): "no exact 64-bit integer",
    ("string", "integer"): "no 64-bit integer in canonical form",
}


class Check(NamedTuple):
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


@dataclass(frozen=True)
class Added:
    """A column to add for a field of the target version, under its own name or a temporary one, and what fills it."""

    field: Field
    column: str
    value: Value
    fill: str | None


@dataclass(frozen=True)
class Plan:
    """All that a migration does to a table, in one dialect."""

    table: str
    from_version: int
    to_version: int
    dialect: Dialect
    added: tuple[Added, ...]
    dropped: tuple[str, ...]
    checks: tuple[Check, ...]


# ── The plan ─────────────────────────────────────────────────────────────────────────────────────────────────────


def migration_plan(
    history: SchemaHistory, from_version: int, to_version: int, dialect: str = "postgresql"
) -> Plan:
    """Work out what to do to the table of a history; raise UnknownVersionError, and SqlError for what SQL can't do."""
    sql = dialect_named(dialect)
    before, after = history.schema(from_version), history.schema(to_version)
    columns = {name: sql.column(history.name, name) for name in before.names}
    values, checks = follow(history, from_version, to_version, sql, columns)
    moved = [f for f in after if not (values[f.name].plain and values[f.name].column == f.name)]
    added = tuple(
        _added(history, to_version, sql, field, values[field.name], before.names) for field in moved
    )
    checks += [check for column in added for check in _storage_checks(history, sql, column)]
    kept = {field.name for field in after if field not in moved}
    dropped = tuple(name for name in before.names if name not in kept)
    _refuse_clashes(history, sql, [*before.names, *(column.column for column in added)])
    return Plan(history.name, from_version, to_version, sql, added, dropped, tuple(checks))


def follow(
    history: SchemaHistory, from_version: int, to_version: int, sql: Dialect, columns: Mapping[str, str]
) -> tuple[dict[str, Value], list[Check]]:
    """Take the fields through all steps, starting from the given columns; return them, and what can go wrong."""
    values = {name: Value(text, frozenset([name]), name, plain=True) for name, text in columns.items()}
    checks: list[Check] = []
    for step in history.steps(from_version, to_version):
        _take(step, from_version < to_version, history.name, values, checks, sql)
    return values, checks


def _take(
    step: Step, forward: bool, table: str, values: dict[str, Value], checks: list[Check], sql: Dialect
) -> None:
    """The effect of one operation on the fields, as its `forward` or `backward` has it for a record."""
    operation, before, version = step.operation, step.before, step.version
    name = operation.name
    match operation, forward:
        case AddField(copy_from=str(source)), True:
            values[name] = replace(values[source], version=version)
        case AddField(), True:
            values[name] = _constant(operation.field(), version, sql)
        case DropField(), False:
            values[name] = _constant(operation.restored(before), version, sql)
        case (AddField(), False) | (DropField(), True):
            del values[name]
        case RenameField(to=to), _:
            old, new = (name, to) if forward else (to, name)
            values[new] = replace(values.pop(old), version=version)
        case ConvertField(), _:
            kinds = operation.conversion(before)[:: 1 if forward else -1]
            value = values[name]
            new_sql = value.sql if kinds[0] == "timestamp" else sql.convert(kinds, value.sql)
            if kinds in _INEXACT:
                checks.append(_no_result(value.sql, new_sql, f"{table}.{name}: {_INEXACT[kinds]}"))
            stays = kinds[0] == "timestamp" and not forward
            values[name] = replace(
                value, sql=new_sql, plain=value.plain and stays, literal=MISSING, version=version
            )
        case SplitField(into=into, separator=separator), True:
            value = values.pop(name)
            halves = sql.split(value.sql, separator)
            checks.append(_no_result(value.sql, halves[0], f"{table}.{name}: no separator to split at"))
            for half, half_sql in zip(into, halves, strict=True):
                values[half] = Value(half_sql, value.sources, version=version)
        case SplitField(into=(first, second), separator=separator), False:
            a, b = values.pop(first), values.pop(second)
            for (half, x), (other, y) in permutations([(first, a), (second, b)]):
                reason = f"{table}.{half}: null, but {other} is not, so they can't be joined"
                checks.append(Check(f"{x.sql} IS NULL AND {y.sql} IS NOT NULL", reason))
            joined = sql.join(a.sql, separator, b.sql)
            values[name] = Value(joined, a.sources | b.sources, version=version)


def _constant(field: Field, version: int, sql: Dialect) -> Value:
    return Value(sql.literal(field.default, field.type), literal=field.default, version=version)


def _no_result(argument: str, result: str, reason: str) -> Check:
    return Check(f"{argument} IS NOT NULL AND {result} IS NULL", reason)


def _added(
    history: SchemaHistory, to_version: int, sql: Dialect, field: Field, value: Value, before: tuple[str, ...]
) -> Added:
    column = field.name
    if column in before:
        if value.column != column:
            raise SqlError(
                f"{history.name}.{column}: another field of this name is in the table until it is dropped: "
                "migrate, contract included, by way of the versions in between"
            )
        column = f"{column}_v{to_version}"
    fill = None if value.literal is None else value.sql
    if field.type == "timestamp" and value.literal is MISSING:
        fill = sql.utc(value.sql)
    return Added(field, column, value, fill)


def _storage_checks(history: SchemaHistory, sql: Dialect, added: Added) -> Iterable[Check]:
    """What a record's second validation finds: a text too long. And, where no error tells of it, a bad timestamp."""
    field, value, place = added.field, added.value, f"{history.name}.{added.field.name}"
    if value.literal is not MISSING or added.fill is None:
        return
    if field.length is not None and not value.plain:
        too_long = f"{sql.length(value.sql)} > {field.length}"
        yield Check(too_long, f"{place}: longer than {field.length} characters")
    if field.type == "timestamp" and sql.name == "sqlite":
        yield _no_result(value.sql, added.fill, f"{place}: not an ISO 8601 timestamp")


def _refuse_clashes(history: SchemaHistory, sql: Dialect, names: list[str]) -> None:
    """Refuse names that the database can't tell apart, or cuts off."""
    seen: dict[str, str] = {}
    for name in names:
        folded = name if sql.name == "postgresql" else name.lower()
        if folded in seen or len(name) > 63:
            raise SqlError(
                f"{history.name}.{name}: {sql.title} can't tell it from {seen.get(folded, 'others as long')!r} "
                "while both are in the table: rename the field by way of another name"
            )
        seen[folded] = name


# ── Statements ───────────────────────────────────────────────────────────────────────────────────────────────────


def update(plan: Plan, added: Iterable[Added], *, within: str = "") -> str | None:
    """Fill columns where they are NULL, in the rows `within`; None if nothing fills them."""
    name = plan.dialect.column
    cells = [
        (name(plan.table, a.column), plan.dialect.quote(a.column), a) for a in added if a.fill is not None
    ]
    if not cells:
        return None
    if len(cells) == 1:
        sets = f"{cells[0][1]} = {cells[0][2].fill}"
    else:  # one pass over the rows; a column that is filled keeps its value
        sets = ", ".join(f"{quoted} = COALESCE({column}, {a.fill})" for column, quoted, a in cells)
    rows = " OR ".join(f"({unfilled(plan, a)})" if len(cells) > 1 else unfilled(plan, a) for *_, a in cells)
    rows = f"{within} AND ({rows})" if within else rows
    return f"UPDATE {plan.dialect.quote(plan.table)} SET {sets} WHERE {rows}"


def unfilled(plan: Plan, added: Added) -> str:
    """The rows that a column is still to be filled in. Where it may stay NULL, only those that have something for it."""
    empty = f"{plan.dialect.column(plan.table, added.column)} IS NULL"
    optional = added.field.nullable and added.value.literal is MISSING
    return f"{empty} AND {added.value.sql} IS NOT NULL" if optional else empty


def failing(plan: Plan) -> list[str]:
    """Statements that fail if any value can't be converted exactly."""
    return [plan.dialect.fail_if_any(plan.table, *check) for check in plan.checks]


def expand(plan: Plan, added: Iterable[Added]) -> list[str]:
    """Add columns. One with the same value in all rows gets it as a default, so that old code need not know of it."""
    sql = plan.dialect
    defaults = ((a, a.fill if a.value.literal is not MISSING else None) for a in added)
    return [sql.add_column(plan.table, a.column, a.field, default) for a, default in defaults]


def unfinished(plan: Plan) -> dict[str, str]:
    """What must hold for every row before anything is dropped, by column: required columns, and heirs of dropped ones."""
    found = {}
    for a in plan.added:
        filled = f"{plan.dialect.column(plan.table, a.column)} IS NOT NULL"
        if not a.field.nullable:
            found[a.column] = filled
        elif a.value.sources.intersection(plan.dropped):
            found[a.column] = f"({filled} OR {a.value.sql} IS NULL)"
    return found


def contract(plan: Plan) -> list[list[str]]:
    """The transactions that fill what came in since, make columns required, drop and rename.

    On PostgreSQL: first nearly all is filled; then every writer must fill; so that a last look, under a lock that lets
    others read and write, proves that all is filled; and what needs a lock of its own takes no time.
    """
    final = contract_finally(plan)
    fill = [*failing(plan), *filter(None, [update(plan, plan.added)])]
    if plan.dialect.name == "postgresql":
        promise, proof = contract_promise(plan), contract_proof(plan)
        since = fill[-1:] if promise else []
        return [part for part in (fill, promise, since, proof, final) if part]
    fill += [
        plan.dialect.fail_if_any(plan.table, f"NOT ({filled})", f"{plan.table}.{column}: null, but required")
        for column, filled in unfinished(plan).items()
    ]
    # DuckDB changes no column in a transaction that wrote rows; the others need all in one, or can't have it at all.
    return [part for part in (fill, final) if part] if plan.dialect.name == "duckdb" else [[*fill, *final]]


def contract_promise(plan: Plan) -> list[str]:
    """PostgreSQL: let every writer from now on fill the new columns, without a look at the old rows."""
    table, promises = plan.dialect.quote(plan.table), unfinished(plan)
    if not promises:
        return []
    name = _promise(plan)
    check = f"ADD CONSTRAINT {name} CHECK ({' AND '.join(promises.values())}) NOT VALID"
    return [f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name}, {check}"]


def contract_proof(plan: Plan) -> list[str]:
    """PostgreSQL: look at all rows under a lock that lets others read and write."""
    return [f"ALTER TABLE {plan.dialect.quote(plan.table)} VALIDATE CONSTRAINT {_promise(plan)}"][
        : len(unfinished(plan))
    ]


def contract_undo(plan: Plan) -> list[str]:
    """PostgreSQL: take the promise back, for a contract that could not be kept."""
    return [f"ALTER TABLE {plan.dialect.quote(plan.table)} DROP CONSTRAINT IF EXISTS {_promise(plan)}"]


def _promise(plan: Plan) -> str:
    return plan.dialect.quote(f"{plan.table[:40].lower()}_v{plan.to_version}_filled")


def contract_finally(plan: Plan) -> list[str]:
    """Make columns required, drop those that the target version does not have, and give temporary names up."""
    sql = plan.dialect
    table, quote = sql.quote(plan.table), sql.quote
    guard = "IF EXISTS " if sql.guarded else ""
    drops = [f"DROP COLUMN {guard}{quote(name)}" for name in plan.dropped]
    required = [f"ALTER COLUMN {quote(a.column)} SET NOT NULL" for a in plan.added if not a.field.nullable]
    renames = [(a.column, a.field.name) for a in plan.added if a.column != a.field.name]
    names = [f"RENAME COLUMN {quote(old)} TO {quote(new)}" for old, new in renames]
    if sql.name == "mysql":
        return _alter(table, [", ".join([*drops, *_mysql_changes(plan)])]) if drops or required else []
    if sql.name == "sqlite":  # which can't make a column required; the check before found no NULL
        return _alter(table, [*drops, *names])
    if sql.name == "duckdb":
        return _alter(table, [*required, *drops, *names])
    proved = [f"DROP CONSTRAINT IF EXISTS {_promise(plan)}"] if unfinished(plan) else []
    # Apart, because one ALTER would drop the constraint first, and then look at all rows under its lock.
    return _alter(table, [*filter(None, [", ".join(required), ", ".join([*proved, *drops])]), *names])


def _alter(table: str, changes: Iterable[str]) -> list[str]:
    return [f"ALTER TABLE {table} {change}" for change in changes]


def _mysql_changes(plan: Plan) -> list[str]:
    """All in one statement, which MySQL does as a whole or not at all."""
    quote, changes = plan.dialect.quote, []
    for a in plan.added:
        required = "" if a.field.nullable else " NOT NULL"
        if a.column != a.field.name or required:
            kind = f"{plan.dialect.type(a.field)}{required}"
            changes.append(f"CHANGE COLUMN {quote(a.column)} {quote(a.field.name)} {kind}")
    return changes


def losses(
    history: SchemaHistory,
    versions: tuple[int, int],
    sql: Dialect,
    stay: Mapping[str, str],
    go: Mapping[str, str],
) -> dict[str, str]:
    """Predicates for the rows whose value in a column that goes the way back would not restore, by field.

    `stay` gives the columns of all fields of the later one of the `versions`, `go` those of fields of the earlier one.
    """
    there = {name: sql.column(history.name, column) for name, column in stay.items()}
    restored, _ = follow(history, versions[1], versions[0], sql, there)
    found = {}
    for name, column in go.items():
        value = here = sql.column(history.name, column)
        back = restored[name].sql
        if history.schema(versions[0])[name].type == "timestamp":
            here, back = sql.utc(value), back if restored[name].literal is not MISSING else sql.utc(back)
        found[name] = f"{value} IS NOT NULL AND {sql.differ(here, back)}"
    return found


# ── Scripts ──────────────────────────────────────────────────────────────────────────────────────────────────────


def migration_script(
    history: SchemaHistory,
    from_version: int,
    to_version: int,
    dialect: str = "postgresql",
    phase: Phase | None = None,
    *,
    key: str = "id",
) -> str:
    """Return SQL that takes the table of a history from one version to another, forward or back.

    Without a phase that is expand and backfill: all of it for a history that only adds optional or defaulted fields, and
    else a script that ends by telling what is left for `phase="contract"`. Running a script twice does no harm: it is
    guarded, or stops at its first statement with nothing changed. Run it through a driver as it is, without parameters;
    the backfill alone, on PostgreSQL, outside a transaction: it goes in batches by the column `key`, and commits each.
    Raises UnknownVersionError, and SqlError for what SQL can't do.
    """
    if phase not in (None, *PHASES):
        raise SqlError(f"phase {phase!r}: choose one of {', '.join(PHASES)}, or None for expand and backfill")
    plan = migration_plan(history, from_version, to_version, dialect)
    title = f"{history.name}: version {from_version} to {to_version}, {phase or 'expand and backfill'}"
    lines = [f"-- {title} ({plan.dialect.title})"]
    if phase == "backfill" and plan.dialect.name == "postgresql" and update(plan, plan.added):
        return "\n".join([*lines, batches_script(plan, key) + ";", ""])
    for part in _transactions(plan, phase):
        lines += [f"{line};" if not line.startswith("--") else line for line in _enclosed(plan.dialect, part)]
    if len(lines) == 1:
        lines.append("-- Nothing to do.")
    if phase is None and (left := _left(plan)):
        lines.append(f'-- Left for phase="contract", when no old code runs any more: {left}.')
    return "\n".join([*lines, ""])


def _transactions(plan: Plan, phase: Phase | None) -> list[list[str]]:
    if phase == "contract":
        return contract(plan)
    part = [] if phase == "expand" else failing(plan)
    for version in sorted({a.value.version for a in plan.added}, reverse=plan.from_version > plan.to_version):
        added = [a for a in plan.added if a.value.version == version]
        if phase is None:
            part.append(
                f"-- {'to' if plan.from_version < plan.to_version else 'back from'} version {version}"
            )
        part += [] if phase == "backfill" else expand(plan, added)
        part += [] if phase == "expand" else filter(None, [update(plan, added)])
    return [part] if part else []


def _enclosed(sql: Dialect, part: list[str]) -> list[str]:
    """Put statements in one transaction, which gives up when it waits long for a lock that others would queue behind."""
    wait = ["SET LOCAL lock_timeout = '2s'"] if sql.name == "postgresql" else []
    # PostgreSQL and DuckDB name the zone where they convert; a literal needs no setting.
    utc = sql.in_utc if any("'UTC'" in line or "DATETIME(6))" in line for line in part) else ()
    return [*sql.begin, *wait, *utc, *part, *(["COMMIT"] if sql.begin else [])]


def _left(plan: Plan) -> str:
    later = [a for a in plan.added if a.value.literal is MISSING or not plan.dialect.adds_required]
    required = [a.field.name for a in later if not a.field.nullable]
    temporary = [f"{a.column} becomes {a.field.name}" for a in plan.added if a.column != a.field.name]
    left = [f"NOT NULL for {', '.join(required)}"] if required and plan.dialect.name != "sqlite" else []
    left += [f"dropping {', '.join(plan.dropped)}"] if plan.dropped else []
    return "; ".join(left + temporary)


def batches_script(plan: Plan, key: str, size: int = 5000) -> str:
    """PostgreSQL: the backfill as a DO statement that goes from key to key, so that no row stays locked for long."""
    sql, table = plan.dialect, plan.dialect.quote(plan.table)
    name = sql.column(plan.table, key)
    # A variable with a space in its name is none of the columns.
    within = f'("low end" IS NULL OR {name} > "low end") AND ("high end" IS NULL OR {name} <= "high end")'
    body = [
        f'DECLARE "low end" {table}.{sql.quote(key)}%TYPE; "high end" {table}.{sql.quote(key)}%TYPE;',
        "BEGIN",
        *(f"  {statement};" for statement in failing(plan)),
        "  LOOP",
        *(f"    {statement};" for statement in sql.in_utc),
        f'    SELECT {name} INTO "high end" FROM {table} WHERE "low end" IS NULL OR {name} > "low end"',
        f"      ORDER BY {name} OFFSET {size - 1} LIMIT 1;",
        f"    {update(plan, plan.added, within=within)};",
        "    COMMIT;",
        '    EXIT WHEN "high end" IS NULL;',
        '    "low end" := "high end";',
        "  END LOOP;",
        "END",
    ]
    return dollar_quoted("\n".join(body))
