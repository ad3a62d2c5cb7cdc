"""A platform in a process that stays: for a command that ends, and whose replicas go on.

The process owns a database, a router and replicas, until SIGTERM. Controllers come and go, and call it over HTTP.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from functools import partial
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from lib.deployment.platform import Platform, PlatformError
from lib.deployment.platforms.local import Local
from lib.deployment.replicas import ROOT, call
from lib.deployment.states import Release
from lib.stage.files import replace_file
from lib.stage.servers import postgres
from lib.stage.waiting import wait_for

NOTE = "platform.json"
LONG, SHORT = 600.0, 30.0  # seconds: for starts and stops of replicas, and for all else
#: What controllers may call, and how long it may take.
CALLS = {"create": LONG, "retire": LONG, "ports": SHORT, "switch": SHORT, "active": SHORT, "in_flight": SHORT}


class AbsentError(PlatformError):
    """Nobody answers: there is no platform, or there is none any more."""


class Detached:
    """The `LastingPlatform` that belongs to a state directory. Its calls add PlatformError to what those of `Platform` raise."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.note = directory, directory / NOTE

    def __getattr__(self, method: str) -> Any:
        if method not in CALLS:
            raise AttributeError(method)
        return partial(self._call, method)

    def _call(self, method: str, *arguments: Any) -> Any:
        plain = [asdict(one) if isinstance(one, Release) else one for one in arguments]
        try:
            note = self._noted()
            path = f"/{note['secret']}/{method}"
            status, answer = call(note["port"], path, plain, timeout=CALLS[method])
        except (OSError, HTTPException) as error:
            if isinstance(getattr(error, "reason", error), TimeoutError):
                raise self._hangs("has not answered", CALLS[method]) from error
            raise AbsentError(f"{self.note}: no platform answers there ({error})") from error
        if status == 404:
            raise AbsentError(f"{self.note}: another program answers there")
        if status != 200:
            raise PlatformError(answer)
        return answer

    def _noted(self) -> dict[str, Any]:
        return json.loads(self.note.read_text())

    def _hangs(self, what: str, seconds: float) -> PlatformError:
        pid = self._noted()["pid"]
        return PlatformError(
            f"the platform, process {pid}, {what} within {seconds:g} s: `kill -9 {pid}` ends it"
        )

    def exists(self) -> bool:
        """See `LastingPlatform`: whether it answers."""
        with suppress(AbsentError):
            self.ports("blue")
            return True
        return False

    def start(self, port: int) -> str:
        """See `LastingPlatform`."""
        if not self.exists():
            self.note.unlink(missing_ok=True)
            log = self.directory / "platform.log"
            command = [sys.executable, "-m", __name__, str(self.directory), str(port)]
            with log.open("wb") as output:
                options = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output, "cwd": ROOT}
                process = subprocess.Popen(command, start_new_session=True, **options)
            wait_for(lambda: self.note.exists() or process.poll() is not None, LONG)
            if not self.note.exists():
                end = log.read_text()[-2000:]
                raise PlatformError(f"the platform did not start; {log} ends with:\n{end}")
        return self._noted()["address"]

    def down(self) -> None:
        """See `LastingPlatform`."""
        if self.exists():  # so the process that is noted is the platform
            os.kill(self._noted()["pid"], signal.SIGTERM)
            if not wait_for(lambda: not self.note.exists(), LONG):
                raise self._hangs("has not ended", LONG)
        else:
            print("nothing is running")
        for file in (self.note, self.directory / "routes.json"):
            file.unlink(missing_ok=True)


@contextmanager
def listen(platform: Platform) -> Iterator[dict[str, Any]]:
    """Let controllers in other processes call a platform, until the block ends; give the port of 127.0.0.1, and a secret."""
    secret = secrets.token_urlsafe()
    calls = {f"/{secret}/{name}": getattr(platform, name) for name in CALLS}
    calls[f"/{secret}/create"] = lambda colour, release: platform.create(colour, Release(**release))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            if self.path not in calls:
                self.send_error(404)
                return
            arguments = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                status, answer = 200, calls[self.path](*arguments)
            except Exception as error:  # noqa: BLE001 - whatever it is, the caller is told
                status, answer = 500, f"{type(error).__name__}: {error}"
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: Any) -> None:
            """Log nothing: a path has the secret."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, ThreadPoolExecutor(1) as thread:
        thread.submit(server.serve_forever, poll_interval=0.05)
        try:
            yield {"port": server.server_port, "secret": secret}
        finally:
            server.shutdown()


def _stay(directory: Path, port: int) -> None:
    """Own a database, a router and replicas until SIGTERM. The note, which only this user may read, is there as long as they are."""
    ended = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ended)
    with ExitStack() as stack:
        stack.callback((directory / NOTE).unlink, missing_ok=True)
        database = stack.enter_context(postgres())
        platform = stack.enter_context(Local(database.url, directory=directory, port=port))
        calls = stack.enter_context(listen(platform))
        note = {"pid": os.getpid(), "address": platform.router.url, **calls}
        replace_file(directory / NOTE, json.dumps(note), mode=0o600)
        signal.sigwait(ended)


if __name__ == "__main__":
    _stay(Path(sys.argv[1]), int(sys.argv[2]))
