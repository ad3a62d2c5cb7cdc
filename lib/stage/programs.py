"""The base of everything that runs until its `with` block ends, and a function that runs a command."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from typing import Protocol, Self

TAIL_LINES = 15


class ProcessError(RuntimeError):
    """A process could not be started, or it ended or timed out before it was ready."""


class Running(Protocol):
    """Something that runs until `stop()`, the end of its `with` block, or the end of its owner."""

    def stop(self) -> None:
        """Stop it and clean up after it. May be repeated."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


def run(*command: str, env: Mapping[str, str] | None = None, remedy: str = "install it") -> str:
    """Run a command until it ends; return its output.

    env: variables added to the environment. remedy: what to do if the command does not exist.
    Raises ProcessError with the end of its error output.
    """
    try:
        done = subprocess.run(
            command, env=os.environ | (env or {}), stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
    except FileNotFoundError as error:
        raise ProcessError(f"there is no command `{command[0]}`: {remedy}") from error
    if done.returncode:
        end = "\n    ".join(done.stderr.strip().splitlines()[-TAIL_LINES:])
        raise ProcessError(f"{' '.join(command)} ended with status {done.returncode}:\n    {end}")
    return done.stdout
