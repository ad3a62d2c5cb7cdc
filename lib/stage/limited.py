"""A web service with a fixed capacity, and an open-loop load on it, for lessons on overload.

    with LimitedService(answer, {"no bound": (math.inf, math.inf), "bounded": (8, 8)}, slots=4) as service:
        await ask(f"{service.url}/bounded", patience=1.0, takes=0.2)

The service sleeps instead of working, `slots` requests at a time, so its capacity does not depend on the machine. The lesson
defines how it handles a request: the source of the coroutine function `answer(service, request)` is sent to the process.
`service` has the fields `slots` (a semaphore, first in, first out), `bounds` (how many may wait before an unimportant request,
and before an important one) and `waiting` (initially 0, counted by `answer`); `request` has `takes` (seconds) and
`important` (0 or 1). `answer` returns a status, and may use `asyncio`.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import os
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from lib.stage import ports
from lib.stage.processes import Process
from lib.stage.programs import Running
from lib.stage.ranges import check_whole
from lib.stage.router import Router

if TYPE_CHECKING:
    import pandas as pd

ROOT = Path(__file__).parents[2]
GIVEN_UP = 0
"""Used instead of a status: the client gave up, or its connection was closed."""


class LimitedService(Running):
    """The service in its own process, which ends with its owner.

    The first part of a path names the bounds. Each path is an instance with its own slots and queue: `/bounded` and
    `/bounded/2` are independent.
    """

    def __init__(
        self,
        answer: Callable[..., Awaitable[int]],
        bounds: Mapping[str, tuple[float, float]],
        *,
        slots: int = 4,
    ) -> None:
        """Start it and wait until it answers. Raises ProcessError if it does not, ValueError for a number outside its range.

        answer: see above; it cannot use other names of the lesson.
        bounds: how many may wait, by name; `math.inf`: any number.
        """
        check_whole(1, slots=slots)
        source = textwrap.dedent(inspect.getsource(answer))
        order = json.dumps({"source": source, "name": answer.__name__, "bounds": bounds, "slots": slots})
        self.process = Process()

        def start(port: int) -> Process:
            command = [sys.executable, "-m", __name__, str(port), order]
            return self.process.run(command, cwd=ROOT, stop_signal=9)

        with self.process.stopped_on_failure():
            self.port = ports.run_on_free_port(start, self._is_ready, name="The limited service")

    def _is_ready(self, port: int) -> bool:
        with contextlib.suppress(OSError, ValueError, KeyError):
            return json.loads(ports.ask(f"http://127.0.0.1:{port}/")[1])["pid"] == self.process.pid
        return False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answered(self) -> dict[str, dict[int, int]]:
        """Count the requests that each instance completed, by status, including those whose client had given up."""
        counts = json.loads(ports.ask(f"{self.url}/")[1])["answered"]
        return {path: {int(code): number for code, number in one.items()} for path, one in counts.items()}

    def behind_proxy(self, *, max_requests: int | None, max_wait: float | None) -> Router:
        """Start an HAProxy in front of it, with the bounds of `lib.stage.router.Router`."""
        return Router({"blue": [self.port]}, max_requests=max_requests, max_wait=max_wait)

    def stop(self) -> None:
        """Stop it, including the requests in progress. May be repeated."""
        self.process.stop()


# ── The load ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def ask(url: str, *, patience: float, **parameters: float) -> int:
    """Send one request on a new connection; return the status, or GIVEN_UP after `patience` seconds."""
    parts, writer = urlsplit(url), None
    target = f"{quote(parts.path)}?{urlencode(parameters)}"
    try:
        async with asyncio.timeout(patience):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            writer.write(f"GET {target} HTTP/1.0\r\n\r\n".encode())
            return int((await reader.readline()).split()[1])
    except (OSError, IndexError):  # a timeout is an OSError; no line: the connection was closed
        return GIVEN_UP
    finally:
        if writer:
            writer.close()


async def replay(
    requests: pd.DataFrame, send: Callable[[Any], Awaitable[Any]], *, until: float | None = None
) -> pd.DataFrame:
    """Replay an open loop: call `send(row)` for each row at its second `arrived`, even if earlier calls have not ended.

    until: the second at which unfinished calls are cut off; None: wait for all.
    Returns the rows with the columns `result`, the return value of `send` (missing if the call was cut off), and `latency`, the
    seconds from `arrived` to its end. Raises what `send` raises.
    """
    begin = time.monotonic()

    async def one(row: Any) -> tuple[Any, float]:
        await asyncio.sleep(begin + row.arrived - time.monotonic())
        return await send(row), time.monotonic() - begin - row.arrived

    tasks = [asyncio.create_task(one(row)) for row in requests.itertuples()]
    _, late = await asyncio.wait(tasks, timeout=until)
    for task in late:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)  # so that no exception is left behind
    ends = [(None, float("nan")) if task in late else task.result() for task in tasks]
    return requests.assign(result=[value for value, _ in ends], latency=[took for _, took in ends])


# ── In the process of the service ────────────────────────────────────────────────────────────────────────────────


def application(source: str, name: str, bounds: dict[str, list[float]], slots: int) -> Callable[..., Any]:
    """Return the service as an ASGI application: `/` reports the counts of answers, every other path is an instance."""
    namespace: dict[str, Any] = {"asyncio": asyncio}
    exec(source, namespace)  # noqa: S102 (from the owner of this process)
    instances: dict[str, SimpleNamespace] = {}

    async def reply(path: str, query: bytes) -> tuple[int, bytes]:
        if path == "/":
            answered = {path: one.answered for path, one in instances.items()}
            return 200, json.dumps({"pid": os.getpid(), "answered": answered}).encode()
        if path not in instances:
            fields = {"bounds": bounds[path.split("/")[1]], "slots": asyncio.Semaphore(slots)}
            instances[path] = SimpleNamespace(**fields, waiting=0, answered=Counter())
        asked = {key: float(value) for key, [value] in parse_qs(query.decode()).items()}
        request = SimpleNamespace(takes=asked.get("takes", 0.0), important=int(asked.get("important", 0)))
        status = await namespace[name](instances[path], request)
        instances[path].answered[status] += 1
        return status, b""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        status, body = await reply(unquote(scope["path"]), scope["query_string"])
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": body})

    return app


def main() -> None:
    """Serve on a port. Arguments: the port, and the arguments of `application` as JSON."""
    import uvicorn

    app = application(**json.loads(sys.argv[2]))
    uvicorn.run(app, port=int(sys.argv[1]), lifespan="off", log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
