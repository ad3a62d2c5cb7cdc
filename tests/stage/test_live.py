"""The live load sees what blocks, and what is lost."""

import threading

import psycopg
import pytest
from waiting import until

from lib.stage.live import LiveLoad, change


@pytest.fixture(scope="module")
def dsn(new_database):
    return new_database().dsn


@pytest.fixture
def keys(dsn):
    keys = [str(number) for number in range(5_000)]
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS users")
        connection.execute("CREATE TABLE users (id text PRIMARY KEY, name text)")
        connection.cursor().executemany("INSERT INTO users VALUES (%s, 'x')", [(key,) for key in keys])
    return keys


def writes(load):
    return (load.statements()["kind"] == "write").sum()


def test_an_undisturbed_table_loses_nothing_of_an_application_that_writes_both_forms(dsn, keys):
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("ALTER TABLE users ADD COLUMN full_name text")
        both = "UPDATE users SET name = %(name)s, full_name = %(name)s WHERE id = %(id)s"
        with LiveLoad(dsn, keys, rate=100, write=both) as load, load.span("nothing"):
            until(lambda: writes(load) > 5)
        written = connection.execute("SELECT count(*) FROM users WHERE full_name = name").fetchone()[0]
    assert written == writes(load)
    assert set(load.statements()["kind"]) == {"read", "write"}
    assert set(load.statements()["outcome"]) == {"ok"} and load.lost == 0
    assert list(load.spans()["name"]) == ["nothing"]


def test_what_was_due_is_sent_even_if_the_table_is_blocked_to_the_end(dsn, keys):
    with psycopg.connect(dsn) as connection, LiveLoad(dsn, keys, rate=100) as load:
        connection.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        until(lambda: load.blocked() > 0.5)  # longer than it takes until each connection waits
        threading.Timer(1.0, connection.rollback).start()  # half a second after the end
    statements = load.statements()
    numbers = (statements["due"] * 100).round()
    assert list(numbers) == list(range(len(statements)))
    assert statements["due"].max() >= load.locks()["at"].max() - 0.1
    assert set(statements["outcome"]) == {"ok"}


def test_lost_writes_and_errors_are_counted(dsn, keys):
    with LiveLoad(dsn, keys, rate=100) as load, psycopg.connect(dsn, autocommit=True) as connection:
        until(lambda: writes(load) > 0)
        connection.execute("UPDATE users SET name = 'overwritten'")
        connection.execute("ALTER TABLE users RENAME TO gone")
        until(lambda: "UndefinedTable" in set(load.statements()["outcome"]))
        connection.execute("ALTER TABLE gone RENAME TO users")
    assert load.lost > 0


def test_nothing_of_it_runs_on(dsn, keys):
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError), LiveLoad(dsn, keys, rate=100):
        1 / 0  # noqa: B018
    assert threading.active_count() == before


def test_a_change_that_fails_or_is_about_another_table_says_so(dsn, keys):
    with pytest.raises(psycopg.errors.UndefinedColumn, match="age"):
        change(dsn, "ALTER TABLE users DROP COLUMN age")
    with pytest.raises(ValueError, match="not about that table: SELECT 1"):
        change(dsn, "SELECT 1")
