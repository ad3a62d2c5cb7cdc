"""Databases for tests: in the PostgreSQL server of the session, a new schema for each test that asks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest
from databases import Database, engine_for

from lib.stage.servers import Server

_numbers = count(1)


@pytest.fixture
def postgres_dsn(postgres_server: Server) -> Iterator[str]:
    """The address of a new, empty schema: made in a moment, other than a database."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(postgres_server.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
        yield psycopg.conninfo.make_conninfo(postgres_server.dsn, options=f"-c search_path={name}")
        connection.execute(f"DROP SCHEMA {name} CASCADE")


@pytest.fixture(params=["sqlite", "postgresql"])
def live(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """Each kind of database, new and empty, in a file or on a server, as `run_migration` takes it."""
    file = tmp_path / "test.db"
    address = str(file) if request.param == "sqlite" else request.getfixturevalue("postgres_dsn")
    with engine_for(request.param, address) as opened:
        yield opened
