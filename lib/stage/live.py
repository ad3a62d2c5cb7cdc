"""Run live statements on a PostgreSQL table while it is changed; report which waited and which were lost.

`change` runs one statement that changes the table, and reports which lock it took.
"""

from __future__ import annotations

import itertools
import math
import re
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from types import TracebackType
from typing import LiteralString, NamedTuple, Self

import pandas as pd
import psycopg

from lib.stage.ranges import check_range

NAME = "live load"
WRITE = "UPDATE users SET name = %(name)s WHERE id = %(id)s"
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = %s"
FILE = "SELECT pg_relation_filenode('users')"
# Without the short locks on pages and on the end of a growing file.
LOCKS = "SELECT mode FROM pg_locks WHERE relation = 'users'::regclass AND locktype = 'relation' AND pid = %s AND granted"
#: From weak to strong, without the word "Lock": https://www.postgresql.org/docs/current/explicit-locking.html
MODES = "AccessShare RowShare RowExclusive ShareUpdateExclusive Share ShareRowExclusive Exclusive AccessExclusive".split()
CONNECTIONS = 16
SAMPLE = 0.01  # seconds between two samples of the statements that wait for a lock


class Change(NamedTuple):
    """What a statement did to the table `users`.

    lock: the strongest lock it took. rewritten: the table is now in another file. seconds: how long it took.
    """

    lock: str
    rewritten: bool
    seconds: float


def change(dsn: str, statement: str) -> Change:
    """Run a statement on the table `users` and report what it did to the table.

    It runs in a transaction, so its lock is still held when it is done. A CONCURRENTLY statement can't run in a transaction, so
    its locks are sampled every millisecond. Raises psycopg.Error if the statement fails, ValueError if it takes no lock.
    """
    autocommit = "CONCURRENTLY" in statement.upper()
    with (
        psycopg.connect(dsn, autocommit=True) as watcher,
        psycopg.connect(dsn, autocommit=autocommit) as connection,
        ThreadPoolExecutor(1) as threads,
    ):
        before, held = watcher.execute(FILE).fetchone(), set[str]()
        begin, running = time.perf_counter(), threads.submit(connection.execute, statement.encode())
        done = False
        while not done:
            done = not wait([running], SAMPLE / 10).not_done
            seconds = time.perf_counter() - begin
            held.update(mode for (mode,) in watcher.execute(LOCKS, [connection.info.backend_pid]))
        running.result()
        connection.commit()
        after = watcher.execute(FILE).fetchone()
    strongest = max((mode.removesuffix("Lock") for mode in held), key=MODES.index, default=None)
    if strongest is None:
        raise ValueError(f"the statement took no lock on users, so it is not about that table: {statement}")
    return Change(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", strongest).upper(), before != after, seconds)


class LiveLoad:
    """Reads and writes on the table `users` at a constant rate, in threads, as long as the `with` block lasts.

    Every fifth statement sets the name of a row that no other statement writes, the others read a row. The load is open loop:
    the waiting time of a statement counts from the time at which it is due, even while all connections are blocked. Every
    statement due before the block ends is sent, however late. Every 10 ms the load asks the server how many of its statements
    wait for a lock.

    dsn: of the database. keys: ids of rows, used in order, at least one a statement. rate: statements a second.
    write: the statement that sets a name, with the parameters `name` and `id`.
    """

    def __init__(
        self, dsn: str, keys: Sequence[str], *, rate: float = 200, write: LiteralString = WRITE
    ) -> None:
        check_range(0.001, 100_000, rate=rate)
        self._dsn, self._keys, self._rate, self._write = dsn, keys, rate, write
        self._numbers, self._stop, self._start, self._end = (
            itertools.count(),
            threading.Event(),
            0.0,
            math.inf,
        )
        self._statements: list[tuple[float, float, str, str]] = []
        self._samples: list[tuple[float, int]] = []
        self._acknowledged: dict[str, str] = {}
        self._spans: list[tuple[str, float, float]] = []
        self.lost: int | None = None
        """How many acknowledged writes were missing from the table when the load ended."""
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(CONNECTIONS)]
        self._threads.append(threading.Thread(target=self._watch, daemon=True))
        self._ready = threading.Barrier(len(self._threads) + 1, action=self._begin, timeout=60)

    def _begin(self) -> None:
        # Start the clock once all are connected, so that no statement is late from the start.
        self._start = time.perf_counter()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        self._ready.wait()
        time.sleep(0.5)  # some statements before anything happens, to compare with
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        if kind is None:
            time.sleep(0.5)
        self._end = time.perf_counter() - self._start if kind is None else 0.0
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if kind is None:
            self.lost = self._count_lost()

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Record the begin and end of the block, while the load runs."""
        begin = time.perf_counter() - self._start
        try:
            yield
        finally:
            self._spans.append((name, begin, time.perf_counter() - self._start))

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(self._dsn, autocommit=True, application_name=NAME)

    def _work(self) -> None:
        with self._connect() as connection:
            self._ready.wait()
            for number in self._numbers:
                due = number / self._rate
                self._stop.wait(max(0.0, self._start + due - time.perf_counter()))
                if due > self._end:
                    return
                self._statement(connection, number, due)

    def _statement(self, connection: psycopg.Connection, number: int, due: float) -> None:
        write, value = number % 5 == 0, f"renamed {number}"
        try:
            key = self._keys[number]
            if write:
                connection.execute(self._write, {"name": value, "id": key})
                self._acknowledged[key] = value
            else:
                connection.execute("SELECT name FROM users WHERE id = %s", (key,)).fetchone()
            outcome = "ok"
        except (
            psycopg.Error,
            IndexError,
        ) as error:  # IndexError: no keys left, recorded as a failure
            outcome = type(error).__name__
        waited = time.perf_counter() - self._start - due
        self._statements.append((due, waited, "write" if write else "read", outcome))

    def _watch(self) -> None:
        with self._connect() as connection:
            self._ready.wait()
            while not self._stop.wait(SAMPLE):
                at = time.perf_counter() - self._start
                [(waiting,)] = connection.execute(WAITING, (NAME,)).fetchall()
                self._samples.append((at, waiting))

    def statements(self) -> pd.DataFrame:
        """One row a statement: when it was `due`, how long it `waited` for its answer (seconds), `kind`, `outcome`."""
        rows = sorted(self._statements)
        return pd.DataFrame(rows, columns=["due", "waited", "kind", "outcome"])

    def locks(self) -> pd.DataFrame:
        """One row a sample: `at` (seconds), `waiting` (statements that wait for a lock)."""
        return pd.DataFrame(self._samples, columns=["at", "waiting"])

    def spans(self) -> pd.DataFrame:
        """One row a `span`: `name`, `begin`, `end` (seconds)."""
        return pd.DataFrame(self._spans, columns=["name", "begin", "end"])

    def blocked(self) -> float:
        """The longest period, in seconds, during which every sample found a statement waiting for a lock."""
        longest, since = 0.0, None
        for at, waiting in self._samples:
            since = (at if since is None else since) if waiting else None
            longest = max(longest, at - since) if since is not None else longest
        return longest

    def _count_lost(self) -> int:
        with self._connect() as connection:
            query = "SELECT id, name FROM users WHERE id = ANY(%s)"
            found: dict[str, str] = dict(connection.execute(query, (list(self._acknowledged),)).fetchall())
        return sum(found.get(key) != value for key, value in self._acknowledged.items())
