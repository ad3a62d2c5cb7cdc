"""What a rollout acts on: replicas of two colours and the router in front of them, and who owns them.

Never the controller of a rollout owns them, for it may be killed at any moment: a lesson's kernel does, or a process that
serves a platform on a socket (`serve`), to which a controller connects (`Remote`), another one after its death.
"""

from __future__ import annotations

import json
import os
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol, Self

from lib.deployment.replicas import ROOT, Replica
from lib.deployment.settings import Settings
from lib.stage.containers import Backend
from lib.stage.router import COLOURS, Colour, Router, router

PATIENCE = 30.0  # seconds that replicas get to answer what they have taken


class Platform(Protocol):
    """What there is, and how to change it, as `BlueGreen` needs it. Each call may be repeated, and does then what is left to do."""

    def create(
        self, colour: Colour, release: str, version: int, count: int, tree: str | None = None
    ) -> list[int]:
        """Have so many replicas of a release in a colour; return their ports. They get no traffic by that.

        tree: the folder with the files of the release; None: those of this one.
        """

    def ports(self, colour: Colour) -> list[int]:
        """The ports of the replicas that live."""

    def retire(self, colour: Colour) -> None:
        """Stop the replicas of a colour, once they have answered what they have taken."""

    def switch(self, colour: Colour) -> None:
        """Send all traffic to a colour."""

    def active(self) -> Colour:
        """The colour that gets the traffic."""

    def in_flight(self, colour: Colour) -> int:
        """How many requests a colour is serving."""


class GradualPlatform(Platform, Protocol):
    """One that can also do what `Canary` and `Rolling` ask for."""

    def releases(self, colour: Colour) -> dict[str, str]:
        """The releases of the replicas that live, by port."""

    def replace(
        self,
        colour: Colour,
        ports: list[int],
        release: str,
        version: int,
        count: int,
        tree: str | None = None,
    ) -> None:
        """Drain and stop the replicas on some ports, and start as many of a release as are then missing to `count`."""

    def canary(self, share: float) -> None:
        """Send a share of the traffic to the colour that is not active."""


METHODS = ("create", "ports", "releases", "replace", "retire", "switch", "canary", "active", "in_flight")


class Local:
    """A router as a process of this one, and replicas as processes, too, or as containers."""

    def __init__(
        self,
        database: str,
        *,
        kind: Literal["haproxy", "nginx"] = "haproxy",
        directory: Path | None = None,
        port: int = 0,
        faults: bool = False,
        backend: Backend = "process",
    ) -> None:
        """Start the router; there is no replica yet. directory, port: see `lib.stage.router`. backend: see `Replica`."""
        self.database, self.faults, self.backend, self._lock = database, faults, backend, threading.RLock()
        self.replicas: dict[Colour, list[Replica]] = {colour: [] for colour in COLOURS}
        self.router: Router = router({}, kind=kind, directory=directory, port=port)

    def create(
        self, colour: Colour, release: str, version: int, count: int, tree: str | None = None
    ) -> list[int]:
        settings, files = Settings(self.database, version, release, self.faults), Path(tree or ROOT)
        with self._lock:
            if any((one.settings, one.tree) != (settings, files) for one in self.replicas[colour]):
                self.retire(colour)
            living = [one for one in self.replicas[colour] if one.process.alive]
            for one in set(self.replicas[colour]) - set(living):
                one.stop()
            self.replicas[colour] = living
            while len(living) < count:
                living.append(Replica(settings, tree=files, backend=self.backend))
            self.router.serve(colour, self.ports(colour))
            return self.ports(colour)

    def ports(self, colour: Colour) -> list[int]:
        return [one.port for one in self.replicas[colour] if one.process.alive]

    def releases(self, colour: Colour) -> dict[str, str]:
        return {str(one.port): one.settings.release for one in self.replicas[colour] if one.process.alive}

    def replace(
        self,
        colour: Colour,
        ports: list[int],
        release: str,
        version: int,
        count: int,
        tree: str | None = None,
    ) -> None:
        settings = Settings(self.database, version, release, self.faults)
        with self._lock:
            going = [one for one in self.replicas[colour] if one.port in ports or not one.process.alive]
            replicas = self.replicas[colour] = [one for one in self.replicas[colour] if one not in going]
            self.router.serve(colour, self.ports(colour))
            deadline = time.monotonic() + PATIENCE
            while self.router.in_flight(colour, ports) and time.monotonic() < deadline:
                time.sleep(0.01)
            for one in going:
                one.stop()
            while len(replicas) < count:
                replicas.append(Replica(settings, tree=Path(tree or ROOT), backend=self.backend))
            self.router.serve(colour, self.ports(colour))

    def retire(self, colour: Colour) -> None:
        with self._lock:
            self.router.serve(colour, [])
            while self.replicas[colour]:
                self.replicas[colour].pop().stop()

    def switch(self, colour: Colour) -> None:
        self.router.switch(colour)

    def canary(self, share: float) -> None:
        self.router.canary(share)

    def active(self) -> Colour:
        return self.router.active

    def in_flight(self, colour: Colour) -> int:
        return self.router.in_flight(colour)

    def stop(self) -> None:
        """Stop the router, then all replicas. May be repeated."""
        self.router.stop()
        for replicas in self.replicas.values():
            while replicas:
                replicas.pop().stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


# ── Over a socket ────────────────────────────────────────────────────────────────────────────────────────────────


class PlatformError(RuntimeError):
    """A platform that another process owns failed, or is not there; the message has its words."""


@contextmanager
def _address(path: Path) -> Iterator[str]:
    """How to name a socket, which may hold some hundred bytes only: on Linux by a descriptor of its folder."""
    if not Path("/proc/self/fd").exists():
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


@contextmanager
def serve(platform: Platform, path: Path) -> Iterator[None]:
    """Serve a platform on a socket of the file system, which only this user may open, until the block ends.

    One JSON array a connection: a method and its arguments; the answer is `{"value": …}` or `{"error": …}`.
    """

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            try:
                method, *arguments = json.loads(self.rfile.readline())
                if method not in METHODS:
                    raise ValueError(f"no such method: {method!r}")
                answer = {"value": getattr(platform, method)(*arguments)}
            except Exception as error:  # noqa: BLE001 - whatever it is, the controller is told
                answer = {"error": f"{type(error).__name__}: {error}"}
            with suppress(BrokenPipeError):  # a controller that was killed does not wait
                self.wfile.write(json.dumps(answer).encode() + b"\n")

    class Server(socketserver.ThreadingUnixStreamServer):
        daemon_threads = True

    path.unlink(missing_ok=True)
    with ExitStack() as stack:
        with _address(path) as address:
            server = stack.enter_context(Server(address, Handler))
        stack.callback(path.unlink, missing_ok=True)
        path.chmod(0o600)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        stack.callback(thread.join)
        stack.callback(server.shutdown)
        yield


class Remote:
    """A platform that another process serves: it has the methods of `Platform`, and adds PlatformError to what they raise."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __getattr__(self, method: str) -> Any:
        if method not in METHODS:
            raise AttributeError(method)
        return partial(self._call, method)

    def _call(self, *message: Any) -> Any:
        try:
            with _address(self.path) as address, socket.socket(socket.AF_UNIX) as connection:
                connection.connect(address)
                connection.sendall(json.dumps(message).encode() + b"\n")
                with connection.makefile("rb") as answer:
                    told = json.loads(answer.readline())
        except (OSError, ValueError) as error:
            raise PlatformError(f"{self.path}: nobody serves a platform there ({error})") from error
        if "error" in told:
            raise PlatformError(told["error"])
        return told["value"]
