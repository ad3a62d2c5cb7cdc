"""The live load sees what blocks, and what is lost."""

import threading
import time

import psycopg
import pytest

from lib.stage.live import LiveLoad
from lib.stage.servers import postgres


@pytest.fixture(scope="module")
def dsn():
    with postgres() as server:
        yield server.dsn


@pytest.fixture
def keys(dsn):
    keys = [str(number) for number in range(5_000)]
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS users")
        connection.execute("CREATE TABLE users (id text PRIMARY KEY, name text)")
        connection.cursor().executemany("INSERT INTO users VALUES (%s, 'x')", [(key,) for key in keys])
    return keys


def test_an_undisturbed_table_loses_nothing(dsn, keys):
    with LiveLoad(dsn, keys, rate=100) as load, load.span("nothing"):
        time.sleep(0.5)
    statements = load.statements()
    assert len(statements) > 50
    assert set(statements["outcome"]) == {"ok"}
    assert set(statements["kind"]) == {"read", "write"}
    assert load.lost == 0
    assert list(load.spans()["name"]) == ["nothing"]


def test_an_application_that_writes_both_forms(dsn, keys):
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("ALTER TABLE users ADD COLUMN full_name text")
        both = "UPDATE users SET name = %(name)s, full_name = %(name)s WHERE id = %(id)s"
        with LiveLoad(dsn, keys, rate=100, write=both) as load:
            pass
        written = connection.execute("SELECT count(*) FROM users WHERE full_name = name").fetchone()[0]
    assert written == (load.statements()["kind"] == "write").sum() > 5
    assert load.lost == 0


def test_a_locked_table_is_seen_to_block(dsn, keys):
    with LiveLoad(dsn, keys, rate=100) as load, psycopg.connect(dsn) as connection:
        connection.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        time.sleep(0.6)
        connection.rollback()
    assert load.blocked() > 0.3
    assert load.locks()["waiting"].max() > 1
    assert load.statements()["waited"].max() > 0.5
    assert load.lost == 0


def test_lost_writes_and_errors_are_counted(dsn, keys):
    with LiveLoad(dsn, keys, rate=100) as load, psycopg.connect(dsn, autocommit=True) as connection:
        time.sleep(0.3)
        connection.execute("UPDATE users SET name = 'overwritten'")
        time.sleep(0.1)
        connection.execute("ALTER TABLE users RENAME TO gone")
        time.sleep(0.2)
        connection.execute("ALTER TABLE gone RENAME TO users")
    assert load.lost > 0
    assert "UndefinedTable" in set(load.statements()["outcome"])


def test_nothing_of_it_runs_on(dsn, keys):
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError), LiveLoad(dsn, keys, rate=100):
        1 / 0  # noqa: B018
    assert threading.active_count() == before
