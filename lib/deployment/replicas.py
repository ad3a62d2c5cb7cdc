"""Replicas of the demo service, each in its own process or container: start, wait until ready, drain, stop.

    with Replica(database.url, Release("v2.0.0", version=2)) as replica:
        call(replica.port, "/version")

A replica ends with its owner. Drain it before you stop it: switch the router away from it, and wait until no request is in
flight.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lib.deployment.states import Release
from lib.stage.containers import PORT, Backend, Container, docker_network, image
from lib.stage.ports import ask, run_on_free_port
from lib.stage.processes import Process
from lib.stage.programs import Running

ROOT = Path(__file__).parents[2]


class Replica(Running):
    """One instance of the service, on a port of 127.0.0.1."""

    def __init__(
        self, database: str, release: Release, *, faults: bool = False, backend: Backend = "process"
    ) -> None:
        """Start it, and wait until it is ready.

        faults: whether `fault` can make it misbehave.
        backend: "docker": a container with the release's image (see `lib.stage.containers`), like the database.
        Raises ProcessError, with the end of its log, if it is not ready in time.
        """
        self.release, tree = release, Path(release.tree or ROOT)
        name, network = f"Release {release.name} at schema version {release.version}", docker_network(backend)
        settings = {"database": network.inside(database) if network else database, "faults": faults}
        settings |= {"version": release.version, "release": release.name}
        # In a variable, not an argument: it holds a password, and everyone can read a process's arguments.
        environment = {"LESSONS_SERVICE": json.dumps(settings)}
        self.process = process = Container(network, "users", image(tree), port=PORT) if network else Process()

        def start(port: int) -> Process:
            if isinstance(process, Container):
                return process.start(port, env=environment)
            command = [sys.executable, "-m", "lib.deployment.service", str(port)]
            return process.run(command, env=environment | {"PYTHONPATH": str(tree)}, cwd=tree, grace=30.0)

        with process.stopped_on_failure():
            self.port = run_on_free_port(start, self._is_ready, name=name)

    def _is_ready(self, port: int) -> bool:
        expected = {"release": self.release.name, "schema_version": self.release.version}
        with contextlib.suppress(OSError):
            return call(port, "/version")[1] == expected and answers(port, "/ready")
        return False

    def fault(self, fault: str, seconds: float = 0.0) -> None:
        """Make it misbehave. Raises ValueError if faults are not enabled or the fault is unknown."""
        status, answer = call(self.port, f"/faults/{quote(fault)}?seconds={seconds}", method="PUT")
        if status != 200:
            raise ValueError(
                f"fault {fault!r}: refused ({answer}); was the replica started with faults=True?"
            )

    def mend(self, fault: str) -> None:
        """End a fault."""
        call(self.port, f"/faults/{quote(fault)}", method="DELETE")

    def kill(self) -> None:
        """Kill it with SIGKILL, like a crash."""
        self.process.kill()

    def stop(self) -> None:
        """Stop it after it has answered the requests it has accepted, or after 30 seconds. May be repeated."""
        self.process.stop()


def answers(port: int, path: str) -> bool:
    """Whether a port answers with status 200."""
    with contextlib.suppress(OSError):
        return call(port, path)[0] == 200
    return False


def call(port: int, path: str, body: Any = None, **options: Any) -> tuple[int, Any]:
    """Send a request to a port of 127.0.0.1; return the status and the decoded JSON body (or the text, if it is not JSON).

    options: of `lib.stage.ports.ask`. Raises OSError if there is no answer in time.
    """
    status, text = ask(f"http://127.0.0.1:{port}{path}", body, **options)
    with contextlib.suppress(ValueError):
        return status, json.loads(text)
    return status, text
