"""Replicas of the demo service: started until they are ready, drained, stopped; each a process or a container of its own.

    with Replica(Settings(database.url, version=2)) as replica:
        ...

A replica ends with its owner. To leave no request unanswered, have the router send nothing more and wait until nothing is
in flight, before you stop it.
"""

from __future__ import annotations

import contextlib
import json
import sys
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from lib.deployment.settings import Settings
from lib.stage.containers import Backend, docker_network
from lib.stage.images import PORT, image
from lib.stage.ports import ask, run_on_free_port
from lib.stage.processes import Process
from lib.stage.programs import Program

ROOT = Path(__file__).parents[2]


class Replica:
    """The service once, on a port of 127.0.0.1."""

    process: Program

    def __init__(
        self, settings: Settings, *, tree: Path = ROOT, backend: Backend = "process", timeout: float = 60.0
    ) -> None:
        """Start it from the files in `tree`, and wait until it is ready.

        backend: "docker" for a container of an image with these files (see `lib.stage.containers`); then the database must be one, too.
        Raises ProcessError, with the end of its log, when it is not in time.
        """
        self.settings, self.tree = settings, tree
        name = f"Release {settings.release} at schema version {settings.version}"
        with contextlib.ExitStack() as undo:
            if network := docker_network(backend):
                inside = replace(settings, database=network.inside(settings.database)).to_environment()
                self.process = container = network.run("users", image(tree), env=inside, port=PORT)
                undo.push(container)
                self.port = container.port
                container.wait_until(lambda: self.ready, name=name, timeout=timeout)
            else:
                self.process = process = undo.enter_context(Process())
                self.port = run_on_free_port(
                    lambda port: self._run(process, port), self._is_ready, name=name, timeout=timeout
                )
            undo.pop_all()

    def _run(self, process: Process, port: int) -> Process:
        command = [sys.executable, "-m", "lib.deployment.service", str(port)]
        environment = {**self.settings.to_environment(), "PYTHONPATH": str(self.tree)}
        return process.run(command, env=environment, cwd=self.tree)

    def _is_ready(self, port: int) -> bool:
        with contextlib.suppress(OSError):
            expected = {"release": self.settings.release, "schema_version": self.settings.version}
            return call(port, "/version")[1] == expected and call(port, "/ready")[0] == 200
        return False

    @property
    def ready(self) -> bool:
        """Whether it says that it can take traffic, and is the release that was started here."""
        return self._is_ready(self.port)

    def fault(self, fault: str, seconds: float = 0.0) -> None:
        """Make it misbehave. Raises ValueError where that is not enabled, or there is no such fault."""
        status, answer = call(
            self.port, f"/faults/{fault.replace(' ', '%20')}?seconds={seconds}", method="PUT"
        )
        if status != 200:
            raise ValueError(f"fault {fault!r}: refused ({answer}); are faults enabled in the settings?")

    def mend(self, fault: str) -> None:
        """Make it behave again."""
        call(self.port, f"/faults/{fault.replace(' ', '%20')}", method="DELETE")

    def kill(self) -> None:
        """End it by SIGKILL, as a crash would."""
        self.process.kill()

    def stop(self, patience: float = 30.0) -> None:
        """Let it answer what it has taken, for `patience` seconds at most, and end. May be repeated."""
        self.process.stop(grace=patience)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


def answers(port: int, path: str) -> bool:
    """Whether a port answers with 200."""
    with contextlib.suppress(OSError):
        return call(port, path)[0] == 200
    return False


def call(
    port: int, path: str, body: Any = None, *, method: str | None = None, **headers: str
) -> tuple[int, Any]:
    """Send a request to a port of 127.0.0.1; return its status, and its answer as read from JSON (text, if it is none).

    Raises OSError where nobody answers within ten seconds.
    """
    data = None if body is None else json.dumps(body).encode()
    names = {name.replace("_", "-"): value for name, value in headers.items()} | {
        "Content-Type": "application/json"
    }
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, names, method=method)
    try:
        with ask(request, timeout=10) as answer:
            status, text = answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            status, text = error.code, error.read().decode()
    with contextlib.suppress(ValueError):
        return status, json.loads(text)
    return status, text
