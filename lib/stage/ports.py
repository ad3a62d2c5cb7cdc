"""A free TCP port, a server that runs on one, and how such a server is asked."""

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
    """A TCP port of 127.0.0.1 that nothing uses now.

    It lies below the ports that the kernel gives to outgoing connections, so only another server can take it
    before yours does: see `run_on_free_port`. Not by `random`, which lessons seed: two would choose alike.
    """
    for _ in range(1000):
        port = 15000 + int.from_bytes(os.urandom(4)) % 15000
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise ProcessError("No port of 127.0.0.1 between 15000 and 29999 is free: stop servers that nobody needs")


def ask(
    url: str, body: object = None, *, method: str | None = None, timeout: float = 10.0, **headers: str
) -> tuple[int, str]:
    """Ask a server directly, whatever proxy the environment names; return the status and the text of its answer.

    body: sent as JSON. method: by default GET, or POST with a body. headers: with `_` for `-`. timeout: seconds.
    Raises OSError if there is no answer.
    """
    from urllib.error import HTTPError
    from urllib.request import ProxyHandler, Request, build_opener

    data = None if body is None else json.dumps(body).encode()
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    request = Request(url, data, {"Content-Type": "application/json"} | names, method=method)
    try:
        answer = build_opener(ProxyHandler({})).open(request, timeout=timeout)
    except HTTPError as error:  # it is an answer, too
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

    When another program has taken the port in between, the next one is tried. `ready` must not mistake that
    program for ours: let it check a password, or a file that only ours writes. Raises ProcessError as
    `Process.wait_until` does.
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
