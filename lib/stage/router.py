"""Real proxies in front of two colours, blue and green: whom they send requests to can be switched in an instant.

    with router({"blue": [8001], "green": [8002]}, active="blue") as proxy:
        proxy.switch("green")    # when this returns, no request that starts is served by blue
        while proxy.in_flight("blue"):
            time.sleep(0.01)     # drained: blue can be stopped

What a router was told last stands in a file before the proxy is told it, and is on the disk when the call returns. A
proxy that is killed, and started again, reads it there.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal, Self

from lib.stage.files import replace_file
from lib.stage.ports import run_on_free_port
from lib.stage.processes import Process

Colour = Literal["blue", "green"]
COLOURS: tuple[Colour, ...] = ("blue", "green")


class RouterError(RuntimeError):
    """A proxy did not do what it was told; the message has its words."""


@dataclass(frozen=True)
class Routes:
    """What a router has been told: who is active, what share of the requests the other one gets, and who serves."""

    active: Colour
    share: float = 0.0
    replicas: dict[Colour, list[int]] = field(default_factory=dict)

    @property
    def other(self) -> Colour:
        return COLOURS[1 - COLOURS.index(self.active)]


class Router(ABC):
    """A proxy on a port of 127.0.0.1, which ends with its owner. `switch` and the others return once they are applied."""

    name: str

    def __init__(self, routes: Routes, directory: Path | None, timeout: float, port: int = 0) -> None:
        """Start the proxy. A file with routes in `directory` counts more than the routes given: it was there before."""
        self.timeout, self.port = timeout, port
        with contextlib.ExitStack() as undo:
            self._process = undo.enter_context(Process())
            self._state = (directory or self._process.directory).absolute() / "routes.json"
            self._state.parent.mkdir(parents=True, exist_ok=True)
            if not self._state.exists():
                self._write(routes)
            self.start()
            undo.pop_all()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def routes(self) -> Routes:
        """What stands in the file."""
        return Routes(**json.loads(self._state.read_bytes()))

    @property
    def active(self) -> Colour:
        return self.routes.active

    def switch(self, colour: Colour) -> None:
        """Send everything to a colour. A request that starts after this returns is not served by the other one."""
        self._change(active=known(colour), share=0.0)

    def canary(self, share: float) -> None:
        """Send a share of the requests (0 to 1), each chosen at random, to the colour that is not active."""
        if not 0 <= share <= 1:
            raise ValueError(f"share={share}: choose one from 0 to 1")
        self._change(share=share)

    def serve(self, colour: Colour, ports: Sequence[int]) -> None:
        """Tell on which ports of 127.0.0.1 the replicas of a colour listen. Those left out end what they have begun."""
        self._change(replicas=self.routes.replicas | {known(colour): list(ports)})

    def _change(self, **values: object) -> None:
        routes = replace(self.routes, **values)
        self._write(routes)
        self._apply(routes)

    def _write(self, routes: Routes) -> None:
        """Put routes into the file, in one step, so that a proxy which is started from now on finds them."""
        replace_file(self._state, json.dumps(asdict(routes)))

    def start(self) -> None:
        """Start the proxy, on its port if it has one, with the routes that stand in the file."""
        name, remedy = self.name, "Is another program using its port?"
        if self.port:
            self._run(self.port)
            self._process.wait_until(
                lambda: self._ready(self.port), name=name, timeout=self.timeout, remedy=remedy
            )
        else:
            self.port = run_on_free_port(
                self._run, self._ready, name=name, timeout=self.timeout, remedy=remedy
            )

    def kill(self) -> None:
        """End it by SIGKILL, as a crash would; `start` brings it back."""
        self._process.kill()

    def stop(self) -> None:
        """End it. May be repeated."""
        self._process.stop(grace=0.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def in_flight(self, colour: Colour, ports: Sequence[int] | None = None) -> int:
        """How many requests a colour is serving now, or only its replicas on some ports."""
        names = None if ports is None else {f"{colour}-{port}" for port in ports}
        counts = self._in_flight(known(colour))
        return sum(count for name, count in counts.items() if names is None or name in names)

    @abstractmethod
    def _in_flight(self, colour: Colour) -> dict[str, int]:
        """How many requests each replica of a colour is serving, by its name: `blue-8001`."""

    @abstractmethod
    def _run(self, port: int) -> Process: ...

    @abstractmethod
    def _ready(self, port: int) -> bool: ...

    @abstractmethod
    def _apply(self, routes: Routes) -> None: ...


def known(colour: Colour) -> Colour:
    if colour not in COLOURS:
        raise ValueError(f"colour {colour!r}: choose one of {', '.join(COLOURS)}")
    return colour


def talk(path: Path, text: str, timeout: float) -> str:
    """Send a text to a socket of the file system, and return all that comes back."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout)
        connection.connect(str(path))
        connection.sendall(text.encode())
        with connection.makefile("r", newline="") as answer:
            return answer.read()


def router(
    replicas: Mapping[Colour, Sequence[int]],
    *,
    kind: Literal["haproxy", "nginx"] = "haproxy",
    active: Colour = "blue",
    directory: str | os.PathLike[str] | None = None,
    port: int = 0,
    timeout: float = 30.0,
) -> Router:
    """Start a proxy in front of replicas, given by the ports of 127.0.0.1 on which they listen.

    directory: where the routes stand; in a directory of the proxy's own they end with it. port: on which it listens; 0 for a free one.
    Raises ProcessError, with the end of the log, when it is not ready in time.
    """
    from lib.stage.haproxy import HAProxy
    from lib.stage.nginx import Nginx

    kinds: dict[str, type[Router]] = {"haproxy": HAProxy, "nginx": Nginx}
    if kind not in kinds:
        raise ValueError(f"kind={kind!r}: choose one of {', '.join(kinds)}")
    routes = Routes(known(active), replicas={known(c): list(ports) for c, ports in replicas.items()})
    return kinds[kind](routes, Path(directory) if directory else None, timeout, port)
