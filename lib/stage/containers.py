"""Containers instead of processes: on one private network, published on 127.0.0.1 only, removed when their owner ends.

    broker = servers.valkey(backend="docker")
    with WorkerPool(4, broker=broker, backend="docker") as pool:
        ...

`docker run` runs a container in the foreground, as a process with a supervisor like any other. But the container belongs to the
engine and may outlive `docker run`. So the first container of an owner also starts a keeper: a process that ends with its owner
and then removes everything with the label of the owner's network. If the keeper itself is killed, these commands remove the
leftovers:
`docker rm --force $(docker ps --all --quiet --filter label=lessons.network)` and `docker network prune`.

A Compose project (`lib.deployment.platforms.compose`) is meant to stay, so it has no keeper. Both run the same release image.
"""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from itertools import count
from pathlib import Path
from typing import Literal, Self, get_args

from lib.stage.processes import Process, pss
from lib.stage.programs import ProcessError, run

ROOT = Path(__file__).parents[2]
LABEL = "lessons.network"
IMAGE = "zero-downtime-pipelines"  # ours, for the service and the workers
POSTGRES, VALKEY = "postgres:17.6-bookworm", "valkey/valkey:8.1.4"  # as in compose/
PORT = 8000  # of the service
#: How a lesson runs what it needs.
Backend = Literal["process", "docker"]
#: Privileges and resources that no program here needs are taken away.
CONFINED = "--cap-drop ALL --security-opt no-new-privileges --read-only --tmpfs /tmp:mode=1777 --memory 512m --pids-limit 256"
#: $1: the label, $2: the network.
KEEPER = """
trap 'docker rm --force --volumes $(docker ps --all --quiet --filter "label=$1"); docker network rm "$2"; exit' TERM
docker network create --label "$1" "$2" && echo kept || exit
sleep infinity & wait
"""


def check_engine() -> None:
    """Raise ProcessError, with a remedy, if no container engine answers, neither at DOCKER_HOST nor on this machine."""
    try:
        run("docker", "version")
    except ProcessError as error:
        raise ProcessError(
            f"No container engine answers ({error}). Start Docker, or give the address of its socket in DOCKER_HOST; on Linux you "
            "must belong to the group docker"
        ) from error


@cache
def image(tree: Path = ROOT) -> str:
    """Build an image with the files of a tree and return its name; the engine caches earlier builds. Raises ProcessError."""
    if not run("docker", "image", "ls", "--quiet", IMAGE):
        print("building an image; the first build takes some minutes", file=sys.stderr, flush=True)
    file = str(tree / "compose" / "service" / "Dockerfile")
    built = run("docker", "build", "--quiet", "--file", file, str(tree)).strip()
    name = f"{IMAGE}:{built.removeprefix('sha256:')[:12]}"
    run("docker", "tag", built, name)
    return name


@cache
def docker_network(backend: Backend) -> Network | None:
    """Return this process's network for "docker"; None for "process", and, after a warning, if no engine answers.

    The engine is asked only once, so that all parts of a lesson run on the same side.
    """
    if backend not in get_args(Backend):
        raise ValueError(f"backend={backend!r}: choose one of {', '.join(get_args(Backend))}")
    if backend == "process":
        return None
    try:
        check_engine()
    except ProcessError as error:
        warnings.warn(f"{error}. Until then everything runs as processes", stacklevel=3)
        return None
    return Network()


class Container(Process):
    """A container. It has its own process ids; its main process is 1."""

    def __init__(self, network: Network, name: str, image: str, *options: str, port: int = 0) -> None:
        """port: where it listens. options: of `docker run`. Like a child process, it may use only the cores of this process."""
        super().__init__()
        self._network, self._image, self._port = network, image, port
        self.name = f"{network.name}-{name}-{next(network.numbers)}"
        self._options = [*CONFINED.split(), *options, "--rm", "--name", self.name, "--network", network.name]
        self._options += ["--label", network.label]
        if hasattr(os, "sched_getaffinity"):
            self._options += ["--cpuset-cpus", ",".join(map(str, sorted(os.sched_getaffinity(0))))]

    def start(self, port: int, command: Sequence[str] = (), *, env: Mapping[str, str]) -> Self:
        """Run it, published on a port of 127.0.0.1 (0: not). Values of env are not passed as arguments, which everyone can read."""
        options = [*self._options, *(f"--env={name}" for name in env)]
        if port:
            options += ["--publish", f"127.0.0.1:{port}:{self._port}"]
            self._network.published[port] = f"{self.name}:{self._port}"
        return self.run(["docker", "run", *options, self._image, *command], env=env)

    @property
    def returncode(self) -> int | None:
        code = super().returncode
        return 128 - code if code and code > 128 else code

    def owns(self, pid: int) -> bool:
        return self._shell(f"kill -s 0 -- {pid}") is not None

    def state(self, pid: int) -> str:
        return (self._shell(f"cat /proc/{pid}/stat") or "").rpartition(") ")[2][:1]

    def memory(self) -> int:
        return pss(self._shell("cat /proc/[0-9]*/smaps_rollup 2>&1; true") or "")

    def signal(self, number: int, *, pid: int | None = None) -> None:
        if pid is None:
            with suppress(ProcessError):  # it has ended
                run("docker", "kill", "--signal", str(int(number)), self.name)
        else:
            self._shell(f"kill -s {int(number)} -- {pid}")

    def _shell(self, command: str) -> str | None:
        """Return the output of a shell command in the container; None if it failed or the container has stopped."""
        with suppress(ProcessError):
            return run("docker", "exec", self.name, "sh", "-c", command)
        return None

    def stop(self) -> None:
        with suppress(ProcessError):  # it has ended
            run("docker", "stop", "--time", "30", self.name)
        super().stop()


class Network:
    """A private network and the containers of its owner. Inside, a container's name is its host name."""

    def __init__(self) -> None:
        self.numbers, self.published = count(1), dict[int, str]()
        self.name = f"lessons-{os.urandom(4).hex()}"
        self.label = f"{LABEL}={self.name}"
        self.keeper = Process()
        with self.keeper.stopped_on_failure():
            self.keeper.run(["sh", "-c", KEEPER, "keeper", self.label, self.name], grace=60.0)
            self.keeper.wait_until(lambda: "kept" in self.keeper.output(), name="The keeper of containers")

    def inside(self, url: str) -> str:
        """Return the address at which containers reach a server.

        Raises ProcessError for a server on 127.0.0.1 that is not on this network: in a container, 127.0.0.1 is the container
        itself.
        """
        found = re.search(r"(?<=[@/])(?:127\.0\.0\.1|localhost)(?::(\d+))?(?=[/?]|$)", url)
        if not found:
            return url
        if int(found[1] or 0) not in self.published:
            raise ProcessError(
                f'{found[0]} cannot be reached from a container: start that server with backend="docker" as well'
            )
        return url.replace(found[0], self.published[int(found[1])])
