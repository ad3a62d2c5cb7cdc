"""Find all obstacles to a migration in the catalogue and the rows, before each phase, and list them together.

Nothing that depends on a column may silently disappear with it: the migration is refused, with a list, before anything changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from lib.versioning.operations import AddField
from lib.versioning.plan import Condition, Plan
from lib.versioning.sessions import Session

_OTHER_KEY: Final = "pass as key=… a unique column that the migration does not change"
#: Keys that can't be ordered or written as a literal.
_ODD_KEY: Final = {
    "postgresql": "pg_typeof({key})::text !~ '^(smallint|integer|bigint|numeric|text|uuid|date|character|timestamp)'",
    "sqlite": "typeof({key}) NOT IN ('integer', 'text', 'null')",
}
#: Returns a row if there is a unique index on exactly one column.
_UNIQUE: Final = {
    "postgresql": """SELECT 1 FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
    WHERE indrelid = to_regclass({table}) AND attname = {key} AND indisunique AND indisvalid AND indnkeyatts = 1
    AND indpred IS NULL""",
    "sqlite": """SELECT 1 FROM (SELECT group_concat(name) AS names FROM pragma_table_info({name}) WHERE pk UNION ALL
    SELECT (SELECT group_concat(coalesce(name, '()')) FROM pragma_index_info(i.name)) FROM pragma_index_list({name}) AS i
    WHERE i."unique" AND NOT i.partial) WHERE lower(names) = lower({key})""",
}
#: PostgreSQL: what depends on dropped columns, in the table and its partitions, and the properties of `replaced` columns: a
#: default, unless a migration made it (`defaults`), or a collation. A constraint of ours, left by a killed contract, is removed
#: by the next one. The catalogue does not know what the function of a trigger reads.
_DEPENDENTS: Final = """
WITH RECURSIVE family AS (SELECT to_regclass({table})::oid AS relation
    UNION SELECT inhrelid FROM pg_inherits, family WHERE inhparent = relation),
gone AS (SELECT a.* FROM family JOIN pg_attribute AS a ON attrelid = relation WHERE attname = ANY (ARRAY[{gone}]::name[]))
SELECT attname, pg_describe_object(classid, objid, objsubid) FROM gone
JOIN pg_depend ON refclassid = 'pg_class'::regclass AND refobjid = attrelid AND refobjsubid = attnum
LEFT JOIN pg_constraint AS c ON classid = 'pg_constraint'::regclass AND c.oid = objid
LEFT JOIN pg_attrdef AS d ON classid = 'pg_attrdef'::regclass AND d.oid = objid AND adrelid = attrelid AND adnum = attnum
WHERE (d.oid IS NULL OR attname = ANY (ARRAY[{defaults}]::name[])) AND (c.oid IS NULL OR contype <> 'n' AND conname !~ '_v[0-9]+_filled$')
UNION SELECT attname, format('COLLATE %s', attcollation::regcollation) FROM gone JOIN pg_type AS t ON t.oid = atttypid
    WHERE attcollation <> typcollation AND attname = ANY (ARRAY[{replaced}]::name[])
UNION SELECT attname, 'the partition key' FROM gone JOIN pg_depend ON classid = 'pg_class'::regclass
    AND refobjid = attrelid AND objid = attrelid AND objsubid = attnum AND refobjsubid = 0
