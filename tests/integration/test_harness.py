"""The engine of the integration tests: it answers, it runs a stand-in, and its ports are those of loopback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from containers import Engine, Stack

COMPOSE = """
services:
  postgres:
    image: postgres:17.6-bookworm
    environment: {POSTGRES_PASSWORD: "${PASSWORD}", POSTGRES_DB: lessons}
    ports: ["127.0.0.1::5432"]
    healthcheck: {test: [CMD, pg_isready, -h, 127.0.0.1], interval: 1s, retries: 60}
  broker:
    image: valkey/valkey:8.1.4
    healthcheck: {test: [CMD, valkey-cli, ping], interval: 1s, retries: 60}
"""


@pytest.fixture(scope="module")
def stack(engine: Engine, compose: Callable[..., Stack], tmp_path_factory: pytest.TempPathFactory) -> Stack:
    engine.provide("postgres:17.6-bookworm", "valkey/valkey:8.1.4")
    file = tmp_path_factory.mktemp("stack") / "compose.yml"
    file.write_text(COMPOSE, encoding="utf-8")
    stack = compose(file, env={"PASSWORD": "a/b c"})
    stack.up(timeout=120)
    return stack


def test_a_published_port_is_reached_on_loopback(stack: Stack) -> None:
    port = stack.port("postgres", 5432)
    address = {"host": "127.0.0.1", "port": port, "user": "postgres", "dbname": "lessons"}
    with psycopg.connect(**address, password="a/b c") as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(**address, password="another")


def test_services_find_each_other_by_name(stack: Stack) -> None:
    assert stack("exec", "-T", "postgres", "sh", "-c", "getent hosts broker").strip().endswith("broker")


def test_a_command_that_fails_says_what_and_why(stack: Stack) -> None:
    with pytest.raises(AssertionError, match=r"(?s)docker compose .* status 1\n.*no such service: nobody"):
        stack("ps", "nobody")


def test_a_private_engine_has_a_network_of_its_own(engine: Engine) -> None:
    if not engine.private:
        pytest.skip("the engine of this machine is used")
    interfaces = {line.split(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()[2:]}
    assert {"lo", "tap0", "docker0"} <= interfaces  # tap0: the way out, by slirp4netns
    assert [name for name in interfaces if not name.startswith(("lo", "tap0", "docker", "br-", "veth"))] == []
