"""A migration reports all its obstacles before it changes anything."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import sqlalchemy as sa
from databases import Database, columns, insert, make_table, run

from lib.versioning import Field, Schema, SchemaHistory, migrate, sessions
from lib.versioning.dialects import SqlError
from lib.versioning.migrate import LockedError, MigrationError, run_migration
from lib.versioning.operations import AddField, ConvertField, DropField, Operation, RenameField, SplitField
from lib.versioning.sql import contract, migration_script

FIRST = Schema(Field("id", "integer"), *(Field(name, "string", nullable=True) for name in ("a", "b")))
COPIED = AddField("c", "string", nullable=True, copy_from="a")


def history(*operations: Operation, first: Schema = FIRST, name: str = "t") -> SchemaHistory:
    return SchemaHistory(name, first=first, steps={2: list(operations)})


#: What a migration does with the column `a`.
OPERATIONS = {
    "renamed": RenameField("a", "c"),
    "converted": ConvertField("a", "integer"),
    "split": SplitField("a", ("c", "d"), "-"),
    "dropped": DropField("a", default="x"),
}
NO_TABLE = "t: there is no such table here"
TABLE = "CREATE TABLE t (id INTEGER PRIMARY KEY, a {}, b TEXT {})"
#: What hangs on the column: what follows its name, what follows the columns, other statements, and how the error names it.
BOTH = {
    "index": ("TEXT", "", ["CREATE INDEX ix ON t (a)"], "index ix"),
    "index on an expression": ("TEXT", "", ["CREATE INDEX ix ON t (lower(a))"], "index ix"),
    "partial index on another column": ("TEXT", "", ["CREATE INDEX ix ON t (b) WHERE a <> ''"], "index ix"),
    "view": ("TEXT", "", ["CREATE VIEW v AS SELECT id, a AS x FROM t"], "view v"),
    "view of a subquery": ("TEXT", "", ["CREATE VIEW v AS SELECT * FROM (SELECT a FROM t) AS s"], "view v"),
    "UNIQUE": ("TEXT UNIQUE", "", [], "(constraint t_a_key|UNIQUE)"),
    "UNIQUE of two columns": ("TEXT", ", UNIQUE (b, a)", [], r"(constraint t_b_a_key|UNIQUE \(b, a\))"),
    "CHECK": ("TEXT CHECK (a <> '')", "", [], "(constraint t_a_check|CHECK)"),
    "CHECK of two columns": ("TEXT", ", CONSTRAINT pair CHECK (a <> b)", [], "(?i:constraint pair)"),
    "foreign key": ("TEXT REFERENCES o", "", [], "(constraint t_a_fkey|REFERENCES)"),
}
POSTGRESQL = BOTH | {
    "foreign key of another table": ("TEXT UNIQUE", "", ["CREATE TABLE p (x TEXT REFERENCES t (a))"], "constraint p_x_fkey"),
    "generated column": ("TEXT", ", g TEXT GENERATED ALWAYS AS (lower(a)) STORED", [], "column g of table t"),
    "materialized view": ("TEXT", "", ["CREATE MATERIALIZED VIEW m AS SELECT a FROM t"], "materialized view m"),
    "trigger of the column": ("TEXT", "", ["CREATE TRIGGER tr BEFORE UPDATE OF a ON t FOR EACH ROW EXECUTE FUNCTION f()"], "trigger tr"),
    "trigger with a function": ("TEXT", "", ["CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()"], "trigger tr"),
    "policy": ("TEXT", "", ["CREATE POLICY own ON t USING (a = current_user)"], "policy own"),
    "statistics": ("TEXT", "", ["CREATE STATISTICS st ON a, b FROM t"], "statistics object st"),
    "index on a partition": (
        "TEXT", ") PARTITION BY RANGE (id", ["CREATE TABLE t1 PARTITION OF t DEFAULT", "CREATE INDEX ix ON t1 (a)"], "index ix",
    ),
}  # fmt: skip
SQLITE = BOTH | {
    "view of a view": ("TEXT", "", ["CREATE VIEW w AS SELECT * FROM t", "CREATE VIEW v AS SELECT a FROM w"], "view v"),
    "CHECK of another column": ("TEXT", "CHECK (b <> 'x,)' AND b <> \"a\")", [], "b TEXT CHECK"),
    "foreign key of the table": ("TEXT", ", FOREIGN KEY (a) REFERENCES o", [], r"FOREIGN KEY \(a\)"),
    "generated column": ("TEXT", ", g TEXT AS (lower(a)), h TEXT", [], "g TEXT AS"),
    "trigger": ("TEXT", "", ["CREATE TRIGGER tr AFTER UPDATE OF a ON t BEGIN SELECT 1; END"], "trigger tr"),
    "trigger of another table": ("TEXT", "", ["CREATE TRIGGER tr AFTER DELETE ON o BEGIN UPDATE t SET a = 1; END"], "trigger tr"),
}  # fmt: skip
CONSTRAINED = "TEXT DEFAULT 'x' UNIQUE CHECK (a <> '')"
#: What belongs to the column itself: it goes with one that is dropped, and not in silence with one that is replaced.
OWN = {
    "postgresql": {"DEFAULT": "TEXT DEFAULT 'none'", "DEFAULT now": "TEXT DEFAULT now()::text", "COLLATE": 'TEXT COLLATE "C"'},
    "sqlite": {"DEFAULT": "TEXT DEFAULT 'none'", "COLLATE": "TEXT COLLATE NOCASE"},
}  # fmt: skip


def on(names: str, *cases: tuple[Any, ...]) -> pytest.MarkDecorator:
    """Parameters of a test whose first one says on which database, "both" of them or one."""
    each = [(d, *c[1:]) for c in cases for d in ("sqlite", "postgresql") if c[0] in ("both", d)]
    return pytest.mark.parametrize(["live", *names.split()], each, indirect=["live"])


def on_its_connection(database: Database) -> sa.Engine:
    """An engine with no connection but that of the test, and so with its role and its temporary tables."""
    return sa.create_engine(database.target.url, creator=lambda: database.connection, poolclass=sa.StaticPool)


def make(database: Database, own: str = "TEXT", more: str = "", others: list[str] | None = None) -> None:
    database.execute("CREATE TABLE o (x TEXT PRIMARY KEY)")
    if database.dialect == "postgresql":
        function = "BEGIN NEW.b := NEW.a; RETURN NEW; END"
        database.execute(f"CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS '{function}'")
    for statement in (TABLE.format(own, more), *(others or [])):
        database.execute(statement)


def catalogue(database: Database) -> list[Any]:
    """All that is defined in a database."""
    if database.dialect == "sqlite":
        return database.execute("SELECT type, name, sql FROM sqlite_master ORDER BY name").fetchall()
    here = "current_schema()::regnamespace"
    return database.execute(
        f"SELECT relname, relkind::text, attname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid "
        f"WHERE relnamespace = {here} AND NOT attisdropped UNION ALL "
        f"SELECT conname, contype::text, '' FROM pg_constraint WHERE connamespace = {here} ORDER BY 1, 2, 3"
    ).fetchall()


def refused(database: Database, migration: SchemaHistory, *patterns: str, **options: Any) -> None:
    """The migration names everything and changes nothing."""
    before, versions = catalogue(database), {"from_version": 1, "to_version": 2}
    with pytest.raises(MigrationError) as found:
        run_migration(database.target, migration, **(versions | options))
    for pattern in patterns:
        assert found.match(pattern)
    assert catalogue(database) == before


def all_phases(database: Database, migration: SchemaHistory, **options: Any) -> None:
    for phase in (None, "contract"):
        run_migration(database.target, migration, 1, 2, phase=phase, **options)


# ── What hangs on a column that goes ─────────────────────────────────────────────────────────────────────────────


@on("kind", *[("postgresql", kind) for kind in POSTGRESQL], *[("sqlite", kind) for kind in SQLITE])
def test_what_hangs_on_a_column_is_named_before_expand(live: Database, kind: str) -> None:
    own, more, others, named = (POSTGRESQL if live.dialect == "postgresql" else SQLITE)[kind]
    make(live, own, more, others)
    for operation in OPERATIONS.values():
        refused(live, history(operation), rf"t\.a: .*{named}", phase="expand")


@on("kind", *[(dialect, kind) for dialect, kinds in OWN.items() for kind in kinds])
def test_what_a_column_has_of_its_own_goes_only_with_one_that_is_dropped(live: Database, kind: str) -> None:
    make(live, OWN[live.dialect][kind])
    declared = Schema(Field("id", "integer"), Field("a", "string", nullable=True, default="x"))
    for operation, first in product(["renamed", "converted", "split"], [FIRST, declared]):
        if (operation, first) != ("converted", declared):  # whose default is no number
            migration = history(OPERATIONS[operation], first=first)
            refused(live, migration, rf"(?i)t\.a: .*{kind.split()[0]}.* again on ")
    all_phases(live, history(OPERATIONS["dropped"]))
    assert list(columns(live.connection, "t")) == ["id", "b"]


def test_everything_is_named_at_once(live: Database) -> None:
    known, more = SQLITE, ["trigger"]
    if live.dialect == "postgresql":
        known, more = POSTGRESQL, ["trigger of the column", "policy"]
    kinds = ["generated column", "index", "view", *more]
    others = [statement for kind in kinds for statement in known[kind][2]]
    make(live, CONSTRAINED, known["generated column"][1], others)
    live.execute("INSERT INTO t (id, a) VALUES (1, '1'), (2, '2')")
    names = ["(?i:default)", *(known[kind][3] for kind in ("UNIQUE", "CHECK", *kinds))]
    refused(live, history(RenameField("a", "c")), *(rf"t\.a: .*{name}" for name in names))


def test_what_hangs_on_a_column_that_stays_is_kept(live: Database) -> None:
    generated = ", g TEXT AS (a)" if live.dialect == "sqlite" else ""
    make(live, CONSTRAINED, generated, BOTH["view"][2])
    before = catalogue(live)
    all_phases(live, history(COPIED))
    names = [row[:2] for row in catalogue(live)]
    assert all(row[:2] in names for row in before)


@on("", ("postgresql",))
def test_identity_and_sequences_are_named(live: Database) -> None:
    first = Schema(Field("id", "integer"), Field("n", "integer"), Field("m", "integer"))
    identity = "n BIGINT GENERATED ALWAYS AS IDENTITY"
    live.execute(f"CREATE TABLE t (id BIGINT PRIMARY KEY, {identity}, m BIGSERIAL)")
    steps = [ConvertField("n", "string"), RenameField("m", "k")]
    named = (r"t\.n: sequence t_n_seq", r"t\.m: sequence t_m_seq", r"t\.m: default value")
    refused(live, history(*steps, first=first), *named)


@on("", ("postgresql",))
def test_the_partition_key_is_named(live: Database) -> None:
    live.execute("CREATE TABLE t (id BIGINT, a TEXT, b TEXT) PARTITION BY LIST (a)")
    named = (r"t\.a: the partition key", r"t\.id: no unique index")
    refused(live, history(RenameField("a", "c")), *named)


def test_columns_that_the_migration_itself_added_can_be_taken_back(live: Database) -> None:
    steps = {2: [AddField("n", "integer", default=5), AddField("f", "float", default=5.0), AddField("on", "boolean", default=True)],
             3: [RenameField("n", "m"), RenameField("f", "g"), RenameField("on", "off")]}  # fmt: skip
    versions = SchemaHistory("t", first=FIRST, steps=steps)
    make(live)
    live.execute("INSERT INTO t (id) VALUES (1)")
    for start, end in ((1, 2), (2, 3), (3, 1), (1, 3)):
        for phase in (None, "contract"):
            run_migration(live.target, versions, start, end, phase=phase)
    assert live.rows("t") == [{"id": 1, "a": None, "b": None, "m": 5, "g": 5.0, "off": True}]


def test_a_dry_run_only_looks(live: Database) -> None:
    make(live)
    live.execute("INSERT INTO t (id, a) VALUES (1, 'x')")
    before = catalogue(live)
    assert run_migration(live.target, history(COPIED), 1, 2, dry_run=True) == ()
    assert catalogue(live) == before
    live.execute("CREATE INDEX ix ON t (a)")
    refused(live, history(RenameField("a", "c")), "index ix", dry_run=True)


def test_what_depends_on_an_added_column_stops_giving_up(live: Database) -> None:
    make(live)
    migration = history(RenameField("a", "c"))
    run_migration(live.target, migration, 1, 2)
    live.execute("CREATE INDEX ix ON t (c)")
    refused(live, migration, r"t\.c: index ix", from_version=2, to_version=1, phase="contract")
    live.execute("DROP INDEX ix")
    run_migration(live.target, migration, 2, 1, phase="contract")
    assert "c" not in columns(live.connection, "t")


@on("", ("postgresql",))
def test_a_constraint_that_a_killed_contract_left_is_no_obstacle(live: Database) -> None:
    make(live)
    migration = history(RenameField("a", "c"))
    run_migration(live.target, migration, 1, 2)
    check = "CHECK (c IS NOT NULL OR a IS NULL) NOT VALID"
    live.execute(f"ALTER TABLE t ADD CONSTRAINT t_v2_filled {check}")
    run_migration(live.target, migration, 1, 2, phase="contract")
    assert live.state()[0][:3] == ("t", 2, None)


# ── The table, its key and its columns ───────────────────────────────────────────────────────────────────────────


@on(
    "key rows named",
    ("both", "BIGINT UNIQUE", "(1, 'x'), (NULL, 'y'), (NULL, 'z')", r"id: null, .*\(rows: 2\): give them"),
    ("both", "BIGINT", "(1, 'x'), (1, 'y')", r"ev\.id: no unique index on this column alone"),
    ("both", "BIGINT, UNIQUE (id, a)", "(1, 'x')", r"ev\.id: no unique index on this column alone"),
    ("postgresql", "BYTEA PRIMARY KEY", "('x', 'x')", r"ev\.id: a key must be an integer, .*: pass as key=…"),
    ("postgresql", "JSON", "('1', 'x')", r"ev\.id: no unique index .*\n- ev\.id: a key must be an integer, "),
    ("postgresql", "DOUBLE PRECISION PRIMARY KEY", "(1.5, 'x')", r"ev\.id: a key must be an integer"),
    ("sqlite", "PRIMARY KEY", "(1.5, 'x'), ('a', 'y')", r"ev\.id: a key must be an integer"),
)
def test_a_key_that_misses_rows_is_refused(live: Database, key: str, rows: str, named: str) -> None:
    name, _, more = key.partition(",")
    live.execute(f"CREATE TABLE ev (id {name}, a TEXT{',' * bool(more)}{more})")
    live.execute(f"INSERT INTO ev VALUES {rows}")
    first = Schema(Field("id", "integer"), Field("a", "string"))
    step = AddField("b", "string", nullable=True, copy_from="a")
    refused(live, history(step, first=first, name="ev"), named)


@pytest.mark.parametrize("key", ["TEXT UNIQUE", "BIGINT, UNIQUE (id)", "NUMERIC PRIMARY KEY"])
def test_a_unique_key_reaches_all_rows(live: Database, key: str) -> None:
    name, _, more = key.partition(",")
    live.execute(f"CREATE TABLE t (id {name}, a TEXT, b TEXT{',' * bool(more)}{more})")
    live.execute("INSERT INTO t VALUES (1, 'x', NULL), (2, 'y', NULL), (3, 'z', NULL)")
    all_phases(live, history(COPIED), batch_size=2)
    assert [row["c"] for row in live.rows("t")] == ["x", "y", "z"]


@pytest.mark.parametrize("name", ["true", "false", "null", "rowid", "current_user"])
def test_a_column_named_like_a_constant_is_no_constant(live: Database, name: str) -> None:
    first = Schema(Field("id", "integer"), Field(name, "string"), Field("a", "string"))
    steps = [AddField("b", "string", nullable=True, copy_from="a"), AddField("on", "boolean", default=True),
             AddField("off", "boolean", default=False), AddField("c", "string", nullable=True, copy_from=name)]  # fmt: skip
    migration = history(*steps, first=first)
    make_table(live.connection, live.dialect, "t", first, key="id")
    insert(live.connection, "t", [{"id": n, name: "0", "a": "x"} for n in range(5)])
    run_migration(live.target, migration, 1, 2, batch_size=2)
    assert live.rows("t")[4] == {"id": 4, name: "0", "a": "x", "b": "x", "on": 1, "off": 0, "c": "0"}


@pytest.mark.parametrize("name", ["xmin", "tableoid"])
def test_names_that_the_database_keeps_are_refused(live: Database, name: str) -> None:
    reason = rf"t\.{name}: PostgreSQL reserves this name: give the field another"
    for migration in map(history, (AddField(name, "float", default=1.5), RenameField("a", name))):
        if live.dialect == "sqlite":
            assert migration_script(migration, 1, 2, "sqlite")
            continue
        with pytest.raises(SqlError, match=reason):
            migration_script(migration, 1, 2)
        with pytest.raises(SqlError, match=reason):
            run_migration(live.target, migration, 1, 2)


@on(
    "statements named",
        ("both", ["CREATE TABLE u (id BIGINT)", "CREATE VIEW t AS SELECT id, 'x' AS a, 'y' AS b FROM u"], NO_TABLE),
        ("both", ["CREATE TABLE t (id BIGINT PRIMARY KEY, a TEXT)"], "t is not at version 1: it lacks b"),
        ("both", [TABLE.format("TEXT", ""), "CREATE TEMPORARY TABLE t (id BIGINT, a TEXT, b TEXT)"], NO_TABLE),
        ("both", [TABLE.format("TEXT", ""), "CREATE TABLE schema_versions (version TEXT)"], "schema_versions: .* lacks phase, position"),
        ("postgresql", ["CREATE TABLE u (id BIGINT PRIMARY KEY, a TEXT, b TEXT) PARTITION BY RANGE (id)",
                        "CREATE TABLE t PARTITION OF u DEFAULT"], NO_TABLE),
)  # fmt: skip
def test_a_table_that_is_not_meant_is_refused(live: Database, statements: list[str], named: str) -> None:
    for statement in statements:
        live.execute(statement)
    with pytest.raises(MigrationError, match=named):
        run_migration(on_its_connection(live), history(COPIED), 1, 2)


@on("", ("postgresql",))
def test_rows_that_row_security_hides_are_not_left_out(live: Database) -> None:
    make(live)
    for statement in (
        "CREATE ROLE keeper",
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
        "GRANT ALL ON t TO keeper",
        f"GRANT ALL ON SCHEMA {live.execute('SELECT current_schema()').fetchone()[0]} TO keeper",
        "SET ROLE keeper",
    ):
        live.execute(statement)
    try:
        with pytest.raises(MigrationError, match=NO_TABLE):
            run_migration(on_its_connection(live), history(COPIED), 1, 2)
    finally:
        live.execute("RESET ROLE")
        live.execute("DROP OWNED BY keeper")
        live.execute("DROP ROLE keeper")


@pytest.mark.parametrize(
    ("type_", "named"),
    [
        ("BIGINT", "as BIGINT and not TEXT: rename or drop it"),
        ("VARCHAR(3)", r"as VARCHAR\(3\) and not TEXT"),
        ("TEXT DEFAULT 'y'", r"with values other .*\(rows: 1\)"),
        ("TEXT GENERATED ALWAYS AS ('x') STORED", "as TEXT GENERATED"),
    ],
)
def test_a_column_that_is_there_already_is_refused(live: Database, type_: str, named: str) -> None:
    make(live, "TEXT", f", c {type_}")
    live.execute("INSERT INTO t (id, a) VALUES (1, 'x'), (2, 'y')")
    refused(live, history(COPIED), rf"t\.c: exists already, {named}")


def test_a_column_that_is_there_with_the_right_values_is_taken_over(live: Database) -> None:
    make(live, "TEXT", ", c TEXT")
    live.execute("INSERT INTO t VALUES (1, 'x', NULL, 'x'), (2, 'y', NULL, NULL)")
    all_phases(live, history(COPIED))
    assert [row["c"] for row in live.rows("t")] == ["x", "y"]


@pytest.mark.parametrize(
    ("operation", "a", "named"),
    [
        ("converted", "'seven'", r"t\.a: no 64-bit integer in canonical form \(rows: 1\): fix the rows"),
        ("split", "'x'", r"t\.a: no separator to split at \(rows: 1\)"),
        ("renamed", "NULL", r"t\.c: null, but required \(rows: 1\)"),
        ("converted", "NULL", r"t\.a_v2: null, but required \(rows: 1\)"),
    ],
)
def test_values_that_do_not_fit_are_named(live: Database, operation: str, a: str, named: str) -> None:
    make(live)
    sound = ", (2, '2-3', NULL)" if operation == "split" else ""
    live.execute(f"INSERT INTO t VALUES (1, {a}, NULL){sound}")
    first = Schema(Field("id", "integer"), Field("a", "string"))
    refused(live, history(OPERATIONS[operation], first=first), named)


# ── Contract ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("operation", "written", "lost"),
    [
        (RenameField("a", "c"), "a = 'New'", {"a": 1}),
        (RenameField("a", "c"), "c = 'New'", {"a": 1}),
        (RenameField("a", "c"), "a = 'New', c = 'New'", {}),
        (RenameField("a", "c"), "a = NULL", {}),
        (ConvertField("a", "integer"), "a = '7'", {"a": 1}),
        (SplitField("a", ("c", "d"), "-"), "a = '7-8'", {"a": 1}),
        (DropField("a", default="1-1"), "a = '7'", {"a": 1}),
        (DropField("a", default="1-1"), "a = NULL", {"a": 1}),
        (DropField("a"), "a = NULL", {"a": 4}),
    ],
)
def test_nothing_gets_lost(live: Database, operation: Operation, written: str, lost: dict[str, int]) -> None:
    """Contract refuses what going back would not restore."""
    make(live)
    whole = "1" if isinstance(operation, ConvertField) else "1-1"
    live.execute(f"INSERT INTO t (id, a) VALUES {', '.join(f'({n}, {whole!r})' for n in range(11, 16))}")
    migration = history(operation)
    run_migration(live.target, migration, 1, 2)
    live.execute(f"UPDATE t SET {written} WHERE id = 13")
    if lost:
        before, first = live.rows("t"), "11, 12, 14" if lost["a"] > 1 else "13"
        counted = rf"\(rows: {lost['a']}, first keys: {first}\)"
        with pytest.raises(MigrationError, match=rf"t\.a: contract would lose .*{counted}.*discard=\['a'\]"):
            run_migration(live.target, migration, 1, 2, phase="contract")
        assert live.rows("t") == before
    [result] = run_migration(live.target, migration, 1, 2, phase="contract", discard=["a"])
    assert result.lost == lost


def test_what_old_code_writes_now_is_not_dropped(live: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write between the look ahead and the last step is found by the comparison right before it."""
    make(live)
    live.execute("INSERT INTO t (id, a) VALUES (1, 'x'), (2, 'y')")
    migration = history(RenameField("a", "c"))
    run_migration(live.target, migration, 1, 2)
    write = "UPDATE t SET a = 'New' WHERE id = 2"
    monkeypatch.setattr(migrate, "contract", lambda plan: (live.execute(write), contract(plan))[1])
    with pytest.raises(MigrationError, match=r"rows: 1, first keys: 2\)"):
        run_migration(live.target, migration, 1, 2, phase="contract")
    assert [row["a"] for row in live.rows("t")] == ["x", "New"]


