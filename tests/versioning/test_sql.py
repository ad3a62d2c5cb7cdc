"""Scripts are run, not read: on SQLite in memory and on a real PostgreSQL."""

from __future__ import annotations

import sqlite3
from typing import Any

import psycopg
import pytest
from databases import ERRORS, Database, columns, insert, make_table, moment, rows, run

from lib.versioning import USERS, Field, Schema, SchemaHistory
from lib.versioning.dialects import DIALECTS, SqlError, dialect_named
from lib.versioning.expressions import convert
from lib.versioning.operations import AddField, ConvertField, DropField, Operation, RenameField, SplitField
from lib.versioning.schema import to_utc
from lib.versioning.sql import migration_script

# ── Phases ───────────────────────────────────────────────────────────────────────────────────────────────────────

WORDS = SchemaHistory(
    "order",
    first=Schema(Field("id", "integer"), Field("group", "string"), Field("user", "integer", nullable=True)),
    steps={
        2: [SplitField("group", ("select", "From"), "'"), RenameField("user", "table"), ConvertField("id", "string", 6)],
        3: [DropField("From", default="it's"), AddField("default", "boolean", default=True)],
    },
)  # fmt: skip
ROWS = [
    {"id": 1, "group": "a'b'c", "user": 5},
    {"id": -20, "group": "'", "user": None},
    {"id": 300, "group": "x'", "user": -1},
]


def words_table(live: Database) -> Any:
    dialect, connection = live.dialect, live.connection
    make_table(connection, dialect, "order", WORDS.schema(1), key="key")
    insert(connection, "order", [{"key": n} | row for n, row in enumerate(ROWS)])
    return connection


def test_only_the_contract_drops(live: Database) -> None:
    dialect, connection = live.dialect, words_table(live)
    for phase in ("expand", "backfill", None):
        for start, end in ((1, 3), (3, 1)):
            script = migration_script(WORDS, start, end, dialect, phase)
            assert not any(word in script for word in ("DROP", "RENAME", "SET NOT NULL")), script
    assert 'phase="contract" remains' in migration_script(WORDS, 1, 3, dialect)
    run(connection, migration_script(WORDS, 1, 3, dialect, "expand"))
    added = {"select", "table", "id_v3", "default"}
    assert set(columns(connection, "order")) == {"key", "id", "group", "user", *added}


def test_a_script_makes_way_where_it_would_wait_long(postgres_dsn: str) -> None:
    with psycopg.connect(postgres_dsn) as reader, psycopg.connect(postgres_dsn, autocommit=True) as writer:
        make_table(writer, "postgresql", "users", USERS.schema(1))
        reader.execute("SELECT * FROM users")  # in a transaction that stays open
        with pytest.raises(psycopg.errors.LockNotAvailable):
            run(writer, migration_script(USERS, 1, 3))


@pytest.mark.parametrize("live", ["postgresql"], indirect=True)
def test_the_contract_reads_no_rows_under_its_lock(live: Database) -> None:
    connection = words_table(live)
    run(connection, migration_script(WORDS, 1, 3))
    told: list[str] = []
    connection.add_notice_handler(lambda notice: told.append(notice.message_primary or ""))
    connection.execute("SET client_min_messages = debug1")
    run(connection, migration_script(WORDS, 1, 3, phase="contract"))
    assert told.count('verifying table "order"') == 1, "once, when the constraint is validated"
    for column in ("id_v3", "select"):
        proof = f'existing constraints on column "order.{column}" are sufficient to prove that it does not contain nulls'
        assert proof in told, told


# ── Conversions, value by value ──────────────────────────────────────────────────────────────────────────────────

TOP = 2**63
INTEGERS = [0, -1, 2**53, 2**53 + 1, -(2**53) - 1, 2**53 + 2, TOP - 1, TOP - 512, TOP - 1024, TOP - 1025]
INTEGERS += [1 - TOP, -TOP]
FLOATS = [0.0, -0.0, 0.5, -1.5, 1e300, 5e-324, 2.0**63, -(2.0**63), 2.0**53, float("inf"), -float("inf")]
TEXTS = [
    "0", "-0", "7", "-7", "007", "+7", " 7", "7 ", "7\n", "", "-", "1e3", "1.0", "0x7", "1_0", "٣", "seven", "7seven", "--7",
    str(TOP - 1), str(TOP), str(-TOP), str(-TOP - 1), "1" * 19, "1" * 20, "-" + "9" * 19, "1" * 10_000,
]  # fmt: skip
TIMES = [
    "2024-02-29", "0001-01-01", "9999-12-31T23:59:59.999999", "2024-01-01T10:00:00.9999", "2024-12-31T23:59:59.9999+00:00",
    "2024-01-01T00:30:00+01:00", "2023-12-31T23:30:00-01:00", "2024-03-01T00:00:00.000001Z", "2024-01-01T10:00:00.5-14:00",
    "2024-01-01T10:00:00-00:00", "2024-01-01T10:00:00Z", "2024-01-01T10:00:00.0",
    "2024-01-01T10:00:00.50-14:00", "2024-01-01T10:00:00.000Z",
]  # fmt: skip


