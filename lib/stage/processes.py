"""Processes that die with their owner, and take their temporary directory along.

A notebook kernel is ended by SIGKILL: it cannot clean up, and what it started would live on. Here each
process has a small supervisor (`lib/stage/supervisor.py`) that waits on a pipe whose other end only the owner
holds. When the pipe closes, by `stop()`, an exception, a kill or a crash, the supervisor stops the process
with all its descendants and removes its directory.

    with Process().run(["some-server", "--port", "15123"]) as process:
        process.wait_until(answers, name="some-server")
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import select
import signal
import subprocess
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from lib.stage.programs import ProcessError, Program

SUPERVISOR = Path(__file__).with_name("supervisor.py")
TAIL_BYTES = 8192

_owned: weakref.WeakSet[Process] = weakref.WeakSet()


class Process(Program):
    """A directory, and one process at a time in it; both are gone after `stop()` or when the owner has ended.

    The process leads a session and a process group of its own, so Ctrl-C in a terminal does not reach it.
    The handle is like an open file: when it is garbage collected, its process is stopped. Threads may share
    it. In a forked child of the owner it is dead.
    """

    def __init__(self, *, user: str | None = None) -> None:
        """user: as whom the process runs and to whom the directory belongs (only root may choose)."""
        import tempfile  # slow to import, as is shutil below

        self.directory = Path(tempfile.gettempdir()).absolute() / f"lessons-process-{os.urandom(8).hex()}"
        self.log = self.directory / "process.log"
        self._user = user_ids(user) if user else None
        self._news: dict[str, Any] = {}  # what the supervisor has said since the last start
        self._lost, self._grace, self._lock = False, 0.0, threading.RLock()
        uid, gid = self._user or (os.geteuid(), os.getegid())
        command = [sys.executable, "-I", "-S", SUPERVISOR, self.directory, str(uid), str(gid)]
        streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "bufsize": 0}
        theirs, ours = os.pipe()  # not inherited by other children: only we hold the writing end
        self._control = os.fdopen(ours, "wb", buffering=0)
        _owned.add(self)
        try:
            self._supervisor = subprocess.Popen(
                command, stdin=theirs, cwd="/", start_new_session=True, **streams
            )
            self._await("ready", "The supervisor of a process did not start")
        except BaseException:  # Ctrl-C too: with the pipe closed, the supervisor ends whatever it has begun
            self._control.close()
            with contextlib.suppress(AttributeError, subprocess.TimeoutExpired):  # not started; stuck
                self._supervisor.wait(60)
            raise
        finally:
            os.close(theirs)

    @property
    def pid(self) -> int | None:
        return self._news.get("pid")

    @property
    def returncode(self) -> int | None:
        return self._news.get("exit")

    def run(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] = ".",
        stop_signal: int = signal.SIGTERM,
        grace: float = 10.0,
    ) -> Self:
        """Start `argv` (no shell; one at a time) and return this handle once it is running.

        env: variables added to the inherited environment. Its output goes to `log`, in the directory.
        stop_signal: what asks this program to end. It goes to the process alone. After `grace` seconds SIGKILL
            follows, to the process and all its descendants.
        Raises ProcessError when it cannot start (then the handle is stopped), or the last one still runs.
        """
        if self.alive:
            raise ProcessError(f"Process {self.pid} is still running: stop it, or use a second handle")
        options: dict[str, Any] = {"args": [os.fspath(part) for part in argv], "cwd": os.path.abspath(cwd)}
        if self._user:
            options |= {"user": self._user[0], "group": self._user[1], "extra_groups": []}
        end = {"stop_signal": int(stop_signal), "grace": grace}
        self._grace, self._last = grace, options | end | {"env": dict(env or {}), "log": str(self.log)}
        return self.run_again()

    def run_again(self) -> Self:
        """Start once more what has ended, in the same way."""
        try:
            self._news = {}
            self._send(run=self._last)
            self._await("pid", f"Cannot start {self._last['args'][0]!r}")
        except BaseException:  # Ctrl-C too, whose traceback may keep this handle from being collected
            self.stop()
            raise
        return self

    @property
    def alive(self) -> bool:
        self._receive(0)
        return self.pid is not None and self.returncode is None and not self._lost

    def wait(self, timeout: float | None = None) -> int | None:
        """See `Program`. The directory and the log remain until `stop()`."""
        deadline = time.monotonic() + (float("inf") if timeout is None else timeout)
        while self.alive and (left := deadline - time.monotonic()) > 0:
            self._receive(min(left, 1.0))
        return self.returncode

    def complete(self, *, name: str, timeout: float = 60.0, remedy: str = "") -> None:
        """Return once the process has ended with status 0. Raises ProcessError as `wait_until` does."""
        status = self.wait(timeout)
        if status is None:
            raise self._failure(f"{name} did not end within {timeout:g} s", remedy)
        if status != 0:
            raise self._failure(f"{name} ended with status {status}", remedy)

    def owns(self, pid: int) -> bool:
        try:
            return os.getsid(pid) == self.pid
        except ProcessLookupError:
            return False

    def memory(self) -> int:
        kilobytes = 0
        for path in Path("/proc").glob("[0-9]*/smaps_rollup"):
            if self.owns(int(path.parent.name)):
                with contextlib.suppress(OSError):  # it has ended, or runs as another user
                    kilobytes += int(path.read_text().partition("\nPss:")[2].split()[0])
        return kilobytes * 1024

    def signal(self, number: int, *, group: bool = False, pid: int | None = None) -> None:
        if pid is None:
            self._send(signal=int(number), group=group)
        elif self.owns(pid):
            with contextlib.suppress(ProcessLookupError):  # it has ended since
                os.kill(pid, number)

    def kill(self) -> None:
        """End the process and its descendants by SIGKILL; the handle can `run` again."""
        if self.alive:
            self.signal(signal.SIGKILL, group=True)
            self.wait()

    def stop(self) -> None:
        if self._control.closed:
            return
        self._control.close()
        status = self._supervisor.wait(self._grace + 30)
        self._receive(0)
        if status != 0:
            reason = self._news.get("error", f"status {status}")
            remedy = f"end that process, and remove {self.directory}, if they are still there"
            warnings.warn(f"The supervisor of process {self.pid} failed ({reason}): {remedy}", stacklevel=2)

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # it may be half made
            self._control.close()
            self._supervisor.stdout.close()

    def output(self) -> str:
        """See `Program`; of the process that was started last."""
        with contextlib.suppress(FileNotFoundError):
            return self.log.read_bytes()[-TAIL_BYTES:].decode(errors="replace")
        return ""

    def _send(self, **message: object) -> None:
        try:
            with self._lock:
                self._control.write(json.dumps(message).encode() + b"\n")
        except (OSError, ValueError) as error:  # ValueError: closed
            raise ProcessError("This handle was stopped: start a new one") from error

    def _receive(self, timeout: float) -> None:
        """Take in what the supervisor says within `timeout` seconds."""
        if self._lost:
            return
        poll = select.poll()  # unlike select.select, it takes descriptors above 1023
        poll.register(self._supervisor.stdout, select.POLLIN)
        if not poll.poll(timeout * 1000):
            return
        with self._lock:
            if poll.poll(0):  # no other thread was faster
                messages = self._supervisor.stdout.read(65536)
                self._lost = not messages
                for message in messages.splitlines():
                    self._news |= json.loads(message)

    def _await(self, news: str, failure: str) -> None:
        deadline = time.monotonic() + 60
        while news not in self._news:
            if "error" in self._news or self._lost or time.monotonic() > deadline:
                reason = self._news.get("error", "its supervisor does not answer")
                raise ProcessError(f"{failure}: {reason}")
            self._receive(1.0)


def _disown() -> None:
    """In a forked child: let go of the pipe, which would else keep the process alive as long as it lives."""
    for process in _owned:
        process._control.close()
        process._lost = True


os.register_at_fork(after_in_child=_disown)


def user_ids(user: str) -> tuple[int, int]:
    """The numbers of a user and its group. KeyError when there is no such user."""
    entry = pwd.getpwnam(user)
    return entry.pw_uid, entry.pw_gid
