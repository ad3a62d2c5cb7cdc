"""The connection of a migration to a live database: statements, transactions with retries, and the lock."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lib.stage.locks import file_lock
from lib.versioning.dialects import Dialect, SqlError, dialect_named

#: Seconds between retries of a transaction after a lock timeout or a conflict: time for the transactions queued behind it.
_PAUSES = (0.1, 0.5, 1.0, 2.0)
#: Error codes for a lock timeout, a deadlock and a serialization failure; SQLite's code for a locked database.
_TRANSIENT = {"55P03", "40P01", "40001", sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
#: PostgreSQL: the lock of a runner on a table. The first number encodes "migr".
_LOCK: Final = "1836410983, to_regclass({table})::oid::int"
#: PostgreSQL: the sessions and prepared transactions that hold locks on a table, or migrate it.
_HOLDERS: Final = """SELECT DISTINCT coalesce(format('process %s of %s%s, %s since %s', pid, usename,
    ' (' || nullif(application_name, '') || ')', state, date_trunc('second', state_change)), 'a prepared transaction')
    FROM pg_locks LEFT JOIN pg_stat_activity USING (pid) WHERE granted AND pid IS DISTINCT FROM pg_backend_pid()
    AND (relation = to_regclass({table}) OR (classid, objid) = (1836410983, to_regclass({table})))"""
#: The columns of a table, and their types as `Dialect.type` spells them.
_COLUMNS: Final = {
    "postgresql": """SELECT attname, upper(replace(replace(format_type(atttypid, atttypmod),
    'character varying', 'varchar'), ' without time zone', '')) || CASE WHEN attgenerated IN ('s', 'v') THEN ' GENERATED' ELSE '' END
    FROM pg_class AS t JOIN pg_attribute ON attrelid = t.oid AND attnum > 0 AND NOT attisdropped
    WHERE t.oid = to_regclass({table}) AND relkind IN ('r', 'p') AND NOT relispartition
    AND relnamespace = current_schema()::regnamespace AND NOT row_security_active(t.oid)""",
    "sqlite": """SELECT c.name, upper(c.type) || iif(hidden > 1, ' GENERATED', '')
    FROM sqlite_master AS t JOIN pragma_table_xinfo(t.name) AS c WHERE t.type = 'table' AND lower(t.name) = lower({name})
    AND lower(t.name) NOT IN (SELECT lower(name) FROM sqlite_temp_master)""",
}


class MigrationError(RuntimeError):
    """A migration is not possible, or not now; the message says why, and what to do. Nothing was lost."""


class LockedError(RuntimeError):
    """Another runner is migrating the table, or another session holds a lock; the message says which."""


@dataclass(frozen=True)
class Session:
    """A connection in autocommit mode, in UTC, for the migration of one table. `errors` is the base class of its driver's errors."""

    dialect: Dialect
    table: str
    connection: Any
    errors: type[Exception]

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a query. Raises MigrationError with the database's message if it fails, and LockedError."""
        try:
            return self.connection.execute(statement).fetchall()
        except self.errors as error:
            raise self._documented(error) from error

    def value(self, statement: str) -> Any:
        """Return the first value that a query finds; None if it finds nothing."""
        found = self.rows(statement)
        return found[0][0] if found else None

    def run(self, statement: str) -> int:
        """Run a statement; return the number of changed rows, if it changes rows."""
        return self.connection.execute(statement).rowcount

    def transact(self, statements: Iterable[str]) -> list[int]:
        """Run statements in one transaction; retry a few times after a lock timeout or a conflict.

        Raises LockedError after the last try, and MigrationError for any other error of the database.
        """
        statements = list(statements)
        for pause in (*_PAUSES, None):
            try:
                self.run(self.dialect.begin)
                counts = [self.run(statement) for statement in statements]
                self.run("COMMIT")
                return counts
            except BaseException as error:
                with contextlib.suppress(Exception):  # the connection may be closed, or no transaction begun
                    self.run("ROLLBACK")
                if not isinstance(error, self.errors):
                    raise
                if pause is None or _code(error) not in _TRANSIENT:
                    raise self._documented(error) from error
                time.sleep(pause)
        raise AssertionError("the last try returns or raises")

    def _documented(self, error: BaseException) -> LockedError | MigrationError:
        """Return the exception to raise for an error of the driver."""
        if _code(error) not in _TRANSIENT:
            return MigrationError(f"{self.table}: {error}; this step changed nothing")
        holders = ["another connection, which SQLite does not name"]
        if self.dialect.name == "postgresql":
            holders = [row[0] for row in self.rows(self.about(_HOLDERS))] or ["no session any more"]
        held = f"could not get the lock ({str(error).splitlines()[0]}), held by {'; '.join(holders)}"
        return LockedError(
            f"{self.table}: {held}; end that transaction, or wait until it ends, then run this again"
        )

    def about(self, query: str, table: str = "", **texts: str) -> str:
        """Fill in a query on the catalogue: a table's name, and its name in SQL, as literals; and other texts."""
        table, literal = table or self.table, self.dialect.literal
        return query.format(name=literal(table), table=literal(self.dialect.quote(table)), **texts)

    def columns(self, table: str = "") -> dict[str, str]:
        """Return the types of a table's columns by their folded names; empty if there is no such table.

        A view, a partition, a temporary table, a table in another schema, and one with rows that this role can't see do not
        count.
        """
        found = self.rows(self.about(_COLUMNS[self.dialect.name], table))
        return {self.dialect.fold(name): kind for name, kind in found}