UNION SELECT attname, format('trigger %s, whose function %s mentions it,', tgname, proname) FROM gone
JOIN pg_trigger ON tgrelid = attrelid AND NOT tgisinternal JOIN pg_proc AS p ON p.oid = tgfoid
WHERE prosrc ~* ('\\m' || attname || '\\M') ORDER BY 1, 2"""


def obstacles(session: Session, plan: Plan, key: str, version: int, *, begun: bool) -> list[str]:
    """Return everything that would stop the phases of a plan, or be lost in them, each with its remedy; empty: continue.

    version: the version of the table.
    begun: expand is complete, so the application may write both forms.
    Raises MigrationError if a value can't be converted to its new type at all.
    """
    table, fold, there = plan.history.name, plan.sql.fold, session.columns()
    if not there:
        kinds = "a view, partition, temporary table or one with rows that this role can't see does not count"
        return [f"{table}: there is no such table here ({kinds})"]
    missing = [name for name in plan.history.schema(version).names if fold(name) not in there]
    found = [f"{table} is not at version {version}: it lacks {', '.join(missing)}"] if missing else []
    if fold(key) not in there or key in plan.dropped:
        return [*found, f"{table}.{key}: {_OTHER_KEY}"]
    if not session.rows(session.about(_UNIQUE[plan.sql.name], key=plan.sql.literal(key))):
        found += [
            f"{table}.{key}: no unique index on this column alone, so batches would be slow: {_OTHER_KEY}"
        ]
    found += _dependents(session, plan, there)
    types = [(a.column, there.get(fold(a.column)), plan.sql.type(a.field)) for a in plan.added]
    clashes = [
        f"{table}.{column}: exists already, as {kind} and not {wanted}: rename or drop it"
        for column, kind, wanted in types
        if kind not in (None, wanted)
    ]
    if not missing and not clashes:
        found += _wrong_rows(session, plan, key, there, begun=begun)
    return found + clashes


# ── Rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _wrong_rows(
    session: Session, plan: Plan, key: str, there: Mapping[str, str], *, begun: bool
) -> list[str]:
    """Count the rows that meet each condition, in one pass over the table. A column that is still to be added counts as NULL."""
    absent = [a for a in plan.added if plan.sql.fold(a.column) not in there]
    plan = replace(plan, absent={a.column: f"CAST(NULL AS {plan.sql.type(a.field)})" for a in absent})
    conditions = list(_conditions(plan, key, begun=begun))
    counts = [f"count(*) FILTER (WHERE {condition.predicate})" for condition in conditions]
    # Raises an error if a value can't be converted to its new type at all.
    counts += [f"count({a.fill})" for a in plan.added if a.fill is not None]
    [numbers] = session.rows(f"SELECT {', '.join(counts)} FROM {plan.table}")
    counted = zip(conditions, numbers, strict=False)
    return [f"{c.reason} (rows: {number}): {c.remedy}" for c, number in counted if number]


def _conditions(plan: Plan, key: str, *, begun: bool) -> Iterable[Condition]:
    """Yield the conditions that no row may meet: no key, no exact result, null but required, or filled by another program."""
    name, column = plan.history.name, plan.column(key)
    nobody = f"{name}.{key}: null, so no batch would fill these rows"
    yield Condition(f"{column} IS NULL", nobody, f"give them keys, or {_OTHER_KEY}")
    kinds = f"{name}.{key}: a key must be an integer, a number, text, a date or a UUID"
    yield Condition(_ODD_KEY[plan.sql.name].format(key=column), kinds, _OTHER_KEY)
    yield from plan.checks
    for a in plan.added:
        here, place = plan.column(a.column), f"{name}.{a.column}"
        yield from plan.fill_checks(a)
        if not a.value.constant and not a.field.nullable:
            empty = [plan.column(source) for source in sorted(a.value.sources)]
            nulls = " AND ".join(f"{column} IS NULL" for column in (*empty, here))
            yield Condition(nulls, f"{place}: null, but required")
        if not begun:
            value = plan.sql.utc(here) if a.field.type == "timestamp" else here
            other = f"{here} IS NOT NULL AND {plan.sql.differ(value, a.fill or 'NULL')}"
            yield Condition(other, f"{place}: exists already, with values other than those of this migration")


# ── Dependents of dropped columns ────────────────────────────────────────────────────────────────────────────────


def _dependents(session: Session, plan: Plan, there: Mapping[str, str]) -> Iterable[str]:
    """Yield everything that contract would remove with the dropped columns, or that would make it fail."""
    #: For each dropped column, the fields that receive its values.
    heirs = {
        name: [a.field.name for a in plan.added if name in a.value.sources]
        for name in plan.dropped
        if plan.sql.fold(name) in there
    }
    replaced = [name for name in heirs if heirs[name]]
    operations = [step.operation for step in plan.history.steps(1, plan.from_version)]
    ours = {operation.name for operation in operations if isinstance(operation, AddField)}
    defaults = [name for name in replaced if name not in ours]
    if plan.sql.name == "sqlite":
        own = {n: {"collate", "as"} if n in replaced else set() for n in heirs}
        own |= {n: {"collate", "as", "default"} for n in defaults}
        found = list(_dependents_in_sqlite(session, plan.history.name, own))
    else:
        names = {"gone": heirs, "replaced": replaced, "defaults": defaults}
        lists = {what: ", ".join(map(plan.sql.literal, some)) for what, some in names.items()}
        found = session.rows(session.about(_DEPENDENTS, **lists))
    for name, what in dict.fromkeys(found):
        again = f", and create it again on {' and '.join(heirs[name])} after contract" if heirs[name] else ""
        yield f"{plan.history.name}.{name}: {what} depends on this column, which contract drops: remove it first{again}"


def _dependents_in_sqlite(
    session: Session, name: str, own: Mapping[str, set[str]]
) -> Iterable[tuple[str, str]]:
    """Yield the definitions in SQLite, known only as text, that mention the column, and the table or a view of it."""
    views = {name.lower()}
    listed = "SELECT type, name, lower(tbl_name), sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid"
    for kind, other, table, sql in session.rows(listed):
        words = set(re.findall(r"\w+", sql.lower()))
        if kind == "table" and table == name.lower():
            yield from _in_own_definitions(sql, own)
        elif kind != "table" and (table in views or words & views):
            views |= {other.lower()} if kind == "view" else set()
            yield from ((column, f"{kind} {other}") for column in own if column.lower() in words)


def _in_own_definitions(create_table: str, own: Mapping[str, set[str]]) -> Iterable[tuple[str, str]]:
    """Yield the definitions in CREATE TABLE that mention a column; the column's own only if it has more than a type."""
    strings = r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`|\[[^]]*\]"""
    depth, definitions = 0, [list[str]()]
    for token in re.findall(rf"--[^\n]*|/\*.*?\*/|{strings}|\w+|\s+|[^\w\s]", create_table, re.DOTALL):
        depth += (token == "(") - (token == ")")
        if depth == 1 and token in "(,":
            definitions.append([])
        elif depth and not token.startswith(("--", "/*")):
            definitions[-1].append(token)
    for tokens in definitions[1:]:
        words = [token.strip("\"'`[]").lower() for token in tokens if token.strip()]
        for column, more in own.items():
            marks = {"check", "unique", "primary", "references"} | more
            if marks.intersection(words) if words[0] == column.lower() else column.lower() in words:
                yield column, "".join(tokens).strip()
