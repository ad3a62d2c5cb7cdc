"""Live statements on a table of PostgreSQL while something is done to it: what waited, and what was lost.

`change` is something that is done to it: one statement, of which it says which lock it took.
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
# Not the locks of a moment on pages, or on the end of the file while it grows.
LOCKS = "SELECT mode FROM pg_locks WHERE relation = 'users'::regclass AND locktype = 'relation' AND pid = %s AND granted"
#: From weak to strong, without their last word: https://www.postgresql.org/docs/current/explicit-locking.html
MODES = "AccessShare RowShare RowExclusive ShareUpdateExclusive Share ShareRowExclusive Exclusive AccessExclusive".split()
CONNECTIONS = 16
SAMPLE = 0.01  # seconds between two looks at who waits for a lock


class Change(NamedTuple):
    """What a statement did to the table `users`.

    lock: the strongest that it took. rewritten: the table is in another file now. seconds: how long it took.
    """

    lock: str
    rewritten: bool
    seconds: float


def change(dsn: str, statement: str) -> Change:
    """Run a statement on the table `users`, and say what it did to it.

    It runs in a transaction, so that its lock is still held when it is done; CONCURRENTLY, which allows none, is watched
    every millisecond while it runs. Raises psycopg.Error for a statement that fails, ValueError for one that takes no lock.
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
        raise ValueError(f"no lock on the table users was seen, so it is not about that table: {statement}")
    return Change(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", strongest).upper(), before != after, seconds)


class LiveLoad:
    """Reads and writes on the table `users` at a constant rate, in threads, as long as the `with` block lasts.

    Every fifth statement sets the name of a row that no other statement writes, the others read a row. The load is
    open loop: a statement has a time at which it is due, and waits from then on, also while all connections are
    blocked; what is due before the block ends is sent, however late. Every 10 ms the server is asked how many of
    the statements wait for a lock.

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
        """How many acknowledged writes the table did not hold when the load ended."""
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(CONNECTIONS)]
        self._threads.append(threading.Thread(target=self._watch, daemon=True))
        self._ready = threading.Barrier(len(self._threads) + 1, action=self._begin, timeout=60)

    def _begin(self) -> None:
        # Once all are connected, so that nothing is late from the beginning.
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
        """Note when something is done while the load runs."""
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
        ) as error:  # the latter: out of keys, a failure that nobody overlooks
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
        """One row a look at the server: `at` (seconds), `waiting` (statements that wait for a lock)."""
        return pd.DataFrame(self._samples, columns=["at", "waiting"])

    def spans(self) -> pd.DataFrame:
        """One row a `span`: `name`, `begin`, `end` (seconds)."""
        return pd.DataFrame(self._spans, columns=["name", "begin", "end"])

    def blocked(self) -> float:
        """The longest time, in seconds, over which at every look some statement was waiting for a lock."""
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
