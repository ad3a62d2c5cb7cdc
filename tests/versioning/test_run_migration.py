"""Migrations run on live tables: in phases, one runner at a time, killed and resumed, nothing lost or overwritten."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from databases import Database, calling_after_batches, engine_for
from waiting import until

from lib.versioning import USERS, Field, Schema, SchemaHistory, UnknownVersionError
from lib.versioning.dialects import SqlError
from lib.versioning.migrate import LockedError, MigrationError, run_migration
from lib.versioning.operations import AddField, ConvertField, DropField, RenameField, SplitField
from lib.versioning.schema import to_utc
from lib.versioning.sessions import Session
from lib.versioning.users import make_users

CHANGES = SchemaHistory(
    "people",
    first=Schema(
        Field("id", "string"), Field("name", "string", length=60), Field("order", "integer"),
        Field("phone", "string", nullable=True), Field("note", "string", nullable=True),
    ),
    steps={
        2: [
            SplitField("name", ("first", "last"), " "), RenameField("phone", "mobile"),
            ConvertField("order", "string", length=20), AddField("level", "integer", default=1), DropField("note"),
        ],
        3: [AddField("copied", "string", nullable=True, copy_from="mobile")],
    },
)  # fmt: skip
PEOPLE = [
    {"id": "a", "name": "Ana María", "order": 7, "phone": "1", "note": "x"},
    {"id": "b", "name": "Bo Li Su", "order": -(2**63), "phone": None, "note": None},
    {"id": "c", "name": "C d", "order": 0, "phone": "3", "note": "y"},
]


def users(count: int, **options: Any) -> list[dict[str, Any]]:
    return list(make_users(count, seed=1, **options))


def phases(result: Any) -> list[tuple[Any, ...]]:
    return [(p.phase, p.rows, p.batches, p.lost) for p in result]


# ── Phases ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_users_from_1_to_3_and_back(live: Database) -> None:
    records = users(25)
    live.table(USERS, 1, records)
    first = run_migration(live.target, USERS, 1, 3, batch_size=10)
    assert phases(first) == [("expand", 0, 0, None), ("backfill", 25, 3, None)]
    assert live.state() == [("users", 1, 3, "backfill", None)]
    again = run_migration(live.target, USERS, 1, 3, batch_size=10)
    assert phases(again) == [("expand", 0, 0, None), ("backfill", 0, 3, None)]
    last = run_migration(live.target, USERS, 1, 3, phase="contract")
    assert phases(last) == [("contract", 0, 1, {})]
    assert live.state() == [("users", 3, None, None, None)]
    found = {row["id"]: row for row in live.rows("users")}
    assert all(str(found[r["id"]]["updated_at"])[:10] == r["created_at"][:10] for r in records)
    assert run_migration(live.target, USERS, 1, 3, phase="contract") == ()
    live.execute("UPDATE users SET email = 'a@example.org' WHERE id = '7'")
    back = run_migration(live.target, USERS, 3, 1)
    assert phases(back) == [("expand", 0, 0, None), ("backfill", 0, 0, None)]
    assert len(live.rows("users")[0]) == 6, "nothing is dropped unless contract is asked for by name"
    contracted = run_migration(live.target, USERS, 3, 1, phase="contract", discard=["email"])
    assert phases(contracted) == [("contract", 0, 0, {"email": 1})]
    assert live.rows("users") == sorted(records, key=lambda record: record["id"])


def test_an_unfinished_migration_can_be_given_up(live: Database) -> None:
    live.table(CHANGES, 1, PEOPLE)
    run_migration(live.target, CHANGES, 1, 2)
    live.execute("UPDATE people SET mobile = 'new', phone = 'new' WHERE id = 'a'")
    assert phases(run_migration(live.target, CHANGES, 2, 1))[0] == ("expand", 0, 0, None)
    assert live.state() == [("people", 1, 2, "backfill", None)]
    result = run_migration(live.target, CHANGES, 2, 1, phase="contract")
    assert result[0].lost == {}, "both forms were written"
    assert live.rows("people") == [PEOPLE[0] | {"phone": "new"}, *PEOPLE[1:]]
    assert live.state() == [("people", 1, None, None, None)]


# ── What is refused ──────────────────────────────────────────────────────────────────────────────────────────────


def test_the_order_of_phases_and_versions_is_kept(live: Database) -> None:
    live.table(CHANGES, 1, PEOPLE)
    run = partial(run_migration, live.target, CHANGES)
    with pytest.raises(MigrationError, match="run phase 'expand' before 'backfill'"):
        run(1, 2, phase="backfill")
    run(1, 2, phase="expand")
    with pytest.raises(MigrationError, match="run phase 'backfill' before 'contract'"):
        run(1, 2, phase="contract")
    with pytest.raises(MigrationError, match="to version 2 is unfinished: finish it .* from 2 to 1"):
        run(1, 3)
    with pytest.raises(MigrationError, match="people is at version 1, not 2"):
        run(2, 3)
    with pytest.raises(UnknownVersionError):
        run(1, 9)
    with pytest.raises(SqlError, match="phase 'explode': choose one of expand, backfill, contract"):
        run(1, 2, phase="explode")


def test_a_key_that_is_not_there_or_goes_is_named(live: Database) -> None:
    live.table(USERS, 1, users(1))
    with pytest.raises(MigrationError, match="users.key: pass as key=… a unique column"):
        run_migration(live.target, USERS, 1, 2, key="key")
    with pytest.raises(MigrationError, match="people.name: pass as key=…"):
        live.table(CHANGES, 1, PEOPLE)
        run_migration(live.target, CHANGES, 1, 2, key="name")


def test_other_databases_are_refused() -> None:
    for target in (sa.create_mock_engine("mysql+pymysql://", lambda *_: None), "sqlite:///x.db"):
        with pytest.raises(SqlError, match="give an engine of SQLAlchemy for sqlite or postgresql"):
            run_migration(target, USERS, 1, 2)


# ── Two runners ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_second_runner_waits_or_is_refused(live: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    live.table(USERS, 1, users(20))
    inside, go_on = threading.Event(), threading.Event()

    monkeypatch.setattr(Session, "transact", calling_after_batches(lambda: (inside.set(), go_on.wait(20))))
    outcome: list[Any] = []

    def run() -> None:
        outcome.append(run_migration(live.target, USERS, 1, 2, batch_size=10, wait=20))

    first, waiting = threading.Thread(target=run), threading.Thread(target=run)
    first.start()
    assert inside.wait(20)
    named = "another migration" if live.dialect == "sqlite" else "could not get the lock .* held by process "
    with pytest.raises(LockedError, match=f"users: {named}"):
        run_migration(live.target, USERS, 1, 2, wait=0.2)
    waiting.start()
    time.sleep(0.2)
    assert outcome == []
    go_on.set()
    first.join(20)
    waiting.join(20)
    assert [phases(result)[1][1:3] for result in outcome] == [(20, 2 + 1), (0, 3)]


def test_tables_migrated_for_the_first_time_at_once_share_the_table_of_versions(postgres_dsn: str) -> None:
    first, names = USERS.schema(1), [f"users_{number}" for number in range(6)]
    steps = {2: [AddField("email", "string", nullable=True)]}
    histories = [SchemaHistory(name, first=first, steps=steps) for name in names]
    with engine_for("postgresql", postgres_dsn) as live:
        for history in histories:
            live.table(history, 1, [])
        for _ in range(5):
            live.execute("DROP TABLE IF EXISTS schema_versions")
            start = threading.Barrier(len(histories))

            def run(history: SchemaHistory, start: threading.Barrier = start) -> None:
                start.wait(60)
                run_migration(live.target, history, 1, 2, phase="expand")

            with ThreadPoolExecutor(len(histories)) as pool:
                list(pool.map(run, histories))
            assert sorted(row[0] for row in live.state()) == names


# ── Killed, under live writes ────────────────────────────────────────────────────────────────────────────────────


class LiveWriter:
    """An application that writes while a table migrates, and remembers what it wrote."""

    def __init__(self, live: Database, address: str, ids: list[str]) -> None:
        self.dialect, self.address, self.ids = live.dialect, address, ids
        self.written: dict[str, tuple[str, str]] = {}  # by id: created_at, updated_at
        self.deleted: set[str] = set()
        self.statements = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def __enter__(self) -> LiveWriter:
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._end.set()
        self._thread.join()

    def _write(self) -> None:
        rng, number = random.Random(5), 0
        with engine_for(self.dialect, self.address) as live:
            while not self._end.wait(0.001):
                number += 1
                self._one(live.execute, rng, number, f"2030-01-01T00:00:{number % 60:02}")
                self.statements += 1

    def _one(self, execute: Callable[..., Any], rng: random.Random, number: int, moment: str) -> None:
        key = rng.choice(self.ids)
        if number % 7 == 0:  # old code, which knows no updated_at
            key, day = f"new{rng.random()}", f"2025-01-{number % 28 + 1:02}"
            execute(f"INSERT INTO users (id, name, created_at) VALUES ('{key}', 'x', '{day}')")
            self.written[key] = (day, day)
        elif number % 11 == 0:
            execute(f"DELETE FROM users WHERE id = '{key}'")
            self.deleted.add(key)
        elif key not in self.deleted:
            execute(f"UPDATE users SET created_at = '2030-01-01', updated_at = '{moment}' WHERE id = '{key}'")
            self.written[key] = ("2030-01-01", moment)


def check_nothing_is_lost(live: Database, records: list[dict[str, Any]], writer: LiveWriter) -> None:
    expected = {record["id"]: (record["created_at"],) * 2 for record in records} | writer.written
    for key in writer.deleted:
        del expected[key]
    found = {row["id"]: (at(row["created_at"]), at(row["updated_at"])) for row in live.rows("users")}
    assert found == {key: (to_utc(created), to_utc(updated)) for key, (created, updated) in expected.items()}


def at(value: Any) -> Any:
    return to_utc(value) if isinstance(value, str) else value


BATCH = 20


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_a_backfill_killed_ten_times(dialect: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """It loses nothing and overwrites nothing."""
    address = str(tmp_path / "test.db") if dialect == "sqlite" else request.getfixturevalue("postgres_dsn")
    records = users(1500)  # more batches than the killed runs may do
    killed_runs = [sys.executable, str(Path(__file__).with_name("killed_runner.py")), dialect, address]
    numbers = ["1", "3", "10", str(BATCH), "42"]
    path = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with engine_for(dialect, address) as live:
        live.execute("BEGIN")
        live.table(USERS, 1, records)
        live.execute("COMMIT")
        run_migration(live.target, USERS, 1, 3, phase="expand")
        with LiveWriter(live, address, [record["id"] for record in records]) as writer:
            told = json.loads(subprocess.check_output([*killed_runs, *numbers], env=path))
            meanwhile = writer.statements
            until(lambda: writer.statements > 100)  # the last of them come between backfill and contract
        result = run_migration(live.target, USERS, 1, 3, phase="contract")
        assert told["killed"] >= 5, told
        all_batches = len(live.rows("users")) / BATCH  # the writer has added rows, more on a slow machine
        assert told["done"] >= 10, told
        assert told["batches"] < all_batches - told["done"] / 2, f"it began at the start again: {told}"
        assert meanwhile > 10, "SQLite lets one write at a time: the writer seldom gets its turn"
        assert writer.written and writer.deleted
        check_nothing_is_lost(live, records, writer)
        assert result[0].lost == {}
