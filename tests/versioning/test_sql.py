"""Scripts are run, not read: on SQLite and DuckDB in memory and on a real PostgreSQL. MySQL's are parsed only."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from datetime import datetime
from typing import Any

import pytest
from databases import columns, connect, insert, make_table, rows, run

from lib.versioning import USERS, DataVersionManager

V1 = [
    {"id": "1", "name": "Juan Pérez", "created_at": "2024-01-01T10:00:00"},
    {"id": "2", "name": "O'Brien %s", "created_at": "2024-01-01"},
    {"id": "3", "name": "Zoë", "created_at": "2024-02-29T23:30:00.123456+02:00"},
    {"id": "4", "name": "Łukasz", "created_at": "0999-12-31T23:59:59.999999Z"},
]
INSTANTS = {
    "1": datetime(2024, 1, 1, 10),
    "2": datetime(2024, 1, 1),
    "3": datetime(2024, 2, 29, 21, 30, 0, 123456),
    "4": datetime(999, 12, 31, 23, 59, 59, 999999),
}


@pytest.fixture(params=["sqlite", "duckdb", "postgresql"])
def database(request: pytest.FixtureRequest) -> tuple[str, Any]:
    """The name of a dialect and a connection to a new database of it."""
    name = request.param
    return name, request.getfixturevalue("postgres_connection") if name == "postgresql" else connect(name)


def users_table(database: tuple[str, Any], *, text: bool = True) -> Any:
    dialect, connection = database
    make_table(connection, dialect, "users", USERS.schema(1), text_timestamps=text, key="id")
    insert(connection, "users", V1 if text else [user | {"created_at": INSTANTS[user["id"]]} for user in V1])
    return connection


def at(value: Any) -> datetime:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


# ── The promises made to the course ──────────────────────────────────────────────────────────────────────────────


def test_the_script_for_1_to_3_is_the_whole_chain() -> None:
    script = DataVersionManager().create_migration_script(1, 3)
    order = [
        "ADD COLUMN IF NOT EXISTS email VARCHAR(255)",
        "ADD COLUMN IF NOT EXISTS updated_at TIMESTAMP",
        "UPDATE users SET updated_at = ",
        "WHERE updated_at IS NULL",
        "ADD COLUMN IF NOT EXISTS phone VARCHAR(50)",
    ]
    places = [script.index(part) for part in order]
    assert places == sorted(places)


def test_the_chain_migrates_a_real_table(database: tuple[str, Any]) -> None:
    connection = users_table(database)
    run(connection, DataVersionManager().create_migration_script(1, 3, database[0]))
    assert list(columns(connection, "users")) == ["id", "name", "created_at", "email", "updated_at", "phone"]
    found = rows(connection, "users", USERS.schema(3).names, "ORDER BY id")
    assert {row["id"]: at(row["updated_at"]) for row in found} == INSTANTS
    assert [{name: row[name] for name in V1[0]} for row in found] == V1
    assert {(row["email"], row["phone"]) for row in found} == {(None, None)}


def test_timestamps_may_be_timestamps_already(database: tuple[str, Any]) -> None:
    if database[0] == "sqlite":
        pytest.skip("SQLite has no type for timestamps: they are text")
    connection = users_table(database, text=False)
    run(connection, DataVersionManager().create_migration_script(1, 3, database[0]))
    found = rows(connection, "users", ["id", "updated_at"])
    assert {row["id"]: row["updated_at"] for row in found} == INSTANTS


def test_a_second_run_changes_nothing(database: tuple[str, Any]) -> None:
    dialect, connection = database[0], users_table(database)
    script = DataVersionManager().create_migration_script(1, 3, dialect)
    run(connection, script)
    newer = "2025-05-05T05:05:05" if dialect == "sqlite" else datetime(2025, 5, 5, 5, 5, 5)
    mark = "%s" if dialect == "postgresql" else "?"
    connection.execute(
        f"UPDATE users SET updated_at = {mark}, email = 'a@example.org' WHERE id = '1'", [newer]
    )
    before = rows(connection, "users", USERS.schema(3).names, "ORDER BY id")
    if dialect == "sqlite":
        with pytest.raises(sqlite3.OperationalError, match="duplicate column name: email"):
            run(connection, script)
    else:
        run(connection, script)
    assert rows(connection, "users", USERS.schema(3).names, "ORDER BY id") == before
    assert before[0]["updated_at"] == newer and before[0]["email"] == "a@example.org"


def test_what_is_filled_already_is_kept(database: tuple[str, Any]) -> None:
    dialect, connection = database[0], users_table(database)
    run(connection, DataVersionManager().create_migration_script(1, 2, dialect, phase="expand"))
    connection.execute("UPDATE users SET updated_at = '2030-01-01T00:00:00' WHERE id = '3'")
    run(connection, DataVersionManager().create_migration_script(1, 2, dialect, phase="backfill"))
    found = rows(connection, "users", ["id", "updated_at"])
    assert {row["id"]: at(row["updated_at"]) for row in found} == INSTANTS | {"3": datetime(2030, 1, 1)}


def test_a_script_can_be_rolled_back(database: tuple[str, Any]) -> None:
    dialect, connection = database[0], users_table(database)
    before = columns(connection, "users"), rows(connection, "users", USERS.schema(1).names, "ORDER BY id")
    script = DataVersionManager().create_migration_script(1, 3, dialect)
    run(connection, script[: script.index("COMMIT;")])
    assert "phone" in columns(connection, "users")
    connection.execute("ROLLBACK")
    assert before == (
        columns(connection, "users"),
        rows(connection, "users", USERS.schema(1).names, "ORDER BY id"),
    )


def test_scripts_cost_the_command_line_nothing() -> None:
    code = "import sys, lib.versioning.manager; print([m for m in ('sqlalchemy', 'duckdb', 'psycopg') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
