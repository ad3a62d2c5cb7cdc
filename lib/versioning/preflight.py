"""What stands in the way of a migration: read from the catalogue and the rows before each phase, and named all at once.

Nothing that depends on a column may go with it in silence: it is named, and the migration refused, before anything changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from lib.versioning.plan import Condition, Plan
from lib.versioning.schema import NO_DEFAULT
from lib.versioning.sessions import Column, Session
from lib.versioning.sql import promise_name

Columns = Mapping[str, Column]

#: The row of a table in the catalogue, and what is wrong with the table where a condition over that row holds.
_TABLES: Final = {
    "postgresql": ("pg_class WHERE oid = to_regclass({quoted})", {
        "relkind NOT IN ('r', 'p')": "this is no table",
        "relispartition": "this is a partition: give the history the name of the partitioned table",
        "relnamespace <> current_schema()::regnamespace": "the name means a table in another schema: set search_path",
        "NOT pg_has_role(relowner, 'USAGE')": "the table belongs to another role: connect as its owner",
        "row_security_active(oid)": "row security hides rows from this role: connect as one with BYPASSRLS",
    }),
    "sqlite": ("(SELECT *, 1 AS temporary FROM sqlite_temp_master UNION ALL SELECT *, 0 FROM sqlite_master) "
               "WHERE type IN ('table', 'view') AND lower(name) = lower({name})", {
        "type <> 'table' OR sql LIKE 'CREATE VIRTUAL%'": "this is no table",
        "temporary": "the name means a temporary table: drop it, or use a new connection",
    }),
}  # fmt: skip
#: PostgreSQL's types of keys that can be ordered and written as a literal.
_KEY_TYPES: Final = "SMALLINT INTEGER BIGINT NUMERIC TEXT VARCHAR CHARACTER UUID DATE TIMESTAMP".split()
#: PostgreSQL: what depends on columns that go, in the table and its partitions. A column's default is part of it, and
#: a constraint of ours (`own`), which a killed contract leaves, is taken away by the next one. Of a trigger the catalogue
#: does not know what its function reads.
_DEPENDENTS: Final = """
WITH RECURSIVE family AS (SELECT to_regclass({table})::oid AS relation
    UNION SELECT inhrelid FROM pg_inherits, family WHERE inhparent = relation),
gone AS (SELECT a.* FROM family JOIN pg_attribute AS a ON attrelid = relation WHERE attname IN ({gone}))
SELECT attname, pg_describe_object(classid, objid, objsubid) FROM gone
JOIN pg_depend ON refclassid = 'pg_class'::regclass AND refobjid = attrelid AND refobjsubid = attnum
LEFT JOIN pg_constraint AS c ON classid = 'pg_constraint'::regclass AND c.oid = objid
LEFT JOIN pg_attrdef AS d ON classid = 'pg_attrdef'::regclass AND d.oid = objid AND adrelid = attrelid AND adnum = attnum
WHERE d.oid IS NULL AND (c.oid IS NULL OR contype <> 'n' AND conname NOT IN ({own}))
UNION SELECT attname, 'the partition key' FROM gone JOIN pg_depend ON classid = 'pg_class'::regclass
    AND refobjid = attrelid AND objid = attrelid AND objsubid = attnum AND refobjsubid = 0
