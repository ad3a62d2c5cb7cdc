"""What is still there: processes and files of a directory, found from outside."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path


def processes_in(directory: Path) -> list[int]:
    """The processes that work in `directory` or name it on their command line, except this one and zombies.

    An environment variable as a marker would not do: PostgreSQL's backends overwrite their environment, and
    they leave their parent's session and process group.
    """
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
                named = os.fsencode(directory) in (entry / "cmdline").read_bytes()
                if named or Path(os.readlink(entry / "cwd")).is_relative_to(directory):
                    found.append(int(entry.name))
    return found


def left_in(directory: Path, seconds: float = 60.0) -> list[str]:
    """What processes and files are left in `directory` after at most `seconds`; empty once all is gone."""
    deadline = time.monotonic() + seconds
    while True:
        left = [f"process {pid}" for pid in processes_in(directory)]
        left += [str(path) for path in directory.iterdir()] if directory.exists() else []
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.02)
