"""What stands in the way of a migration: read from the catalogue and the rows before each phase, and named all at once.

Nothing that hangs on a column may go with it in silence: it is named, and the migration refused, before anything changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import chain

from lib.versioning.plan import Added, Condition, Plan
from lib.versioning.schema import NO_DEFAULT
from lib.versioning.sessions import Column, Session
from lib.versioning.sql import promise_name

Columns = Mapping[str, Column]
#: For each column that goes, the fields that its values come to.
Heirs = Mapping[str, list[str]]

#: Types of columns whose values the batches can be bounded by: all of them can be ordered and written as a literal.
_KEY_TYPES = {
    *("SMALLINT", "INTEGER", "BIGINT", "NUMERIC", "TEXT", "VARCHAR", "CHARACTER", "UUID", "DATE"),
    *("TIMESTAMP", "TIMESTAMP WITH TIME ZONE"),
}
#: A default of PostgreSQL that runs no function: a constant, maybe with a cast.
_CONSTANT = re.compile(r"\(?('(?:[^']|'')*'|-?[\d.]+|true|false)\)?(::[\w ]+(\(\d+\))?)?")
#: What is wrong with a relation, by a condition in SQL over its row in the catalogue.
_WRONG_TABLE = {
    "postgresql": {
        "relkind NOT IN ('r', 'p')": "this is no table, and can't be altered as one",
        "relispartition": "this is a partition: give the history the name of the partitioned table",
        "relnamespace <> current_schema()::regnamespace": "the name means a table outside the current schema, "
        "maybe a temporary one: set search_path so that the schema of the table comes first",
        "NOT pg_has_role(relowner, 'USAGE')": "the table belongs to another role: connect as its owner",
        "row_security_active(oid)": "row security hides rows from this role: connect as one with BYPASSRLS",
    },
    "sqlite": {
        "type <> 'table' OR sql LIKE 'CREATE VIRTUAL%'": "this is no table, and can't be altered as one",
        "temporary": "the name means a temporary table: use a new connection, or drop it",
        "type = 'table' AND sql LIKE '%) STRICT'": "a STRICT table takes none of the types that the history gives: "
        "make it anew without STRICT",
    },
}


def obstacles(session: Session, plan: Plan, key: str, version: int, *, begun: bool) -> list[str]:
    """Everything that would stop the phases of a plan, or be lost in them, each with its remedy; none: go on.

    version: the one that the table is at. begun: expand has been done, so that the application may write both forms.
    """
    table = plan.history.name
    if wrong := _wrong_table(session, plan):
        return [f"{table}: {reason}" for reason in wrong]
    there = {plan.sql.fold(name): column for name, column in session.columns(table).items()}
    missing = [n for n in plan.history.schema(version).names if plan.sql.fold(n) not in there]
    found = [f"{table} is not at version {version}: no {', '.join(missing)}"] if missing else []
    found += [f"{table}.{key}: {problem}" for problem in _key_problems(session, plan, key, there)]
    found += _clashes(plan, there)
    if missing:
        return found
    found += _lost_dependents(session, plan, there)
    fills = [a.fill for a in plan.added if a.fill is not None and not a.value.constant]
    if fills:  # whatever has no result is an error here, and not half way
        session.rows(f"SELECT {', '.join(f'count({fill})' for fill in fills)} FROM {plan.table}")
    for condition in _value_checks(plan, there, begun=begun):
        if count := session.count(plan.table, condition.predicate):
            found.append(f"{condition.reason} (rows: {count}): fix the rows")
    return found


# ── The table, the key and the columns ───────────────────────────────────────────────────────────────────────────


def _wrong_table(session: Session, plan: Plan) -> list[str]:
    name, conditions = plan.history.name, _WRONG_TABLE[plan.sql.name]
    if plan.sql.name == "sqlite":
        every = "SELECT *, 1 AS temporary FROM sqlite_temp_master UNION ALL SELECT *, 0 FROM sqlite_master"
        source = (
            f"({every}) WHERE type IN ('table', 'view') AND lower(name) = lower({plan.sql.literal(name)})"
        )
    else:
        source = f"pg_class WHERE oid = {_regclass(plan)}"
    rows = session.rows(f"SELECT {', '.join(conditions)} FROM {source}")
    if not rows:
        return ["there is no such table in this database"]
    return [reason for reason, holds in zip(conditions.values(), rows[0], strict=True) if holds]


def _regclass(plan: Plan) -> str:
    return f"to_regclass({plan.sql.literal(plan.table)})"


def _key_problems(session: Session, plan: Plan, key: str, there: Columns) -> Iterable[str]:
    """Say what is wrong with the column by which batches are bounded."""
    column, remedy = (
        there.get(plan.sql.fold(key)),
        "give as key=… a unique column that the migration leaves as it is",
    )
    if column is None or key in plan.dropped:
        yield remedy
        return
    name, quoted = plan.sql.literal(key), plan.column(key)
    if plan.sql.name == "postgresql":
        unordered = column.type.partition("(")[0] not in _KEY_TYPES
        unique = (
            "SELECT count(*) FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0] "
            f"WHERE indrelid = {_regclass(plan)} AND attname = {name} "
            "AND indisunique AND indisvalid AND indnkeyatts = 1 AND indpred IS NULL"
        )
    else:
        table = plan.sql.literal(plan.history.name)
        unordered = session.count(plan.table, f"typeof({quoted}) NOT IN ('integer', 'text', 'null')")
        unique = (
            f"SELECT count(*) FROM (SELECT name FROM pragma_table_info({table}) WHERE pk GROUP BY 0 + 0 HAVING count(*) = 1 "
            f"UNION ALL SELECT max(i.name) FROM pragma_index_list({table}) AS l, pragma_index_info(l.name) AS i "
            f'WHERE l."unique" AND NOT l.partial GROUP BY l.name HAVING count(*) = 1) WHERE lower(name) = lower({name})'
        )
    if unordered:
        yield f"a key is an integer, a number, a text, a date or a UUID: {remedy}"
    if not session.value(unique):
        yield f"no unique index on this column alone, so that batches would be slow or overlap: {remedy}"
    if nulls := session.count(plan.table, f"{quoted} IS NULL"):
        yield f"null, so that no batch would fill these rows (rows: {nulls}): give them keys, or {remedy}"


def _clashes(plan: Plan, there: Columns) -> Iterable[str]:
    """Columns that are there already with another type than expand would give them."""
    for a in plan.added:
        found, wanted = there.get(plan.sql.fold(a.column)), plan.sql.type(a.field)
        if found and (found.type != wanted or found.generated):
            kind = f"{found.type}{', generated' if found.generated else ''}"
            yield f"{plan.history.name}.{a.column}: there already, as {kind} and not {wanted}: rename or drop it"


def _value_checks(plan: Plan, there: Columns, *, begun: bool) -> list[Condition]:
    """What no row may be: what has no exact result, what is null and required, and what somebody else has filled in."""

    def of(a: Added) -> Iterable[Condition]:
        here, exists, place = (
            plan.column(a.column),
            plan.sql.fold(a.column) in there,
            f"{plan.history.name}.{a.column}",
        )
        yield from plan.fill_checks(a, there=exists)
        if a.fill is not None and not a.value.constant and not a.field.nullable:
            empty = " AND ".join(f"{plan.column(source)} IS NULL" for source in sorted(a.value.sources))
            yield Condition(
                f"{here} IS NULL AND {empty}" if exists else empty, f"{place}: null, but required"
            )
        found = there.get(plan.sql.fold(a.column))
        if found and not begun and found.type == plan.sql.type(a.field):
            value = plan.sql.utc(here) if a.field.type == "timestamp" else here
            other = f"{here} IS NOT NULL AND {plan.sql.differ(value, a.fill or 'NULL')}"
            yield Condition(other, f"{place}: there already, with other values than this migration gives")

    return [*plan.checks, *chain.from_iterable(map(of, plan.added))]


# ── What hangs on the columns that go ────────────────────────────────────────────────────────────────────────────


def _lost_dependents(session: Session, plan: Plan, there: Columns) -> Iterable[str]:
    """All that contract would take away, or stumble over, with the columns that it drops."""
    columns = [name for name in plan.dropped if plan.sql.fold(name) in there]
    if not columns:
        return
    heirs = {c: [a.field.name for a in plan.added if c in a.value.sources] for c in columns}
    found = [(name, what) for name in columns if heirs[name] for what in _own(session, plan, name, there)]
    found += (_dependents if plan.sql.name == "postgresql" else _dependents_in_sqlite)(session, plan, heirs)
    for name, what in dict.fromkeys(found):
        again = f", and create it again on {' and '.join(heirs[name])} after contract" if heirs[name] else ""
        yield f"{plan.history.name}.{name}: {what} depends on this column, which contract drops: remove it first{again}"


def _own(session: Session, plan: Plan, name: str, there: Columns) -> Iterable[str]:
    """What a column itself has that the one in its place would not get. A default that the history declares it knows."""
    column, field = there[plan.sql.fold(name)], plan.history.schema(plan.from_version)[name]
    if column.generated:
        yield "its being generated"
    elif column.default is not None:
        known = "NULL" if field.default is NO_DEFAULT else plan.sql.literal(field.default, field.type)
        same = column.default == known
        if plan.sql.name == "postgresql" and _CONSTANT.fullmatch(column.default):
            same = session.value(f"SELECT {column.default} = {known}")
        if not same:
            yield f"DEFAULT {column.default}"


def _dependents(session: Session, plan: Plan, heirs: Heirs) -> list[tuple[str, str]]:
    """PostgreSQL: all objects that depend on columns of the table or its partitions, as its catalogue describes them.

    A trigger whose function mentions a column depends on it too, which the catalogue does not know. Constraints of ours
    are no dependents: a killed contract leaves them, and the next one takes them away.
    """
    replaced = [name for name in heirs if heirs[name]]
    ours = [promise_name(plan.history.name, version) for version in (plan.from_version, plan.to_version)]
    listed, kept, own = (", ".join(map(plan.sql.literal, names or [""])) for names in (heirs, replaced, ours))
    return session.rows(
        f"""WITH RECURSIVE family AS (SELECT {_regclass(plan)}::oid AS relation
            UNION SELECT inhrelid FROM pg_inherits, family WHERE inhparent = relation),
        gone AS (SELECT a.* FROM family JOIN pg_attribute AS a ON attrelid = relation WHERE attname IN ({listed}))
        SELECT attname, pg_describe_object(classid, objid, objsubid)
        FROM gone JOIN pg_depend ON refclassid = 'pg_class'::regclass AND refobjid = attrelid AND refobjsubid = attnum
        WHERE NOT EXISTS (SELECT FROM pg_constraint AS c WHERE classid = 'pg_constraint'::regclass AND c.oid = objid
                AND (contype = 'n' OR conname IN ({own})))
            AND NOT EXISTS (SELECT FROM pg_attrdef AS d WHERE classid = 'pg_attrdef'::regclass AND d.oid = objid
                AND adrelid = attrelid AND adnum = attnum)
        UNION SELECT attname, format('trigger %s, whose function %s mentions it,', tgname, proname)
        FROM gone JOIN pg_trigger ON tgrelid = attrelid AND NOT tgisinternal JOIN pg_proc AS p ON p.oid = tgfoid
        WHERE prosrc ~* ('\\m' || attname || '\\M')
        UNION SELECT attname, 'the partition key' FROM gone JOIN pg_depend ON refobjid = attrelid AND refobjsubid = 0
            AND classid = 'pg_class'::regclass AND objid = attrelid AND objsubid = attnum
        UNION SELECT attname, 'the privileges on it' FROM gone WHERE attacl IS NOT NULL AND attname IN ({kept})
        UNION SELECT attname, 'its collation' FROM gone JOIN pg_type AS t ON t.oid = atttypid
        WHERE attcollation <> typcollation AND attname IN ({kept}) ORDER BY 1, 2"""
    )


def _dependents_in_sqlite(session: Session, plan: Plan, heirs: Heirs) -> list[tuple[str, str]]:
    """SQLite keeps the text of definitions only: what mentions a column, and the table or a view of it, hangs on the column."""
    objects = session.rows(
        "SELECT type, name, lower(tbl_name), sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid"
    )
    found, views = [], {plan.history.name.lower()}
    for kind, name, table, sql in objects:
        words = set(re.findall(r"\w+", sql.lower()))
        if kind == "table" and table in views:
            found += _in_own_definitions(sql, heirs)
        elif kind != "table" and (table in views or words & views):
            views |= {name.lower()} if kind == "view" else set()
            found += [(column, f"{kind} {name}") for column in heirs if column.lower() in words]
    keys = (
        'SELECT f."to", m.name FROM sqlite_master AS m, pragma_foreign_key_list(m.name) AS f '
        f'WHERE lower(f."table") = lower({plan.sql.literal(plan.history.name)})'
    )
    return found + [
        (column, f"the foreign key of {name}") for column, name in session.rows(keys) if column in heirs
    ]


def _in_own_definitions(create_table: str, heirs: Heirs) -> Iterable[tuple[str, str]]:
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
            if column.lower() == words[0]:
                marks = {"check", "unique", "primary", "references", *(["collate"] if heirs[column] else [])}
                yield from ((column, f"its {word.upper()}") for word in words if word in marks)
            elif column.lower() in words:
                yield column, "".join(tokens).strip()
