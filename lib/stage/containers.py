"""Containers in place of processes: on one private network, published on 127.0.0.1 only, and gone when their owner has gone.

    broker = servers.valkey(backend="docker")
    with WorkerPool(4, broker=broker, backend="docker") as pool:
        ...

A container belongs to the engine and outlives its owner. So the first one that an owner starts brings a keeper along: a process that
does end with its owner, and then removes all that carries the label of the owner's network. Should the keeper itself be killed, this
removes what is left: `docker rm --force $(docker ps --all --quiet --filter label=lessons.network)` and `docker network prune`.

A Compose project (`lib.deployment.platforms.compose`) is meant to stay, and has no keeper. Both run the images of `lib.stage.images`.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from lib.stage.engine import engine, explained
from lib.stage.processes import Process
from lib.stage.programs import TAIL_LINES, ProcessError, Program
from lib.stage.waiting import wait_for

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container as Made

ROOT = Path(__file__).parents[2]
LABEL = "lessons.network"
#: How a lesson runs what it needs.
Backend = Literal["process", "docker"]
#: What no program here has any use for, it does not get.
CONFINED: dict[str, Any] = {
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "read_only": True,
    "tmpfs": {"/tmp": "mode=1777"},
    "mem_limit": "512m",
    "pids_limit": 256,
}


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
        return Network(engine())
    except ProcessError as error:
        warnings.warn(f"{error}. Until then all runs as processes", stacklevel=3)
        return None


class Container(Program):
    """One container. Its processes have ids of their own, of which 1 is the main one."""

    pid, log = 1, None
    returncode: int | None

    def __init__(self, made: Made, port: int | None) -> None:
        """port: inside. The one on 127.0.0.1 is `self.port` then; 0 if there is none, or it has ended already."""
        self._made, self.returncode = made, None
        made.reload()
        published = made.ports.get(f"{port}/tcp")
        self.port = int(published[0]["HostPort"]) if published else 0

    def _ask(self, method: str, **options: Any) -> Any:
        """Call a method of the engine's container. None when it has been removed, or does not run any more."""
        import docker

        try:
            return getattr(self._made, method)(**options)
        except docker.errors.APIError as error:
            if error.status_code not in (404, 409):
                raise
            return None

    @property
    def alive(self) -> bool:
        import docker

        with suppress(docker.errors.NotFound):
            self._made.reload()
            state = self._made.attrs["State"]
            if state["Running"]:
                return True
            code = state["ExitCode"]
            self.returncode = code if code <= 128 else 128 - code
        return False

    def owns(self, pid: int) -> bool:
        return self._kill_inside(0, pid)

    def memory(self) -> int:
        if not self.alive:
            return 0
        used = self._made.stats(stream=False, one_shot=True)["memory_stats"]
        cached = used["stats"].get("inactive_file") or used["stats"].get("total_inactive_file", 0)
        return used["usage"] - cached

    def signal(self, number: int, *, pid: int | None = None) -> None:
        if pid is None:
            self._ask("kill", signal=int(number))
        else:
            self._kill_inside(number, pid)

    def _kill_inside(self, number: int, pid: int) -> bool:
        """Send a signal by the shell of the container, which starts at once; return whether that succeeded."""
        import docker

        command = ["sh", "-c", 'kill -s "$1" -- "$2"', "sh", str(int(number)), str(pid)]
        with suppress(docker.errors.APIError):  # it does not run any more
            return self._made.exec_run(command).exit_code == 0
        return False

    def wait(self, timeout: float | None = None) -> int | None:
        wait_for(lambda: not self.alive, float("inf") if timeout is None else timeout)
        return self.returncode

    def kill(self) -> None:
        self._ask("kill")
        self.wait()

    def stop(self) -> None:
        self._ask("stop", timeout=30)
        self.alive  # noqa: B018 - for the exit status, which goes with it
        self._ask("remove", force=True, v=True)

    def output(self) -> str:
        return (self._ask("logs", tail=10 * TAIL_LINES) or b"").decode(errors="replace")


class Network:
    """A private network, and what its owner runs on it. Inside, a container is called by its name."""

    def __init__(self, client: docker.DockerClient) -> None:
        self.client, self._numbers, self._published = client, count(1), dict[int, str]()
        self.name = f"lessons-{os.urandom(4).hex()}"
        self.keeper = Process()
        with self.keeper.stopped_on_failure():
            self.keeper.run([sys.executable, "-m", __name__, self.name], cwd=ROOT, grace=60.0)
            self.keeper.wait_until(lambda: "kept" in self.keeper.output(), name="The keeper of containers")
            with explained("A private network"):
                client.networks.create(self.name, labels={LABEL: self.name})

    def run(
        self,
        name: str,
        image: str,
        command: Sequence[str] | None = None,
        *,
        env: Mapping[str, str] | None = None,
        port: int | None = None,
        **options: Any,
    ) -> Container:
        """Start a container and return it.

        port: where it listens; it is published on a free port of 127.0.0.1. options: of the engine, instead of those that confine it.
        It gets no other cores than this process may use, as a child would. Raises ProcessError.
        """
        if hasattr(os, "sched_getaffinity"):
            options = {"cpuset_cpus": ",".join(map(str, sorted(os.sched_getaffinity(0))))} | options
        if port:
            options["ports"] = {f"{port}/tcp": ("127.0.0.1", None)}
        options |= {"name": f"{self.name}-{name}-{next(self._numbers)}", "network": self.name}
        options |= {"labels": {LABEL: self.name}, "environment": dict(env or {}), "detach": True}
        with explained(f"The container {options['name']}"):
            made = self.client.containers.run(image, command, **CONFINED | options)
            container = Container(made, port)
        if port:
            self._published[container.port] = f"{made.name}:{port}"
        return container

    def inside(self, url: str) -> str:
        """The address of a server as containers reach it.

        Raises ProcessError for one of 127.0.0.1 that does not run on this network: there, 127.0.0.1 is the container itself.
        """
        found = re.search(r"(?<=[@/])(?:127\.0\.0\.1|localhost)(?::(\d+))?(?=[/?]|$)", url)
        if not found:
            return url
        if int(found[1] or 0) not in self._published:
            raise ProcessError(
                f'{found[0]} is out of reach for a container: start that server with backend="docker", too'
            )
        return url.replace(found[0], self._published[int(found[1])])


def _keep(network: str) -> None:
    """Wait for the signal to stop, then remove a network and what runs on it. Runs as a process of its own."""
    import docker

    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    client, labelled = engine(), {"label": f"{LABEL}={network}"}
    print("kept", flush=True)
    signal.sigwait([signal.SIGTERM])
    for container in client.containers.list(all=True, filters=labelled, ignore_removed=True):
        with suppress(docker.errors.NotFound):
            container.remove(force=True, v=True)
    with suppress(docker.errors.NotFound):
        client.networks.get(network).remove()


if __name__ == "__main__":
    _keep(sys.argv[1])