# ── Locks ────────────────────────────────────────────────────────────────────────────────────────────────────────


@on(
    "statement",
    ("postgresql", "SELECT * FROM t"),
    ("postgresql", "LOCK TABLE t"),
    ("sqlite", "BEGIN IMMEDIATE"),
    ("sqlite", "BEGIN EXCLUSIVE"),
)
def test_who_holds_the_lock_is_named(live: Database, statement: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "_PAUSES", (0.01,))
    make(live)
    target, named = live.target, "held by another connection, which SQLite does not name"
    with target.connect() as holder:
        if live.dialect == "sqlite":
            target = sa.create_engine(target.url, connect_args={"timeout": 0.01})
        else:
            pid = holder.exec_driver_sql("SELECT pg_backend_pid()").scalar()
            holder.exec_driver_sql("SET application_name = 'nightly report'")
            named = rf"held by process {pid} of \w+ \(nightly report\), idle in transaction since"
        holder.exec_driver_sql(statement)
        with pytest.raises(LockedError, match=f"t: could not get the lock .* {named}"):
            run_migration(target, history(COPIED), 1, 2, lock_timeout=0.05)
        holder.rollback()
    if target is not live.target:
        target.dispose()  # Python 3.13 warns of a connection that nobody closed
    run_migration(live.target, history(COPIED), 1, 2)
    assert live.state()[0][:2] == ("t", 2)


