"""What is still there: processes and files, found from outside."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import psutil


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
    from lib.stage.waiting import wait_for  # not where `lib` is only a stand-in (tests/test_run_tests.py)

    def left() -> list[str]:
        files = directory.iterdir() if directory.exists() else ()
        return [f"process {pid}" for pid in processes_in(directory)] + [str(path) for path in files]

    return [] if wait_for(lambda: not left(), seconds) else left()


def command_of(pid: int) -> str | None:
    """Return the command line of a live process, cut to a readable length; None if it has ended or is a zombie."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        if process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return " ".join(process.cmdline())[:200]
    return None


def descendants(root: int) -> dict[int, str]:
    """The command lines of all living descendants of a process by number, without this process and its ancestors.

    `tools/run_tests.py` adopts orphans, so all that a run has started descends from it, even in sessions of their own.
    """
    spared = {os.getpid(), *(process.pid for process in psutil.Process().parents())}
    family = list[psutil.Process]()
    with contextlib.suppress(psutil.NoSuchProcess):
        family = psutil.Process(root).children(recursive=True)
    found = {process.pid: command_of(process.pid) for process in family if process.pid not in spared}
    return {pid: command for pid, command in found.items() if command is not None}


def still_running(processes: dict[int, str]) -> list[str]:
    """Describe those of the processes that are still alive."""
    alive = {pid: command for pid, command in processes.items() if command_of(pid) == command}
    return [f"process {pid}: {command}" for pid, command in alive.items()]


def files_in(folder: Path, besides: tuple[str, ...] = ()) -> list[str]:
    """All files and empty folders in `folder`, relative to it, except those in first-level entries matching `besides`."""
    found = []
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        is_leaf = path.is_symlink() or not path.is_dir() or not any(path.iterdir())
        if is_leaf and not any(Path(relative.parts[0]).match(pattern) for pattern in besides):
            found.append(str(relative))
    return found
