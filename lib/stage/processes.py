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
import re
import select
import signal
import subprocess
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from lib.stage.programs import TAIL_LINES, ProcessError, Running
from lib.stage.waiting import wait_for

SUPERVISOR = Path(__file__).with_name("supervisor.py")
TAIL_BYTES = 8192

_owned: weakref.WeakSet[Process] = weakref.WeakSet()


class Process(Running):
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
        """The id of its main process."""
        return self._news.get("pid")

    @property
    def returncode(self) -> int | None:
        """The exit status once it has ended; a negative one is the signal that ended it."""
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
            self._control.write(json.dumps(self._last).encode() + b"\n")
            self._await("pid", f"Cannot start {self._last['args'][0]!r}")
        except BaseException:  # Ctrl-C too, whose traceback may keep this handle from being collected
            self.stop()
            raise
        return self

    @property
    def alive(self) -> bool:
        """Whether it is running now."""
        self._receive(0)
        return self.pid is not None and self.returncode is None and not self._lost

    def wait(self, timeout: float | None = None) -> int | None:
        """The exit status, once nothing is left of it; None after `timeout` seconds. Directory and log remain until `stop()`."""
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

    def wait_until(
        self, check: Callable[[], bool], *, name: str, timeout: float = 60.0, remedy: str = ""
    ) -> None:
        """Return once `check()` is true and the process is alive.

        Raises ProcessError, with the end of the log and the `remedy`, when the process ends before that, or
        after `timeout` seconds.
        """
        if not wait_for(lambda: not self.alive or check(), timeout):
            raise self._failure(f"{name} was not ready within {timeout:g} s", remedy)
        if not self.alive:
            raise self._failure(f"{name} ended with status {self.returncode} before it was ready", remedy)

    def _failure(self, what: str, remedy: str) -> ProcessError:
        lines = self.output().splitlines()[-TAIL_LINES:]
        log = "\n    ".join(["Its log ends with:", *lines]) if lines else "Its log is empty."
        return ProcessError("\n".join(filter(None, [f"{what}. {log}", remedy])))

    @contextlib.contextmanager
    def stopped_on_failure(self) -> Iterator[Self]:
        """Stop it if the block raises or is interrupted."""
        try:
            yield self
        except BaseException:
            self.stop()
            raise

    def owns(self, pid: int) -> bool:
        """Whether a process lives and belongs to this one."""
        try:
            return os.getsid(pid) == self.pid
        except ProcessLookupError:
            return False

    def state(self, pid: int) -> str:
        """The state of one of its processes, as in proc(5): T if stopped, Z if dead and not yet reaped; empty when it has gone."""
        with contextlib.suppress(OSError):
            return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
        return ""

    def memory(self) -> int:
        """The bytes of memory that all its processes take; shared memory counts once. 0 when none lives."""
        texts = []
        for path in Path("/proc").glob("[0-9]*/smaps_rollup"):
            if self.owns(int(path.parent.name)):
                with contextlib.suppress(OSError):  # it has ended, or runs as another user
                    texts.append(path.read_text())
        return pss("".join(texts))

    def signal(self, number: int, *, pid: int | None = None) -> None:
        """Send a signal to the main process, or to the one with a `pid`; nothing happens when it has ended."""
        target = pid or self.pid
        if self.alive and target and self.owns(target):
            with contextlib.suppress(ProcessLookupError):  # it has ended since
                os.kill(target, number)

    def kill(self) -> None:
        """End it by SIGKILL, as a crash would; its descendants follow. The handle can `run` again."""
        self.signal(signal.SIGKILL)
        self.wait()

    def stop(self) -> None:
        """End it, and remove its directory. May be repeated."""
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
        """The end of what the process that was started last has written: some kilobytes at most."""
        with contextlib.suppress(FileNotFoundError):
            return self.log.read_bytes()[-TAIL_BYTES:].decode(errors="replace")
        return ""

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


def pss(text: str) -> int:
    """The bytes of memory in files `smaps_rollup` of `/proc`, as one text."""
    return 1024 * sum(map(int, re.findall(r"^Pss: +(\d+)", text, re.MULTILINE)))


def user_ids(user: str) -> tuple[int, int]:
    """The numbers of a user and its group. KeyError when there is no such user."""
    entry = pwd.getpwnam(user)
    return entry.pw_uid, entry.pw_gid