def evaluate(live: Database, kind: str, values: list[Any], expression: str) -> list[Any]:
    """Put values in a table, and evaluate an expression over the column `v`."""
    dialect, connection = live.dialect, live.connection
    schema = Schema(Field("n", "integer"), Field("v", kind, nullable=True))
    make_table(connection, dialect, "t", schema, text_timestamps=True)
    insert(connection, "t", [{"n": n, "v": value} for n, value in enumerate(values)])
    return [row[0] for row in connection.execute(f"SELECT {expression} FROM t ORDER BY n").fetchall()]


@pytest.mark.parametrize(
    ("kinds", "values"),
    [
        (("integer", "float"), INTEGERS),
        (("float", "integer"), FLOATS),
        (("integer", "string"), INTEGERS),
        (("string", "integer"), TEXTS),
    ],
)
def test_converted_by_databases(live: Database, kinds: tuple[str, str], values: list[Any]) -> None:
    """Values become what conversions of records give."""
    nan = [float("nan")] if kinds[0] == "float" and live.dialect != "sqlite" else []
    values = [*values, *nan, None]
    conversion = convert("v", kinds)
    found = evaluate(live, kinds[0], values, dialect_named(live.dialect).call(conversion, "v"))
    expected = list(map(conversion.function, values))
    for value, ours, theirs in zip(values, found, expected, strict=True):
        assert repr(ours) == repr(theirs), value


def test_timestamps_are_converted_to_the_instant(live: Database) -> None:
    found = evaluate(live, "timestamp", [*TIMES, None], dialect_named(live.dialect).utc("v"))
    assert list(map(moment, found)) == [*map(to_utc, TIMES), None]
    assert len(set(found)) == len(set(map(to_utc, TIMES))) + 1, "the same instant has one spelling"


# ── Names ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_reserved_words_are_names(live: Database, postgres_dsn: str) -> None:
    dialect, connection = live.dialect, live.connection
    with psycopg.connect(postgres_dsn) as server:
        words = {row[0] for row in server.execute("SELECT word FROM pg_get_keywords()")}
    words |= set(dialect_named("sqlite")._sqlalchemy.identifier_preparer.reserved_words)
    words -= {"id", "none"}
    step = [AddField(word, "integer", nullable=True, copy_from="id") for word in sorted(words)]
    assert len(step) > 500
    history = SchemaHistory("select", first=Schema(Field("id", "integer")), steps={2: step})
    make_table(connection, dialect, "select", history.schema(1), key="id")
    insert(connection, "select", [{"id": 5}])
    run(connection, migration_script(history, 1, 2, dialect))
    assert set(connection.execute('SELECT * FROM "select"').fetchone()) == {5}


def test_a_quoted_column_that_is_not_there_is_no_string(live: Database) -> None:
    dialect, connection = live.dialect, live.connection
    history = SchemaHistory("t", first=Schema(Field("user", "string")), steps={2: [RenameField("user", "x")]})
    connection.execute("CREATE TABLE t (x TEXT)")
    connection.execute("INSERT INTO t VALUES (NULL)")
    with pytest.raises(ERRORS, match="user"):
        run(connection, migration_script(history, 1, 2, dialect, "contract"))
    assert connection.execute("SELECT x FROM t").fetchall() == [(None,)]


def test_a_default_is_written_as_sqlite_reads_it() -> None:
    sqlite = sqlite3.connect(":memory:")
    # SQLite 3.40 misreads the first three.
    for default in (0.550870101123, 3.663847348670352, -70346.0286927825, 1e300, 0.1):
        assert sqlite.execute(f"SELECT {DIALECTS['sqlite'].literal(default)}").fetchone() == (default,)
    sqlite.close()


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_a_database_can_not_tell_apart_or_hold_is_refused(dialect: str) -> None:
    def script(*operations: Operation) -> str:
        first = Schema(Field("name", "string"), Field("x", "integer", nullable=True))
        return migration_script(SchemaHistory("t", first=first, steps={2: operations}), 1, 2, dialect)

    with pytest.raises(SqlError, match=r"t\.x: the table has another field of this name until"):
        script(DropField("x"), AddField("x", "string", nullable=True))
    with pytest.raises(SqlError, match="the character NUL"):
        script(AddField("y", "string", default="a\0b"))
    with pytest.raises(SqlError, match="phase 'all': choose one of expand, backfill, contract"):
        migration_script(USERS, 1, 2, dialect, "all")  # type: ignore[arg-type]
    if dialect != "postgresql":
        with pytest.raises(SqlError, match=r"t\.Name: .* can't distinguish it from 'name'"):
            script(RenameField("name", "Name"))
    if dialect == "sqlite":
        with pytest.raises(SqlError, match="has no"):
            script(AddField("y", "float", default=float("nan")))


def test_a_literal_can_not_end_the_script(live: Database) -> None:
    dialect, connection = live.dialect, live.connection
    nasty = "$$ $x$ '; DROP TABLE t; -- \\' \" %s {} :name \n"
    steps = {2: [AddField("y", "string", default=nasty), SplitField("x", ("a", "b"), nasty)]}
    history = SchemaHistory("t", first=Schema(Field("id", "integer"), Field("x", "string")), steps=steps)
    make_table(connection, dialect, "t", history.schema(1), key="id")
    insert(connection, "t", [{"id": 1, "x": f"left{nasty}right"}])
    for phase in ("expand", "backfill", "contract"):
        run(connection, migration_script(history, 1, 2, dialect, phase))
    assert rows(connection, "t", ["a", "b", "y"]) == [{"a": "left", "b": "right", "y": nasty}]
