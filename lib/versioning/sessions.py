"""One connection of a migration's own to a live database: statements, transactions that try again, and the lock."""

from __future__ import annotations

import contextlib
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from lib.stage.locks import file_lock
from lib.versioning.dialects import Dialect, SqlError, dialect_named

#: Seconds between tries of a transaction that met a lock or a conflict: time for those who waited behind it.
_PAUSES = (0.1, 0.5, 1.0, 2.0)
#: Codes for a lock that was not had in time, a deadlock and a serialization failure; SQLite's for a locked database.
_TRANSIENT = {"55P03", "40P01", "40001", sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
#: PostgreSQL: the sessions and prepared transactions that hold locks on tables, the oldest transaction first.
_HOLDERS = """SELECT DISTINCT coalesce(format('process %s of %s%s, %s, in a transaction since %s', pid, usename,
    ' (' || nullif(application_name, '') || ')', state, date_trunc('second', xact_start)), 'a prepared transaction')
    FROM pg_locks LEFT JOIN pg_stat_activity USING (pid)
    WHERE granted AND pid IS DISTINCT FROM pg_backend_pid() AND relation = to_regclass({table})"""


class MigrationError(RuntimeError):
    """A migration can't be done, or not now; the message says why, and what to do. Nothing was lost."""


class LockedError(RuntimeError):
    """Another runner is at work on the table, or another session holds a lock; the message tells which."""


class Column(NamedTuple):
    """A column in the catalogue: its type as `Dialect.type` spells it, its default as SQL, and what else it has."""

    type: str
    default: str | None
    extra: str


@dataclass(frozen=True)
class Session:
    """A connection in autocommit mode, in UTC, for the migration of one table. `errors` is the base of its driver's errors."""

    dialect: Dialect
    table: str
    connection: Any
    errors: type[Exception]

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a query. Raises MigrationError with the words of a database that can't."""
        try:
            return self.connection.execute(statement).fetchall()
        except self.errors as error:
            raise self._documented(error) from error

    def value(self, statement: str) -> Any:
        """The one value, or the first, that a query finds; None if it finds nothing."""
        found = self.rows(statement)
        return found[0][0] if found else None

    def count(self, table: str, where: str) -> int:
        """The number of rows for which a condition holds."""
        return self.value(f"SELECT count(*) FROM {table} WHERE {where}")

    def run(self, statement: str) -> int:
        """Run a statement; return the number of rows that it changed, if it changes rows."""
        return self.connection.execute(statement).rowcount

    def transact(self, statements: Iterable[str]) -> list[int]:
        """Run statements in one transaction; try again a few times where a lock or a conflict stood in the way.

        Raises LockedError after the last try, and MigrationError for anything else that the database says.
        """
        statements = list(statements)
        for pause in (*_PAUSES, None):
            try:
                self.run(self.dialect.begin)
                counts = [self.run(statement) for statement in statements]
                self.run("COMMIT")
                return counts
            except BaseException as error:
                with contextlib.suppress(Exception):  # the connection may be gone, or nothing be begun
                    self.run("ROLLBACK")
                if not isinstance(error, self.errors):
                    raise
                if pause is None or _code(error) not in _TRANSIENT:
                    raise self._documented(error) from error
                time.sleep(pause)
        raise AssertionError("the last try returns or raises")

    def _documented(self, error: BaseException) -> LockedError | MigrationError:
        """What to raise for an error of the driver."""
        if _code(error) not in _TRANSIENT:
            return MigrationError(f"{self.table}: {error}; this step changed nothing")
        holders = ["another connection, which SQLite does not name"]
        if self.dialect.name == "postgresql":
            table = self.dialect.literal(self.dialect.quote(self.table))
            holders = [row[0] for row in self.rows(_HOLDERS.format(table=table))] or ["nobody any more"]
        held = f"the lock was not to be had ({str(error).splitlines()[0]}): held by {'; '.join(holders)}"
        return LockedError(
            f"{self.table}: {held}; end that transaction, or wait for its end, and run this again"
        )

    def columns(self, table: str) -> dict[str, Column]:
        """The columns of a table in the current schema; none if there is no such table."""
        name = self.dialect.literal(table)
        if self.dialect.name == "sqlite":
            query = f"SELECT name, upper(type), dflt_value, iif(hidden > 1, 'GENERATED', '') FROM pragma_table_xinfo({name})"
        else:
            kind = "replace(replace(data_type, 'character varying', 'varchar'), ' without time zone', '')"
            query = (
                f"SELECT column_name, upper({kind} || coalesce('(' || character_maximum_length || ')', '')), "
                "column_default, concat_ws(' ', CASE is_generated WHEN 'ALWAYS' THEN 'GENERATED' END, "
                "'COLLATE ' || collation_name) FROM information_schema.columns "
                f"WHERE table_schema = current_schema() AND table_name = {name}"
            )
        return {found: Column(*rest) for found, *rest in self.rows(query)}

    @contextlib.contextmanager
    def lock(self, wait: float, holder: Callable[[], str]) -> Iterator[None]:
        """Keep every other runner off a table, until the block ends or this process dies.

        Raises LockedError, which tells who holds the lock, after `wait` seconds.
        """
        deadline = time.monotonic() + wait
        while True:
            with self._attempt() as held:
                if held:
                    yield
                    return
            if time.monotonic() >= deadline:
                raise LockedError(f"{self.table}: another migration is at work: {holder()}; wait for its end")
            time.sleep(0.05)

    @contextlib.contextmanager
    def _attempt(self) -> Iterator[bool]:
        """Hold a lock that the server gives up with the connection, or the kernel with the process; False: another runner has it."""
        if self.dialect.name == "postgresql":
            key = f"(1836410983, {zlib.crc32(self.table.encode()) - 2**31})"  # the first number stands for "migr"
            held = self.value(f"SELECT pg_try_advisory_lock{key}")
            try:
                yield held
            finally:
                if held:
                    with contextlib.suppress(Exception):  # with the connection the lock is gone too
                        self.value(f"SELECT pg_advisory_unlock{key}")
        elif database := self.value("SELECT file FROM pragma_database_list WHERE name = 'main'"):
            with file_lock(Path(f"{database}.migrating")) as held:
                yield held
        else:  # in memory: nobody else can reach it
            yield True


def _code(error: BaseException) -> str | int:
    """The code of a database's error: SQLSTATE, or SQLite's without its details."""
    return getattr(error, "sqlstate", None) or getattr(error, "sqlite_errorcode", 0) & 0xFF


@contextlib.contextmanager
def session(engine: Any, table: str, lock_timeout: float) -> Iterator[Session]:
    """Open a connection to the database of an Engine of SQLAlchemy.

    Raises SqlError for a database or driver that no migration can be run on.
    """
    dialect = getattr(engine, "dialect", None)
    name, driver = getattr(dialect, "name", ""), getattr(dialect, "driver", "")
    if (name, driver) not in {("sqlite", "pysqlite"), ("postgresql", "psycopg")}:
        raise SqlError(f"{engine!r}: give an engine of SQLAlchemy for sqlite or postgresql+psycopg")
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        driver_connection = connection.connection.driver_connection
        opened = Session(dialect_named(name), table, driver_connection, dialect.loaded_dbapi.Error)
        if name == "postgresql":
            opened.run(f"SET TIME ZONE 'UTC'; SET lock_timeout = {round(lock_timeout * 1000)}")
        try:
            yield opened
        finally:
            with contextlib.suppress(Exception):  # the connection goes back to a pool
                opened.run("RESET TIME ZONE; RESET lock_timeout" if name == "postgresql" else "SELECT 1")
