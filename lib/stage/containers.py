"""Containers in place of processes: on one private network, published on 127.0.0.1 only, and gone when their owner has gone.

    broker = servers.valkey(backend="docker")
    with WorkerPool(4, broker=broker, backend="docker") as pool:
        ...

A container is run by `docker run` in the foreground, and that is a process with a supervisor like any other. But a container belongs to
the engine, and may outlive `docker run`. So the first one that an owner starts brings a keeper along: a process that does end with its
owner, and then removes all that carries the label of the owner's network. Should the keeper itself be killed, this removes what is left:
`docker rm --force $(docker ps --all --quiet --filter label=lessons.network)` and `docker network prune`.

A Compose project (`lib.deployment.platforms.compose`) is meant to stay, and has no keeper. Both run the same image of a release.
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
#: What no program here has any use for, it does not get.
CONFINED = "--cap-drop ALL --security-opt no-new-privileges --read-only --tmpfs /tmp:mode=1777 --memory 512m --pids-limit 256"
#: $1: the label, $2: the network.
KEEPER = """
trap 'docker rm --force --volumes $(docker ps --all --quiet --filter "label=$1"); docker network rm "$2"; exit' TERM
docker network create --label "$1" "$2" && echo kept || exit
sleep infinity & wait
"""


def check_engine() -> None:
    """Raise ProcessError, with a remedy, when no container engine answers, neither that of DOCKER_HOST nor that of this machine."""
    try:
        run("docker", "version")
    except ProcessError as error:
        raise ProcessError(
            f"No container engine answers ({error}). Start Docker, or give the address of its socket in DOCKER_HOST; on Linux you "
            "must belong to the group docker"
        ) from error


@cache
def image(tree: Path = ROOT) -> str:
    """The name of an image with the files of a tree; the engine keeps what it has built before. Raises ProcessError."""
    if not run("docker", "image", "ls", "--quiet", IMAGE):
        print("building an image; the first one takes some minutes", file=sys.stderr, flush=True)
    file = str(tree / "compose" / "service" / "Dockerfile")
    built = run("docker", "build", "--quiet", "--file", file, str(tree)).strip()
    name = f"{IMAGE}:{built.removeprefix('sha256:')[:12]}"
    run("docker", "tag", built, name)
    return name


@cache
def docker_network(backend: Backend) -> Network | None:
    """The network of this process, for "docker"; None for "process", and, after a warning, when no engine answers.

    It is asked once, so that all parts of a lesson run on the same side.
    """
    if backend not in get_args(Backend):
        raise ValueError(f"backend={backend!r}: choose one of {', '.join(get_args(Backend))}")
    if backend == "process":
        return None
    try:
        check_engine()
    except ProcessError as error:
        warnings.warn(f"{error}. Until then all runs as processes", stacklevel=3)
        return None
    return Network()


class Container(Process):
    """One container. Its processes have ids of their own, of which 1 is the main one."""

    def __init__(self, network: Network, name: str, image: str, *options: str, port: int = 0) -> None:
        """port: where it listens. options: of `docker run`. It gets no other cores than this process may use, as a child would."""
        super().__init__()
        self._network, self._image, self._port = network, image, port
        self.name = f"{network.name}-{name}-{next(network.numbers)}"
        self._options = [*CONFINED.split(), *options, "--rm", "--name", self.name, "--network", network.name]
        self._options += ["--label", network.label]
        if hasattr(os, "sched_getaffinity"):
            self._options += ["--cpuset-cpus", ",".join(map(str, sorted(os.sched_getaffinity(0))))]

    def start(self, port: int, command: Sequence[str] = (), *, env: Mapping[str, str]) -> Self:
        """Run it, published on a port of 127.0.0.1, unless that is 0. Values of env are in no argument, which everyone may read."""
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
        """What a command of the container's shell prints. None if it failed, or the container does not run any more."""
        with suppress(ProcessError):
            return run("docker", "exec", self.name, "sh", "-c", command)
        return None

    def stop(self) -> None:
        with suppress(ProcessError):  # it has ended
            run("docker", "stop", "--time", "30", self.name)
        super().stop()


class Network:
    """A private network, and what its owner runs on it. Inside, a container is called by its name."""

    def __init__(self) -> None:
        self.numbers, self.published = count(1), dict[int, str]()
        self.name = f"lessons-{os.urandom(4).hex()}"
        self.label = f"{LABEL}={self.name}"
        self.keeper = Process()
        with self.keeper.stopped_on_failure():
            self.keeper.run(["sh", "-c", KEEPER, "keeper", self.label, self.name], grace=60.0)
            self.keeper.wait_until(lambda: "kept" in self.keeper.output(), name="The keeper of containers")

    def inside(self, url: str) -> str:
        """The address of a server as containers reach it.

        Raises ProcessError for one of 127.0.0.1 that does not run on this network: there, 127.0.0.1 is the container itself.
        """
        found = re.search(r"(?<=[@/])(?:127\.0\.0\.1|localhost)(?::(\d+))?(?=[/?]|$)", url)
        if not found:
            return url
        if int(found[1] or 0) not in self.published:
            raise ProcessError(
                f'{found[0]} is out of reach for a container: start that server with backend="docker", too'
            )
        return url.replace(found[0], self.published[int(found[1])])
