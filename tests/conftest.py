"""What all tests share: tools, compose and site are importable, Hypothesis repeats itself, and children can be interrupted."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings

from lib.stage.servers import Server, postgres, valkey

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / folder) for folder in ("tools", "compose", "site")]

# Derandomized, so that a test that passed in CI passes for a learner; without limits in time, since machines are busy.
steady = {"derandomize": True, "deadline": None, "print_blob": True}
settings.register_profile("steady", **steady, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")

# In the background of a script, or under nohup, these are ignored, and every program that a test starts would inherit that.
# Handlers are not inherited.
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, lambda *_: None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is `long`, unless the variable LONG is set."""
    for item in items:
        if item.get_closest_marker("long") and not os.environ.get("LONG"):
            item.add_marker(pytest.mark.skip(reason="takes long: `make release-check ONLY=long`"))


@pytest.fixture(scope="session")
def broker() -> Iterator[Server]:
    with valkey() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    with postgres() as server:
        yield server


@pytest.fixture(scope="session")
def database(postgres_server: Server) -> Server:
    return postgres_server


@pytest.fixture(scope="session")
def new_database(postgres_server: Server) -> Callable[[], Server]:
    """Makes an empty database on the server of the session, which takes a tenth of the time of a server."""

    def make() -> Server:
        name = f"test_{os.urandom(4).hex()}"
        with psycopg.connect(postgres_server.dsn, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        url, dsn = (one.removesuffix("postgres") + name for one in (postgres_server.url, postgres_server.dsn))
        return replace(postgres_server, url=url, dsn=dsn)

    return make


@pytest.fixture
def kernel_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let kernels started by a test import `lib`, wherever their notebook lies and whether or not `lib` is installed."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