def _code(error: BaseException) -> str | int:
    """Return the code of a database error: SQLSTATE, or SQLite's code without its details."""
    return getattr(error, "sqlstate", None) or getattr(error, "sqlite_errorcode", 0) & 0xFF


@contextlib.contextmanager
def session(engine: Any, table: str, wait: float, lock_timeout: float) -> Iterator[Session]:
    """Open a connection to the database of an SQLAlchemy Engine, and lock the table against other runners.

    The server releases the lock with the connection, the kernel with the process. `wait` and `lock_timeout` are in seconds.
    Raises SqlError for an unsupported database or driver, and LockedError after `wait` seconds.
    """
    dialect = getattr(engine, "dialect", None)
    name, driver = getattr(dialect, "name", ""), getattr(dialect, "driver", "")
    if (name, driver) not in {("sqlite", "pysqlite"), ("postgresql", "psycopg")}:
        raise SqlError(f"{engine!r}: give an engine of SQLAlchemy for sqlite or postgresql+psycopg")
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        driver_connection = connection.connection.driver_connection
        opened = Session(dialect_named(name), table, driver_connection, dialect.loaded_dbapi.Error)
        with (_locked_server if name == "postgresql" else _locked_file)(opened, wait):
            if name == "postgresql":
                opened.run(f"SET lock_timeout = {round(lock_timeout * 1000)}")
            yield opened


@contextlib.contextmanager
def _locked_server(opened: Session, wait: float) -> Iterator[None]:
    try:
        opened.run(f"SET TIME ZONE 'UTC'; SET lock_timeout = {max(1, round(wait * 1000))}")
        opened.rows(opened.about(f"SELECT pg_advisory_lock({_LOCK})"))
        yield
    finally:
        with contextlib.suppress(Exception):  # the connection returns to a pool, or is closed with its locks
            opened.run("RESET TIME ZONE; RESET lock_timeout; SELECT pg_advisory_unlock_all()")


@contextlib.contextmanager
def _locked_file(opened: Session, wait: float) -> Iterator[None]:
    database = opened.value("SELECT file FROM pragma_database_list WHERE name = 'main'")
    in_memory = contextlib.nullcontext(True)  # no other program can reach it
    with file_lock(Path(f"{database}.migrating"), wait=wait) if database else in_memory as held:
        if not held:
            raise LockedError(f"{opened.table}: another migration is running; wait until it ends")
        yield
