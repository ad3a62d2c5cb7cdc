"""What is still there: processes and files of a directory, found from outside."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

from lib.stage.waiting import wait_for


def processes_in(directory: Path) -> list[int]:
    """The processes that work in `directory` or name it on their command line, except this one and zombies.

    An environment variable as a marker would not do: PostgreSQL's backends overwrite their environment, and
    they leave their parent's session and process group.
    """
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        named = str(directory) in " ".join(process.info["cmdline"] or [])
        if named or Path(process.info["cwd"] or "/").is_relative_to(directory):
            found.append(process.pid)
    return [pid for pid in found if pid != os.getpid()]


def left_in(directory: Path, seconds: float = 60.0) -> list[str]:
    """What processes and files are left in `directory` after at most `seconds`; empty once all is gone."""

    def left() -> list[str]:
        files = directory.iterdir() if directory.exists() else ()
        return [f"process {pid}" for pid in processes_in(directory)] + [str(path) for path in files]

    return [] if wait_for(lambda: not left(), seconds) else left()
