"""The databases that scripts are run on, each behind the same few functions on a DB-API connection."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

import psycopg
import sqlalchemy as sa

from lib.versioning import SchemaHistory
from lib.versioning.dialects import dialect_named
from lib.versioning.schema import Schema
from lib.versioning.sessions import Session

ERRORS = (sqlite3.Error, psycopg.Error)


def connect_sqlite() -> contextlib.closing[sqlite3.Connection]:
    """`with connect_sqlite() as connection`: to a new database in memory, in autocommit mode."""
    return contextlib.closing(sqlite3.connect(":memory:", isolation_level=None))


def run(connection: Any, script: str) -> None:
    """Run a script as it is. If it fails, roll back what it began, as an operator does."""
    try:
        if isinstance(connection, sqlite3.Connection):
            connection.executescript(script)
        else:
            connection.execute(script)
    except ERRORS:
        connection.rollback()
        raise


def columns(connection: Any, table: str) -> dict[str, str]:
    """The columns of a table and their types."""
    if isinstance(connection, sqlite3.Connection):
        query = f"SELECT name, type FROM pragma_table_info('{table}')"
    else:
        query = (
            "SELECT column_name, data_type FROM information_schema.columns "
            f"WHERE table_schema = current_schema() AND table_name = '{table}' ORDER BY ordinal_position"
        )
    return dict(connection.execute(query).fetchall())


def rows(connection: Any, table: str, names: Iterable[str], order: str = "") -> list[dict[str, Any]]:
    """The rows of a table as dicts."""
    names = list(names)
    listed = ", ".join(f'"{table}"."{name}"' for name in names)
    fetched = connection.execute(f'SELECT {listed} FROM "{table}" {order}').fetchall()
    return [dict(zip(names, row, strict=True)) for row in fetched]


def make_table(
    connection: Any, dialect: str, table: str, schema: Schema, *, key: str = "", text_timestamps: bool = False
) -> None:
    """Make the table of a schema, with a primary key, declared or not; `text_timestamps` stores them as text."""
    sql = dialect_named(dialect)
    listed = [
        f'"{field.name}" '
        + ("TEXT" if text_timestamps and field.type == "timestamp" else sql.type(field))
        + ("" if field.nullable else " NOT NULL")
        + (" PRIMARY KEY" if field.name == key else "")
        for field in schema
    ]
    if key and key not in schema:
        listed.insert(0, f'"{key}" INTEGER PRIMARY KEY')
    connection.execute(f'CREATE TABLE "{table}" ({", ".join(listed)})')


def insert(connection: Any, table: str, records: Sequence[dict[str, Any]]) -> None:
    """Insert rows, all with the same columns."""
    if not records:
        return
    mark = "%s" if type(connection).__module__.startswith("psycopg") else "?"
    listed = ", ".join(f'"{name}"' for name in records[0])
    statement = f'INSERT INTO "{table}" ({listed}) VALUES ({", ".join([mark] * len(records[0]))})'
    cursor = connection.cursor()
    cursor.executemany(statement, [list(record.values()) for record in records])


def moment(value: Any) -> Any:
    """A timestamp of a database as a datetime, be it one already or text."""
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def calling_after_batches(hook: Callable[[], object]) -> Callable[[Session, list[str]], list[int]]:
    """A `Session.transact` that calls a hook after each batch of a backfill."""
    transact = Session.transact

    def hooked(session: Session, statements: list[str]) -> list[int]:
        counts = transact(session, statements)
        if statements[0].startswith("UPDATE users"):
            hook()
        return counts

    return hooked


class Database:
    """A database under test: what `run_migration` is given, and plain SQL beside it."""

    def __init__(self, dialect: str, target: Any, connection: Any) -> None:
        self.dialect, self.target, self.connection = dialect, target, connection
        self.execute = connection.execute

    def table(self, history: SchemaHistory, version: int, records: list[dict[str, Any]]) -> None:
        schema = history.schema(version)
        make_table(self.connection, self.dialect, history.name, schema, key="id", text_timestamps=True)
        names = schema.names
        insert(self.connection, history.name, [{name: record[name] for name in names} for record in records])

    def rows(self, table: str) -> list[dict[str, Any]]:
        return rows(self.connection, table, columns(self.connection, table), "ORDER BY id")

    def state(self) -> list[tuple[Any, ...]]:
        query = "SELECT table_name, version, target, phase, position FROM schema_versions"
        return [tuple(row) for row in self.execute(query).fetchall()]


@contextlib.contextmanager
def engine_for(dialect: str, address: str) -> Iterator[Database]:
    """An engine, and a connection beside it in autocommit mode."""
    if dialect == "sqlite":
        engine = sa.create_engine(f"sqlite:///{address}", connect_args={"timeout": 30})
    else:
        engine = sa.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(address))
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            yield Database(dialect, engine, connection.connection.driver_connection)
    finally:
        engine.dispose()
