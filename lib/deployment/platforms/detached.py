"""A platform in a process that keeps running: for a command that ends while its replicas keep running.

The process owns a database, a router and replicas until SIGTERM. Controllers, which are short-lived, call it over a socket.
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

from lib.deployment.platform import AbsentError, Platform, PlatformError
from lib.deployment.platforms.local import Local
from lib.deployment.replicas import ROOT
from lib.stage.files import replace_file
from lib.stage.locks import note_holder, take_lock
from lib.stage.processes import Process
from lib.stage.servers import Server, postgres, postgres_answers
from lib.stage.waiting import wait_for

NOTE, LOCK, LOG = "platform.json", "platform.lock", "platform.log"
LONG = 600.0  # timeout in seconds for a response, a start or a stop of the platform
SHORT = 30.0  # timeout in seconds until it has written down its process id
#: Methods that controllers may call.
CALLS = ("create", "retire", "ports", "switch", "active", "in_flight", "died", "repair")


class Detached:
    """The `LastingPlatform` of a state directory. Besides the errors of `Platform`, its methods raise PlatformError.

    The process that owns it holds a lock from before it starts anything until it ends. So every other process finds it, and
    there is never a second platform, even if the controller that started it is killed at that time.
    """

    most_replicas = 100

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.note, self._lock = self.directory / NOTE, self.directory / LOCK

    def __getattr__(self, method: str) -> Any:
        if method not in CALLS:
            raise AttributeError(method)
        return partial(self._call, method)

    def _call(self, method: str, *arguments: Any) -> Any:
        if not self.exists():
            raise AbsentError(f"{self.directory}: no platform runs there; the last one ended, with its data")
        try:
            with Client(self._noted("socket")) as connection:
                connection.send((method, arguments))
                if not connection.poll(LONG):
                    raise PlatformError(self._hangs("answered"))
                done, answer = connection.recv()
        except (OSError, EOFError) as error:
            raise PlatformError(f"the platform, process {self._pid()}, does not answer ({error})") from error
        if not done:
            raise PlatformError(answer)
        return answer

    def _hangs(self, what: str) -> str:
        pid = self._pid()
        return f"the platform, process {pid}, has not {what} within {LONG:g} s: `kill -9 {pid}` ends it"

    def _noted(self, name: str) -> str:
        """Return a value in the note. Raises PlatformError if the note does not exist yet or cannot be read."""
        try:
            return str(json.loads(self.note.read_bytes())[name])
        except (OSError, KeyError, TypeError, ValueError) as error:
            owner = f"the platform, process {self._pid()}, is starting, or needs `down`"
            raise PlatformError(f"{self.note}: cannot be read ({error}): {owner}") from error

    def _pid(self) -> int | None:
        """Return the id of the process that holds the lock; None if it has not written it down yet."""
        text = self._lock.read_text() if self._lock.exists() else ""
        return int(text) if text.isdigit() else None

    def exists(self) -> bool:
        """See `LastingPlatform`: whether its owner is alive, even if it is still starting."""
        if self._lock.exists():
            if (handle := take_lock(self._lock)) is None:
                return True
            os.close(handle)
        return False

    def start(self, port: int) -> str:
        """See `LastingPlatform`. A failed or interrupted start leaves nothing behind."""
        self.directory.mkdir(parents=True, exist_ok=True)
        handle = take_lock(self._lock, wait=0.2)  # wait, because another process may just be testing the lock
        if handle is None:
            self._await_note()
            self._call("repair")
        else:
            try:
                self._launch(port, handle)
                self._await_note()
            except BaseException:
                self._end()
                raise
        return self._noted("address")

    def _launch(self, port: int, lock: int) -> None:
        note_holder(lock, "")
        self.note.unlink(missing_ok=True)
        command = [sys.executable, "-m", __name__, str(self.directory), str(port), str(lock)]
        options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "start_new_session": True, "cwd": ROOT}
        # After this block only the owner holds the lock.
        with os.fdopen(lock), (self.directory / LOG).open("wb") as output:
            subprocess.Popen(command, pass_fds=[lock], stdout=output, stderr=output, **options)

    def _await_note(self) -> None:
        wait_for(lambda: self.note.exists() or not self.exists(), LONG)
        if not self.note.exists():
            log = self.directory / LOG
            raise PlatformError(f"the platform did not start; {log} ends with:\n{log.read_text()[-2000:]}")

    def _end(self) -> None:
        # The owner writes down its process id before anything else.
        if self.exists() and wait_for(self._pid, SHORT) and (pid := self._pid()):
            os.kill(pid, signal.SIGTERM)
            if not wait_for(lambda: not self.exists(), LONG):
                raise PlatformError(self._hangs("ended"))

    def down(self) -> None:
        """See `LastingPlatform`."""
        self._end()
        for file in (self.note, self._lock):
            file.unlink(missing_ok=True)


class Owned(Local):
    """The platform in the process that owns it, with its database."""

    def __init__(self, database: Server, port: int) -> None:
        super().__init__(database.url, port=port)
        self._server = database

    def died(self) -> list[str]:
        """See `LastingPlatform`."""
        alive = {"database": self._server.process.alive, "router": self.router.alive}
        return [name for name in alive if not alive[name]]

    def repair(self) -> None:
        """Restart the router and the database if they have died. The data is kept."""
        with self._lock:
            process = self._server.process
            if not process.alive:
                process.run_again()
                process.wait_until(partial(postgres_answers, self._server.dsn), name="PostgreSQL")
            if not self.router.alive:
                self.router.start()


@contextmanager
def listen(platform: Platform) -> Iterator[str]:
    """Let controllers in other processes call a platform until the block ends; yield the path of a socket only this user can open."""

    def answer(connection: Connection) -> None:
        with connection, suppress(OSError, EOFError):  # the controller was killed
            method, arguments = connection.recv()
            try:
                connection.send((True, getattr(platform, method)(*arguments)))
            except Exception as error:  # noqa: BLE001 - whatever the error is, the caller gets it
                connection.send((False, f"{type(error).__name__}: {error}"))

    def accept() -> None:
        with suppress(OSError):  # the listener is closed
            while True:
                threading.Thread(target=answer, args=[listener.accept()], daemon=True).start()

    with Process() as owned, Listener(str(owned.directory / "socket"), backlog=64) as listener:
        # The directory is removed with this process, even if it is killed.
        threading.Thread(target=accept, daemon=True).start()
        yield str(listener.address)


def _stay(directory: Path, port: int, lock: int) -> None:
    """Own a database, a router and replicas until SIGTERM. The note exists as long as they do."""
    note_holder(lock, str(os.getpid()))
    os.set_inheritable(lock, False)
    ended = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ended)
    with ExitStack() as stack:
        stack.callback((directory / NOTE).unlink, missing_ok=True)
        platform = stack.enter_context(Owned(stack.enter_context(postgres()), port))
        socket = stack.enter_context(listen(platform))
        replace_file(directory / NOTE, json.dumps({"address": platform.router.url, "socket": socket}))
        signal.sigwait(ended)


if __name__ == "__main__":
    _stay(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
