"""Replicas of the demo service: started until they are ready, drained, stopped; each a process or a container of its own.

    with Replica(database.url, Release("v2.0.0", version=2)) as replica:
        call(replica.port, "/version")

A replica ends with its owner. To leave no request unanswered, let the router send nothing more and wait until nothing is in
flight before you stop it.
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
    """The service once, on a port of 127.0.0.1."""

    def __init__(
        self, database: str, release: Release, *, faults: bool = False, backend: Backend = "process"
    ) -> None:
        """Start it, and wait until it is ready.

        faults: whether `fault` can make it misbehave. backend: "docker" for a container of an image with the files of the
        release (see `lib.stage.containers`); then the database must be one, too.
        Raises ProcessError, with the end of its log, when it is not ready in time.
        """
        self.release, tree = release, Path(release.tree or ROOT)
        name, network = f"Release {release.name} at schema version {release.version}", docker_network(backend)
        settings = {"database": network.inside(database) if network else database, "faults": faults}
        settings |= {"version": release.version, "release": release.name}
        # A variable, not an argument: everyone may read these, and a password is in it.
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
        """Make it misbehave. Raises ValueError if faults are not enabled, or there is no such fault."""
        status, answer = call(self.port, f"/faults/{quote(fault)}?seconds={seconds}", method="PUT")
        if status != 200:
            raise ValueError(
                f"fault {fault!r}: refused ({answer}); was the replica started with faults=True?"
            )

    def mend(self, fault: str) -> None:
        """Make it behave again."""
        call(self.port, f"/faults/{quote(fault)}", method="DELETE")

    def kill(self) -> None:
        """End it by SIGKILL, as a crash would."""
        self.process.kill()

    def stop(self) -> None:
        """Let it answer what it has taken, for 30 seconds at most, and end. May be repeated."""
        self.process.stop()


def answers(port: int, path: str) -> bool:
    """Whether a port answers with 200."""
    with contextlib.suppress(OSError):
        return call(port, path)[0] == 200
    return False


def call(port: int, path: str, body: Any = None, **options: Any) -> tuple[int, Any]:
    """Send a request to a port of 127.0.0.1; return its status, and its answer as read from JSON (text, if it is none).

    options: of `lib.stage.ports.ask`. Raises OSError if there is no answer in time.
    """
    status, text = ask(f"http://127.0.0.1:{port}{path}", body, **options)
    with contextlib.suppress(ValueError):
        return status, json.loads(text)
    return status, text
