"""Processes that end with their owner, and whose temporary directory is then removed.

A notebook kernel is killed with SIGKILL: it cannot clean up, and its child processes would keep running. Here each
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
    """A directory with one process at a time; both are gone after `stop()` or when the owner has ended.

    The process leads its own session and process group, so Ctrl-C in a terminal does not reach it.
    The handle is like an open file: when it is garbage collected, its process is stopped. Threads may share
    it. It does not work in a forked child of the owner.
    """

    def __init__(self, *, user: str | None = None) -> None:
        """user: the user who runs the process and owns the directory (only root may choose)."""
        import tempfile  # slow to import, as is shutil below

        self.directory = Path(tempfile.gettempdir()).absolute() / f"lessons-process-{os.urandom(8).hex()}"
        self.log = self.directory / "process.log"
        self._user = user_ids(user) if user else None
        self._news: dict[str, Any] = {}  # what the supervisor has reported since the last start
        self._lost, self._grace, self._lock = False, 0.0, threading.RLock()
        uid, gid = self._user or (os.geteuid(), os.getegid())
        command = [sys.executable, "-I", "-S", SUPERVISOR, self.directory, str(uid), str(gid)]
        streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "bufsize": 0}
        theirs, ours = os.pipe()  # not inherited by other children: only the owner holds the writing end
        self._control = os.fdopen(ours, "wb", buffering=0)
        _owned.add(self)
        try:
            self._supervisor = subprocess.Popen(
                command, stdin=theirs, cwd="/", start_new_session=True, **streams
            )
            self._await("ready", "The supervisor of a process did not start")
        except BaseException:  # Ctrl-C too: once the pipe is closed, the supervisor ends what it has started
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
        """The exit status once it has ended; if negative, the number of the signal that killed it."""
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
        stop_signal: asks the process to end; its descendants do not get it. After `grace` seconds, SIGKILL follows, for the
            process and all its descendants.
        Raises ProcessError if it cannot start (then the handle is stopped), or if the previous process still runs.
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
        """Start the process that has ended once more, with the same arguments."""
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
        """Wait for the process and its descendants; return the exit status, or None after `timeout` seconds. Directory and log stay."""
        deadline = time.monotonic() + (float("inf") if timeout is None else timeout)
        while self.alive and (left := deadline - time.monotonic()) > 0:
            self._receive(min(left, 1.0))
        return self.returncode

    def complete(self, *, name: str, timeout: float = 60.0, remedy: str = "") -> None:
        """Wait until the process has ended with status 0. Raises ProcessError as `wait_until` does."""
        status = self.wait(timeout)
        if status is None:
            raise self._failure(f"{name} did not end within {timeout:g} s", remedy)
        if status != 0:
            raise self._failure(f"{name} ended with status {status}", remedy)

    def wait_until(
        self, check: Callable[[], bool], *, name: str, timeout: float = 60.0, remedy: str = ""
    ) -> None:
        """Wait until `check()` is true and the process is alive.

        Raises ProcessError, with the end of the log and the `remedy`, if the process ends before that, or after `timeout`
        seconds.
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
        """Whether `pid` is alive and is this process or a descendant."""
        try:
            return os.getsid(pid) == self.pid
        except ProcessLookupError:
            return False

    def state(self, pid: int) -> str:
        """The state of one of its processes, as in proc(5): T if stopped, Z if dead and not yet reaped; empty if it does not exist."""
        with contextlib.suppress(OSError):
            return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
        return ""

    def memory(self) -> int:
        """The memory of all its processes in bytes; shared memory counts once. 0 if none is alive."""
        texts = []
        for path in Path("/proc").glob("[0-9]*/smaps_rollup"):
            if self.owns(int(path.parent.name)):
                with contextlib.suppress(OSError):  # it has ended, or runs as another user
                    texts.append(path.read_text())
        return pss("".join(texts))

    def signal(self, number: int, *, pid: int | None = None) -> None:
        """Send a signal to the main process, or to process `pid`; does nothing if that has ended."""
        target = pid or self.pid
        if self.alive and target and self.owns(target):
            with contextlib.suppress(ProcessLookupError):  # it has ended since
                os.kill(target, number)

    def kill(self) -> None:
        """Kill it with SIGKILL, like a crash, and then its descendants. The handle can `run` again."""
        self.signal(signal.SIGKILL)
        self.wait()

    def stop(self) -> None:
        """Stop it and remove its directory. May be repeated."""
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
        with contextlib.suppress(AttributeError):  # `__init__` may have failed
            self._control.close()
            self._supervisor.stdout.close()

    def output(self) -> str:
        """The end of the output of the process started last: a few kilobytes at most."""
        with contextlib.suppress(FileNotFoundError):
            return self.log.read_bytes()[-TAIL_BYTES:].decode(errors="replace")
        return ""

    def _receive(self, timeout: float) -> None:
        """Receive what the supervisor reports within `timeout` seconds."""
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
    """Close the pipe in a forked child; otherwise the child would keep the process alive."""
    for process in _owned:
        process._control.close()
        process._lost = True


os.register_at_fork(after_in_child=_disown)


def pss(text: str) -> int:
    """Return the bytes of memory that the contents of `/proc/*/smaps_rollup`, joined to one text, report."""
    return 1024 * sum(map(int, re.findall(r"^Pss: +(\d+)", text, re.MULTILINE)))


def user_ids(user: str) -> tuple[int, int]:
    """Return the ids of a user and its group. Raises KeyError if there is no such user."""
    entry = pwd.getpwnam(user)
    return entry.pw_uid, entry.pw_gid
