"""The images that containers run: one of ours, for the service and the workers, and the servers that they need, as others publish them."""

from __future__ import annotations

import hashlib
import io
import os
import sys
import tarfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing, suppress
from pathlib import Path

from lib.stage.containers import ROOT, Network, engine, explained
from lib.stage.servers import Server, valkey_answers

DOCKERFILE, LOCK = "compose/service/Dockerfile", "compose/service/requirements.lock"
IMAGE_VARIABLE = "LESSONS_IMAGE"
POSTGRES, VALKEY = "postgres:17.6-bookworm", "valkey/valkey:8.1.4"  # as in compose/
PORT = 8000  # of the service
#: A configuration by standard input: everyone may read arguments.
VALKEY_START = """exec valkey-server - <<END
bind 0.0.0.0
requirepass $PASSWORD
save ""
appendonly no
END"""


def image(tree: Path = ROOT) -> str:
    """The name of an image with the files of a tree, which is built where there is none; or the one that LESSONS_IMAGE names."""
    import docker

    if named := os.environ.get(IMAGE_VARIABLE):
        return named
    lock = tree / LOCK
    files = {str(path.relative_to(tree)): path.read_bytes() for path in sorted((tree / "lib").rglob("*.py"))}
    files |= {
        LOCK: (lock if lock.exists() else ROOT / LOCK).read_bytes(),
        DOCKERFILE: (ROOT / DOCKERFILE).read_bytes(),
    }
    digest = hashlib.sha256(repr(files).encode()).hexdigest()
    name = f"zero-downtime-pipelines:{digest[:12]}"
    with explained(f"The image {name}"), closing(engine()) as client:
        try:
            client.images.get(name)
        except docker.errors.ImageNotFound:
            print(f"building the image {name}; the first one takes some minutes", file=sys.stderr, flush=True)
            context = _tar(files)
            client.images.build(
                fileobj=context, custom_context=True, dockerfile=DOCKERFILE, tag=name, rm=True
            )
    return name


def _tar(files: Mapping[str, bytes]) -> io.BytesIO:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    made.seek(0)
    return made


def postgres(network: Network, password: str, settings: Mapping[str, str | int], timeout: float) -> Server:
    """A PostgreSQL server in a container: see `lib.stage.servers`."""
    import psycopg

    options = {"timezone": "UTC", "log_timezone": "UTC", "fsync": "off", **settings}
    server = network.run(
        "database",
        POSTGRES,
        ["postgres", *(f"-c{name}={value}" for name, value in options.items())],
        env={"POSTGRES_PASSWORD": password, "POSTGRES_INITDB_ARGS": "--no-sync --locale=C.UTF-8"},
        port=5432,
        user="postgres",
        tmpfs={"/tmp": "mode=1777", "/var/run/postgresql": "mode=1777"},
    )
    rest = f"://postgres:{password}@127.0.0.1:{server.port}/postgres"

    def answers() -> bool:
        with suppress(psycopg.OperationalError), psycopg.connect(f"postgresql{rest}", connect_timeout=2):
            return True
        return False

    return _ready(
        Server("PostgreSQL", f"postgresql+psycopg{rest}", f"postgresql{rest}", server), answers, timeout
    )


def valkey(network: Network, timeout: float) -> Server:
    """A Valkey server in a container: see `lib.stage.servers`."""
    password = os.urandom(16).hex()
    command = ["sh", "-c", VALKEY_START]
    server = network.run("broker", VALKEY, command, env={"PASSWORD": password}, port=6379, user="valkey")
    url = f"redis://:{password}@127.0.0.1:{server.port}/0"
    return _ready(Server("Valkey", url, url, server), lambda: valkey_answers(server.port, password), timeout)


def _ready(server: Server, answers: Callable[[], bool], timeout: float) -> Server:
    with ExitStack() as undo:
        undo.push(server)
        assert server.process
        server.process.wait_until(answers, name=server.name, timeout=timeout)
        undo.pop_all()
    return server
