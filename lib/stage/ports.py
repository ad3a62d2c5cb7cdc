"""Find a free TCP port, start a server on one, and send a request to a server."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
from collections.abc import Callable
from functools import partial

from lib.stage.processes import Process, ProcessError


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nothing uses now.

    It is below the ports that the kernel gives to outgoing connections, so only another server can take it before yours does:
    see `run_on_free_port`. `random` is not used because lessons seed it: two of them would choose the same port.
    """
    for _ in range(1000):
        port = 15000 + int.from_bytes(os.urandom(4)) % 15000
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise ProcessError("No port of 127.0.0.1 between 15000 and 29999 is free: stop servers you do not need")


def ask(
    url: str, body: object = None, *, method: str | None = None, timeout: float = 10.0, **headers: str
) -> tuple[int, str]:
    """Send a request directly, ignoring the environment's proxy settings; return the status and the text of the response.

    body: sent as JSON. method: default is GET, or POST with a body. headers: with `_` instead of `-`. timeout: seconds.
    Raises OSError if there is no response.
    """
    from urllib.error import HTTPError
    from urllib.request import ProxyHandler, Request, build_opener

    data = None if body is None else json.dumps(body).encode()
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    request = Request(url, data, {"Content-Type": "application/json"} | names, method=method)
    try:
        answer = build_opener(ProxyHandler({})).open(request, timeout=timeout)
    except HTTPError as error:  # an error status is a response as well
        answer = error
    with answer:
        return answer.status, answer.read().decode(errors="replace")


def run_on_free_port(
    start: Callable[[int], Process],
    ready: Callable[[int], bool],
    *,
    name: str,
    timeout: float = 60.0,
    remedy: str = "",
) -> int:
    """Start a server by `start(port)` and return its port once `ready(port)` is true.

    If another program takes the port in the meantime, the next port is tried. `ready` must not mistake that program for ours:
    let it check a password, or a file that only our server writes. Raises ProcessError as `Process.wait_until` does.
    """
    for _ in range(10):
        port = free_port()
        process = start(port)
        try:
            process.wait_until(partial(ready, port), name=name, timeout=timeout, remedy=remedy)
            return port
        except ProcessError as error:
            if process.alive or not re.search(
                "address (already )?in use|already allocated", process.output().lower()
            ):
                raise
            taken = error
    raise taken
