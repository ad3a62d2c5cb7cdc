"""Real PostgreSQL and Valkey servers: started, shared, killed with their owners, as root and as a user."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
import redis
import sqlalchemy
from leftovers import left_in, processes_in
from owners import INTERRUPTED, line, owner
from waiting import until

from lib.stage import servers
from lib.stage.ports import free_port
from lib.stage.processes import ProcessError, user_ids
from lib.stage.servers import Server, postgres, valkey

pytestmark = [pytest.mark.filterwarnings("error"), pytest.mark.usefixtures("temporary")]
START = [postgres, valkey]
AS_ROOT = os.geteuid() == 0


def works(server: Server) -> bool:
    """Whether the server does what a lesson asks of it."""
    if server.name == "Valkey":
        with redis.Redis.from_url(server.dsn) as client:
            return bool(client.set("key", "ñ")) and client.get("key") == "ñ".encode()
    engine = sqlalchemy.create_engine(server.url)
    with engine.connect() as first, psycopg.connect(server.dsn) as second:
        query = "SELECT lower('ÑANDÚ'), current_setting('timezone')"
        rows = tuple(first.execute(sqlalchemy.text(query)).one()), second.execute(query).fetchone()
    engine.dispose()
    return rows == (("ñandú", "UTC"),) * 2


def port_of(dsn: str) -> int:
    return int(re.search(r"127\.0\.0\.1:(\d+)/", dsn)[1])  # type: ignore[index]


def refuses(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.parametrize("start", START)
def test_it_works_keeps_its_secret_and_leaves_nothing(start: Callable[[], Server], temporary: Path) -> None:
    with start() as server:
        assert works(server)
        assert server.process and server.process.pid in processes_in(temporary)
        if AS_ROOT and start is postgres:
            assert Path(f"/proc/{server.process.pid}").stat().st_uid == user_ids(servers.UNPRIVILEGED)[0]
        assert server.process.output() and repr(server) == f"<{server.name} server>"
        password = re.search(r":(\w{32})@", server.dsn)[1]  # type: ignore[index]
        for given in ("wrong", ""):
            url, dsn = server.url.replace(password, given), server.dsn.replace(password, given)
            with pytest.raises((sqlalchemy.exc.OperationalError, redis.AuthenticationError)):
                works(replace(server, url=url, dsn=dsn))
        files = [path for path in temporary.rglob("*") if path.is_file()]
        commands = [Path(f"/proc/{pid}/cmdline") for pid in processes_in(temporary)]
        assert files and commands
        assert [path for path in files + commands if password.encode() in path.read_bytes()] == []
    assert left_in(temporary, seconds=0) == [] and refuses(port_of(server.dsn))
    server.stop()


@pytest.mark.parametrize("start", START)
def test_a_killed_server_is_cleaned_up(start: Callable[[], Server]) -> None:
    with start() as server:
        assert server.process and server.process.pid
        os.kill(server.process.pid, signal.SIGKILL)
        assert server.process.wait(60) == -signal.SIGKILL
        assert refuses(port_of(server.dsn))
        segments = [row.split() for row in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]]
        assert str(server.process.pid) not in [creator for _, _, _, _, creator, *_ in segments]


def has_a_query(dsn: str) -> bool:
    active = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query ~ 'generate_series'"
    with psycopg.connect(dsn, autocommit=True) as connection:
        return connection.execute(active).fetchone() != (1,)  # this one


def test_an_owner_killed_leaves_nothing(temporary: Path) -> None:
    """Of a server that would wait for the end of a query."""
    code = """
import psycopg
server = postgres()
print(server.dsn, flush=True)
psycopg.connect(server.dsn).execute("SELECT count(*) FROM generate_series(1, 1e12::bigint)")
"""
    with owner(code) as process:
        dsn = line(process)
        until(lambda: has_a_query(dsn))
        process.kill()
        assert left_in(temporary) == []
        assert refuses(port_of(dsn))


@pytest.mark.parametrize(
    ("start", "delay"),
    [("postgres", 0.1), ("postgres", 0.4), ("postgres", 0.7), ("valkey", 0.05), ("valkey", 0.15)],
)
def test_ctrl_c_during_the_start(start: str, delay: float, temporary: Path) -> None:
    with owner(INTERRUPTED.replace("MAKE", f"{start}()")) as process:
        assert line(process) == "starting"
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        assert line(process) == "interrupted"
        assert left_in(temporary) == []


@pytest.mark.parametrize("start", START)
def test_a_port_taken_in_between(
    start: Callable[[], Server], broker: Server, postgres_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The port goes to a server of the same kind, which must not be mistaken for ours."""
    other = postgres_server if start is postgres else broker
    offered = iter([port_of(other.dsn), free := free_port()])
    monkeypatch.setattr("lib.stage.ports.free_port", lambda: next(offered))
    with start() as server:
        assert port_of(server.dsn) == free
        assert works(server)
        assert works(other)


@pytest.mark.parametrize("start", START)
def test_bad_program(start: Callable[[], Server], temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is reported with its words."""
    program = temporary / "initdb"
    program.write_text("#!/bin/sh\necho boom; exit 3\n")
    program.chmod(0o755)
    monkeypatch.setattr(servers, "wheel_binary", lambda *_: program)
    monkeypatch.setattr(servers, "_copy_for", lambda user, binaries, target: binaries)
    ports = iter([free_port()])  # a second one is not tried
    monkeypatch.setattr("lib.stage.ports.free_port", lambda: next(ports))
    with pytest.raises(ProcessError, match=r"ended with status 3.*\n    boom"):
        start()
    program.unlink()


def test_a_package_that_is_not_there() -> None:
    with pytest.raises(ProcessError, match="no_such_package has no binary for this machine"):
        servers.wheel_binary("no_such_package", "binary")


@pytest.mark.skipif(not AS_ROOT, reason="only root has to become another user")
def test_root_with_an_environment_closed_to_others(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = servers.wheel_binary(*servers.POSTGRES_BINARY).parents[2]
    closed = temporary / "closed"
    closed.mkdir(mode=0o700)
    for folder in (package, package.with_name(f"{package.name}.libs")):
        (closed / folder.name).symlink_to(folder)
    binary = closed / package.name / servers.POSTGRES_BINARY[1]
    monkeypatch.setattr(servers, "wheel_binary", lambda *names: binary)
    with postgres() as server:
        assert works(server) and server.process and server.process.log
        assert Path(os.readlink(f"/proc/{server.process.pid}/exe")).is_relative_to(server.process.log.parent)
    shutil.rmtree(closed)
