"""A platform in a process that stays: for a command that ends, and whose replicas go on.

The process owns a database, a router and replicas, until SIGTERM. Controllers come and go, and call it over a socket.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any

from lib.deployment.platform import Platform, PlatformError
from lib.deployment.platforms.local import Local
from lib.deployment.replicas import ROOT
from lib.stage.files import replace_file
from lib.stage.processes import Process
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
        try:
            with Client(self._noted()["socket"]) as connection:
                connection.send((method, arguments))
                if not connection.poll(CALLS[method]):
                    raise self._hangs("has not answered", CALLS[method])
                done, answer = connection.recv()
        except (OSError, EOFError) as error:
            raise AbsentError(f"{self.note}: no platform answers there ({error})") from error
        if not done:
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
                options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output}
                process = subprocess.Popen(command, start_new_session=True, cwd=ROOT, **options)
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
        for file in (self.note, self.directory / "routes.json"):
            file.unlink(missing_ok=True)


@contextmanager
def listen(platform: Platform) -> Iterator[str]:
    """Let controllers in other processes call a platform, until the block ends; give the path of a socket for this user alone."""

    def answer(connection: Connection) -> None:
        with connection, suppress(OSError, EOFError):  # the controller was killed
            method, arguments = connection.recv()
            try:
                connection.send((True, getattr(platform, method)(*arguments)))
            except Exception as error:  # noqa: BLE001 - whatever it is, the caller is told
                connection.send((False, f"{type(error).__name__}: {error}"))

    def accept() -> None:
        with suppress(OSError):  # the listener is closed
            while True:
                threading.Thread(target=answer, args=[listener.accept()], daemon=True).start()

    with Process() as owned, Listener(str(owned.directory / "socket"), backlog=64) as listener:
        # The directory goes with this process, even if it is killed.
        threading.Thread(target=accept, daemon=True).start()
        yield str(listener.address)


def _stay(directory: Path, port: int) -> None:
    """Own a database, a router and replicas until SIGTERM. The note is there as long as they are."""
    ended = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ended)
    with ExitStack() as stack:
        stack.callback((directory / NOTE).unlink, missing_ok=True)
        database = stack.enter_context(postgres())
        platform = stack.enter_context(Local(database.url, directory=directory, port=port))
        socket = stack.enter_context(listen(platform))
        note = {"pid": os.getpid(), "address": platform.router.url, "socket": socket}
        replace_file(directory / NOTE, json.dumps(note))
        signal.sigwait(ended)


if __name__ == "__main__":
    _stay(Path(sys.argv[1]), int(sys.argv[2]))
