"""Open-loop traffic without retries: every request is logged, and each failure is classified.

    with Traffic(router.url, rate=200) as traffic:
        router.switch("green")
    requests = traffic.requests()

*Open loop*: the clock, not the previous response, decides when a request is due, and its latency counts from that time. So if
the service stops for a while, all requests due in the meantime show it. The load runs in its own process, which ends with its
owner.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import json
import os
import random
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, Self

from lib.stage.processes import Process
from lib.stage.ranges import check_range

if TYPE_CHECKING:
    import aiohttp
    import pandas as pd

ROOT = Path(__file__).parents[2]
LONG_PATH = "/?seconds=1"
COLUMNS = {"kind": str, "user": str, "due": float, "sent": float, "ended": float}
COLUMNS |= {"status": int, "served_by": str, "outcome": str}
Outcome = Literal["ok", "refused", "reset", "timeout", "5xx", "4xx", "wrong body"]
#: The body of a write: a user that is valid at every version.
USER = {"name": "Núria Ñíguez", "created_at": "2024-01-01", "updated_at": "2024-01-01"}
USER |= {"email": None, "phone": None}


@dataclass(frozen=True)
class Load:
    """The load on a service: `rate` requests a second.

    If `writes` is above 0, that share of the requests creates users. The others read one of these users, mostly one of the last
    20, which old and new releases both use; the response must contain its name. In addition, `long` requests of LONG_PATH are
    always in progress.
    """

    url: str
    rate: float = 200.0
    writes: float = 0.0
    long: int = 0
    timeout: float = 5.0

    def __post_init__(self) -> None:
        check_range(0.001, 100_000, rate=self.rate, timeout=self.timeout)
        check_range(0, 1, writes=self.writes)
        check_range(0, long=self.long)


class Traffic:
    """A load that runs from here to `stop()`, the end of the `with` block, or the end of its owner."""

    def __init__(self, url: str, rate: float = 200.0, **options: Any) -> None:
        """Start; return once the first requests have ended. options: the other fields of `Load`."""
        self.load = Load(url, rate, **options)
        self._requests: pd.DataFrame | None = None
        self._process = Process()
        with self._process.stopped_on_failure():
            self._log = self._process.directory / "requests.csv"
            command = [sys.executable, "-m", __name__, json.dumps(asdict(self.load)), self._log]
            self._process.run(command, cwd=ROOT)
            self._process.wait_until(self._is_under_way, name="The traffic")

    def _is_under_way(self) -> bool:
        return self._log.exists() and self._log.read_bytes().count(b"\n") > 1

    def requests(self) -> pd.DataFrame:
        """Return one row for each request that has ended, in the order in which they were due.

        Columns: kind (`get`, `read`, `write`, `long`), user (the id that was read or written), due, sent, ended (seconds of
        `time.monotonic()`), status, served_by (the replica, by the header `X-Served-By`), outcome (`ok`, or how it failed),
        and latency: seconds from the time at which it was due.
        """
        import pandas as pd

        if self._requests is not None:
            return self._requests
        text = self._log.read_text(encoding="utf-8")
        whole = io.StringIO(text[: text.rfind("\n") + 1])
        frame = pd.read_csv(whole, dtype=COLUMNS, keep_default_na=False)
        frame = frame.sort_values("due", ignore_index=True)
        return frame.assign(latency=frame["ended"] - frame["due"])

    def stop(self) -> None:
        """Stop sending, wait for the requests in progress, and keep the log. May be repeated."""
        if self._requests is None:
            self._process.signal(signal.SIGTERM)
            self._process.complete(name="The traffic", timeout=self.load.timeout + 30)
            self._requests = self.requests()
            self._process.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is None:
            self.stop()
        else:
            self._process.kill()
            self._process.stop()


# ── In the process of the load ───────────────────────────────────────────────────────────────────────────────────


class _Sender:
    """Sends requests and logs each when it ends."""

    def __init__(self, load: Load, session: aiohttp.ClientSession, log: IO[str]) -> None:
        self.load, self.session, self.log = load, session, csv.writer(log)
        self.ending, self.rng, self.users = asyncio.Event(), random.Random(1), list[str]()

    async def _send(self, kind: str, due: float) -> None:
        sent, status, served_by = time.monotonic(), 0, ""
        method, path, user, options = self._request(kind)
        try:
            async with self.session.request(method, self.load.url + path, **options) as answer:
                status, served_by = answer.status, answer.headers.get("X-Served-By", "")
                body = await answer.read()
            outcome = "ok" if status < 400 else f"{status // 100}xx"
            if outcome == "ok" and user and not _is_user(body, user):
                outcome = "wrong body"
            if outcome == "ok" and kind == "write":
                self.users.append(user)
        except Exception as error:  # noqa: BLE001 - whatever the error is, the request has failed
            outcome = _kind_of(error)
        self.log.writerow([kind, user, due, sent, time.monotonic(), status, served_by, outcome])

    def _request(self, kind: str) -> tuple[str, str, str, dict[str, Any]]:
        """Return the method, the path, the id of a user, and further options."""
        if kind == "read":
            user = self.rng.choice(self.users[-20:] if self.rng.random() < 0.8 else self.users)
            return "GET", f"/users/{user}", user, {}
        if kind == "write":
            user = os.urandom(8).hex()  # two runs must not write the same users
            return "POST", "/users", user, {"json": USER | {"id": user}, "headers": {"Idempotency-Key": user}}
        return "GET", LONG_PATH if kind == "long" else "", "", {}

    def _kind(self) -> str:
        if not self.load.writes:
            return "get"
        return "read" if self.users and self.rng.random() >= self.load.writes else "write"

    async def short(self, tasks: asyncio.TaskGroup) -> None:
        """Start one request after another, each when it is due."""
        due = time.monotonic()
        while True:
            due += 1 / self.load.rate
            while (delay := due - time.monotonic()) > 0 and not self.ending.is_set():  # a timer may be early
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.ending.wait(), delay)
            if self.ending.is_set():
                return
            tasks.create_task(self._send(self._kind(), due))

    async def long(self) -> None:
        """Send one long request after another."""
        while not self.ending.is_set():
            await self._send("long", time.monotonic())


def _is_user(body: bytes, user: str) -> bool:
    with contextlib.suppress(ValueError, AttributeError):
        return {"id": user, "name": USER["name"]}.items() <= json.loads(body).items()
    return False


def _kind_of(error: Exception) -> Outcome:
    """Return why a request failed. *Reset*: the other side closed the connection before the response was complete."""
    import aiohttp

    if isinstance(error, TimeoutError):
        return "timeout"
    return "refused" if isinstance(error, aiohttp.ClientConnectorError) else "reset"


async def _run(load: Load, log: Path) -> None:
    import aiohttp

    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
    timeout = aiohttp.ClientTimeout(total=load.timeout)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        session._retry_connection = False  # otherwise aiohttp would retry a GET and hide a failure
        with log.open("w", encoding="utf-8", newline="", buffering=1) as file:
            csv.writer(file).writerow(COLUMNS)
            sender = _Sender(load, session, file)
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, sender.ending.set)
            async with asyncio.TaskGroup() as tasks:  # at its end it waits for the requests in progress
                for _ in range(load.long):
                    tasks.create_task(sender.long())
                await sender.short(tasks)


def main() -> None:
    """Run a load in this process until SIGTERM. Arguments: a Load as JSON, and a log file that gets one line a request."""
    import uvloop

    load, log = sys.argv[1:]
    uvloop.run(_run(Load(**json.loads(load)), Path(log)))


if __name__ == "__main__":
    main()