UNION SELECT attname, format('trigger %s, whose function %s mentions it,', tgname, proname) FROM gone
JOIN pg_trigger ON tgrelid = attrelid AND NOT tgisinternal JOIN pg_proc AS p ON p.oid = tgfoid
WHERE prosrc ~* ('\\m' || attname || '\\M') ORDER BY 1, 2"""


def obstacles(session: Session, plan: Plan, key: str, version: int, *, begun: bool) -> list[str]:
    """Everything that would stop the phases of a plan, or be lost in them, each with its remedy; none: go on.

    version: the one that the table is at. begun: expand has been done, so that the application may write both forms.
    Raises MigrationError if a value has no form in its new type at all.
    """
    table, fold = plan.history.name, plan.sql.fold
    source, conditions = _TABLES[plan.sql.name]
    source = source.format(name=plan.sql.literal(table), quoted=plan.sql.literal(plan.table))
    rows = session.rows(f"SELECT {', '.join(conditions)} FROM {source}")
    if not rows:
        return [f"{table}: there is no such table in this database"]
    if any(rows[0]):
        return [f"{table}: {why}" for why, holds in zip(conditions.values(), rows[0], strict=True) if holds]
    there = {fold(name): column for name, column in session.columns(table).items()}
    missing = [name for name in plan.history.schema(version).names if fold(name) not in there]
    found = [f"{table} is not at version {version}: no {', '.join(missing)}"] if missing else []
    found += [f"{table}.{key}: {problem}" for problem in _key_problems(session, plan, key, there)]
    found += _lost_dependents(session, plan, there)
    clashes = [f"{table}.{clash}: rename or drop it" for clash in _clashes(plan, there)]
    if not missing and not clashes:
        conditions = list(_conditions(plan, there, begun=begun))
        counts = [f"count(*) FILTER (WHERE {condition.predicate})" for condition in conditions]
        counts += [
            f"count({a.fill})" for a in plan.added if a.fill is not None
        ]  # an error where one has no form
        (numbers,) = session.rows(f"SELECT {', '.join([*counts, 'count(*)'])} FROM {plan.table}")
        for condition, number in zip(conditions, numbers, strict=False):
            found += [f"{condition.reason} (rows: {number}): fix the rows"] if number else []
    return found + clashes


# ── The key and the columns ──────────────────────────────────────────────────────────────────────────────────────


def _key_problems(session: Session, plan: Plan, key: str, there: Columns) -> Iterable[str]:
    """Say what is wrong with the column by which batches are bounded."""
    remedy = "give as key=… a unique column that the migration leaves as it is"
    column = there.get(plan.sql.fold(key))
    if column is None or key in plan.dropped:
        yield remedy
        return
    table, name = plan.sql.literal(plan.history.name), plan.sql.literal(key)
    if plan.sql.name == "sqlite":
        wrong = session.count(plan.table, f"typeof({plan.column(key)}) NOT IN ('integer', 'text', 'null')")
        listed = "(SELECT group_concat(coalesce(name, '()')) FROM pragma_index_info(i.name))"
        unique = (
            f"SELECT count(*) FROM (SELECT group_concat(name) AS names FROM pragma_table_info({table}) WHERE pk UNION ALL "
            f'SELECT {listed} FROM pragma_index_list({table}) AS i WHERE i."unique" AND NOT i.partial) '
            f"WHERE lower(names) = lower({name})"
        )
    else:
        wrong = column.type.partition("(")[0].split()[0] not in _KEY_TYPES
        unique = (
            "SELECT count(*) FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0] "
            f"WHERE indrelid = to_regclass({plan.sql.literal(plan.table)}) AND attname = {name} "
            "AND indisunique AND indisvalid AND indnkeyatts = 1 AND indpred IS NULL"
        )
    if wrong:
        yield f"a key is an integer, a number, a text, a date or a UUID: {remedy}"
    if not session.value(unique):
        yield f"no unique index on this column alone, so that batches would be slow: {remedy}"
    if nulls := session.count(plan.table, f"{plan.column(key)} IS NULL"):
        yield f"null, so that no batch would fill these rows (rows: {nulls}): give them keys, or {remedy}"


def _clashes(plan: Plan, there: Columns) -> Iterable[str]:
    """Columns that are there already, otherwise than expand would make them."""
    for a in plan.added:
        found, wanted = there.get(plan.sql.fold(a.column)), plan.sql.type(a.field)
        if found and (found.type, found.extra) != (wanted, ""):
            yield f"{a.column}: there already, as {found.type} {found.extra}".rstrip() + f" and not {wanted}"


def _conditions(plan: Plan, there: Columns, *, begun: bool) -> Iterable[Condition]:
    """What no row may be: what has no exact result, what is null and required, and what somebody else has filled in."""
    yield from plan.checks
    for a in plan.added:
        here, place = plan.column(a.column), f"{plan.history.name}.{a.column}"
        found = plan.sql.fold(a.column) in there
        yield from plan.fill_checks(a, there=found)
        if not a.value.constant and not a.field.nullable:
            empty = [f"{plan.column(source)} IS NULL" for source in sorted(a.value.sources)]
            yield Condition(
                " AND ".join([*empty, f"{here} IS NULL"][: len(empty) + found]),
                f"{place}: null, but required",
            )
        if found and not begun:
            value = plan.sql.utc(here) if a.field.type == "timestamp" else here
            other = f"{here} IS NOT NULL AND {plan.sql.differ(value, a.fill or 'NULL')}"
            yield Condition(other, f"{place}: there already, with other values than this migration gives")


# ── What depends on the columns that go ──────────────────────────────────────────────────────────────────────────


def _lost_dependents(session: Session, plan: Plan, there: Columns) -> Iterable[str]:
    """All that contract would take away, or stumble over, with the columns that it drops."""
    #: For each column that goes, the fields that its values come to.
    heirs = {
        name: [a.field.name for a in plan.added if name in a.value.sources]
        for name in plan.dropped
        if plan.sql.fold(name) in there
    }
    found = [(name, what) for name in heirs if heirs[name] for what in _own(session, plan, name, there)]
    if plan.sql.name == "sqlite":
        found += _dependents_in_sqlite(session, plan.history.name, heirs)
    elif heirs:
        ours = [promise_name(plan.history.name, version) for version in (plan.from_version, plan.to_version)]
        gone, own = (", ".join(map(plan.sql.literal, names)) for names in (heirs, ours))
        found += session.rows(_DEPENDENTS.format(table=plan.sql.literal(plan.table), gone=gone, own=own))
    for name, what in dict.fromkeys(found):
        again = f", and create it again on {' and '.join(heirs[name])} after contract" if heirs[name] else ""
        yield f"{plan.history.name}.{name}: {what} depends on this column, which contract drops: remove it first{again}"


def _own(session: Session, plan: Plan, name: str, there: Columns) -> Iterable[str]:
    """What a column itself has that the one in its place would not get. A default that the history declares it knows."""
    column, field = there[plan.sql.fold(name)], plan.history.schema(plan.from_version)[name]
    if column.extra:
        yield column.extra
    if column.default is not None:
        known = None if field.default is NO_DEFAULT else plan.sql.literal(field.default, field.type)
        texts = (f"CAST({value} AS TEXT)" for value in (column.default, known))
        if known is None or session.value(f"SELECT {plan.sql.differ(*texts)}"):
            yield f"DEFAULT {column.default}"


def _dependents_in_sqlite(
    session: Session, name: str, heirs: Mapping[str, list[str]]
) -> Iterable[tuple[str, str]]:
    """SQLite keeps only the text of definitions: what mentions a column, and the table or a view of it, depends on it."""
    views = {name.lower()}
    listed = "SELECT type, name, lower(tbl_name), sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid"
    for kind, name, table, sql in session.rows(listed):
        words = set(re.findall(r"\w+", sql.lower()))
        if kind == "table" and table in views:
            yield from _in_own_definitions(sql, heirs)
        elif kind != "table" and (table in views or words & views):
            views |= {name.lower()} if kind == "view" else set()
            yield from ((column, f"{kind} {name}") for column in heirs if column.lower() in words)


def _in_own_definitions(create_table: str, heirs: Mapping[str, list[str]]) -> Iterable[tuple[str, str]]:
    """What mentions a column in CREATE TABLE: the definition of another column or of a constraint, or a part of its own."""
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
        for column in heirs:
            marks = {"check", "unique", "primary", "references", *(["collate"] if heirs[column] else [])}
            if column.lower() == words[0]:
                yield from ((column, f"its {word.upper()}") for word in words if word in marks)
            elif column.lower() in words:
                yield column, "".join(tokens).strip()
