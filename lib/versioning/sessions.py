"""One connection of a migration's own to a live database: statements, transactions that try again, and the lock."""

from __future__ import annotations

import contextlib
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from lib.stage.locks import file_lock
from lib.versioning.dialects import Dialect, SqlError, dialect_named

#: Seconds between tries of a transaction that met a lock or a conflict: time for those who waited behind it.
_PAUSES = (0.1, 0.5, 1.0, 2.0)
#: PostgreSQL's codes for a lock that was not had in time, a deadlock, and a serialization failure.
_TRANSIENT = {"55P03", "40P01", "40001"}


class Session:
    """A connection in autocommit mode, in UTC."""

    def __init__(self, dialect: Dialect, connection: Any, lock_timeout: float) -> None:
        self.dialect = dialect
        self._connection = connection
        self._wait = (
            [f"SET LOCAL lock_timeout = {round(lock_timeout * 1000)}"] if dialect.name == "postgresql" else []
        )

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a query."""
        return self._connection.execute(statement).fetchall()

    def value(self, statement: str) -> Any:
        """The one value, or the first, that a query finds; None if it finds nothing."""
        found = self.rows(statement)
        return found[0][0] if found else None

    def run(self, statement: str) -> int:
        """Run a statement; return the number of rows that it changed, if it changes rows."""
        return self._connection.execute(statement).rowcount

    def transact(self, statements: Iterable[str]) -> list[int]:
        """Run statements in one transaction; try again a few times where a lock or a conflict stood in the way."""
        statements = list(statements)
        for pause in (*_PAUSES, None):
            try:
                for statement in (self.dialect.begin, *self._wait):
                    self.run(statement)
                counts = [self.run(statement) for statement in statements]
                self.run("COMMIT")
                return counts
            except BaseException as error:
                with contextlib.suppress(Exception):  # the connection may be gone, or nothing be begun
                    self.run("ROLLBACK")
                if pause is None or not _transient(error):
                    raise
                time.sleep(pause)
        raise AssertionError("the last try returns or raises")

    def columns(self, table: str) -> list[str]:
        """The names of the columns of a table, in lower case where the database ignores case; none if there is none."""
        name = self.dialect.literal(table)
        if self.dialect.name == "sqlite":
            return [row[0] for row in self.rows(f"SELECT name FROM pragma_table_info({name})")]
        query = "SELECT column_name FROM information_schema.columns WHERE table_schema = current_schema()"
        return [row[0] for row in self.rows(f"{query} AND table_name = {name}")]

    @contextlib.contextmanager
    def lock(self, table: str, wait: float, holder: Callable[[], str]) -> Iterator[None]:
        """Keep every other runner off a table, until the block ends or this process dies.

        Raises LockedError, which tells who holds the lock, after `wait` seconds.
        """
        deadline = time.monotonic() + wait
        while True:
            with self._attempt(table) as held:
                if held:
                    yield
                    return
            if time.monotonic() >= deadline:
                raise LockedError(f"{table}: another migration is at work: {holder()}; wait for its end")
            time.sleep(0.05)

    @contextlib.contextmanager
    def _attempt(self, table: str) -> Iterator[bool]:
        """Hold a lock that the server gives up with the connection, or the kernel with the process; False: another runner has it."""
        if self.dialect.name == "postgresql":
            key = f"(1836410983, {zlib.crc32(table.encode()) - 2**31})"  # the first number stands for "migr"
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


class LockedError(RuntimeError):
    """Another runner is at work on the table; the message tells which."""


def _transient(error: BaseException) -> bool:
    text = str(error).lower()
    return getattr(error, "sqlstate", None) in _TRANSIENT or "is locked" in text


@contextlib.contextmanager
def session(engine: Any, lock_timeout: float) -> Iterator[Session]:
    """Open a connection to the database of an Engine of SQLAlchemy.

    Raises SqlError for a database or driver that no migration can be run on.
    """
    dialect = getattr(engine, "dialect", None)
    name, driver = getattr(dialect, "name", ""), getattr(dialect, "driver", "")
    if (name, driver) not in {("sqlite", "pysqlite"), ("postgresql", "psycopg")}:
        raise SqlError(f"{engine!r}: give an engine of SQLAlchemy for sqlite or postgresql+psycopg")
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        opened = Session(dialect_named(name), connection.connection.driver_connection, lock_timeout)
        if name == "postgresql":
            opened.run("SET TIME ZONE 'UTC'")
        try:
            yield opened
        finally:
            with contextlib.suppress(Exception):  # the connection goes back to a pool
                opened.run("RESET TIME ZONE" if name == "postgresql" else "SELECT 1")
