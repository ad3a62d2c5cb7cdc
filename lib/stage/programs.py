"""A started process (`lib.stage.processes`) or container (`lib.stage.containers`), by one interface."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, Self

from lib.stage.waiting import wait_for

TAIL_LINES = 15


class ProcessError(RuntimeError):
    """A process that could not be started, or ended or timed out before it was ready."""


class Running(Protocol):
    """What runs until `stop()`, the end of its `with` block, or the end of its owner."""

    def stop(self) -> None:
        """End it, and remove what it leaves. May be repeated."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


class Program(Running, Protocol):
    """A started process or container. Its processes have the ids that it sees itself: in a container, the main one is 1."""

    pid: int | None  # of its main process
    returncode: int | None
    log: Path | None  # the file with its output, if there is one

    @property
    def alive(self) -> bool:
        """Whether it is running now."""

    def owns(self, pid: int) -> bool:
        """Whether a process lives and belongs to this program."""

    def memory(self) -> int:
        """The bytes of memory that all its processes take; shared memory counts once. 0 when none lives."""

    def signal(self, number: int, *, pid: int | None = None) -> None:
        """Send a signal to the main process, or to the one with a `pid`; nothing happens when it has ended."""

    def wait(self, timeout: float | None = None) -> int | None:
        """The exit status, once nothing is left of it; None after `timeout` seconds. A negative one is the signal that ended it."""

    def kill(self) -> None:
        """End it by SIGKILL, as a crash would."""

    def output(self) -> str:
        """The end of what it has written: some kilobytes at most."""

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

    @contextmanager
    def stopped_on_failure(self) -> Iterator[Self]:
        """Stop it if the block raises or is interrupted."""
        try:
            yield self
        except BaseException:
            self.stop()
            raise