def test_words_do_not_make_an_error_one_that_passes(live: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    make(live)
    live.execute("INSERT INTO t (id, a) VALUES (1, 'x')")
    if live.dialect == "sqlite":
        body = "SELECT RAISE(ABORT, 'conflict: the row is locked')"
        live.execute(f"CREATE TRIGGER no BEFORE UPDATE ON t BEGIN {body}; END")
    else:
        body = "BEGIN RAISE 'conflict: the row is locked'; END"
        live.execute(f"CREATE FUNCTION g() RETURNS trigger LANGUAGE plpgsql AS $${body}$$")
        live.execute("CREATE TRIGGER no BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION g()")
    monkeypatch.setattr(sessions.time, "sleep", lambda pause: pytest.fail("it tried again"))
    with pytest.raises(MigrationError, match="t: conflict: the row is locked"):
        run_migration(live.target, history(COPIED), 1, 2)


def test_a_script_fills_rows_without_a_key(live: Database) -> None:
    live.execute("CREATE TABLE t (id BIGINT UNIQUE, a TEXT, b TEXT)")
    live.execute("INSERT INTO t VALUES (1, 'x', NULL), (NULL, 'y', NULL)")
    run(live.connection, migration_script(history(COPIED), 1, 2, live.dialect))
    assert sorted(row["c"] for row in live.rows("t")) == ["x", "y"]
