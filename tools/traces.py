"""What a run of the tests leaves behind: processes, files in the repository, files in the home folder.

`tools/run_tests.py` records the state before a run, `tests/after/` compares it with the state after.
"""

import contextlib
import hashlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil

MARK = "LESSON_RUN"
"""The environment variable that all processes of a run inherit: the run's folder."""
UNTRACKED = {".git", ".venv", ".state", "work", "course", "build", "dist", "__pycache__", ".pytest_cache"} | {
    ".ruff_cache", ".hypothesis", ".ipynb_checkpoints"
}  # fmt: skip
"""Folders that belong to no version of the project."""


@dataclass(frozen=True)
class Process:
    """A living process. `command` is cut to a readable length."""

    pid: int
    command: str

    def __str__(self) -> str:
        return f"process {self.pid}: {self.command}"


def described(process: psutil.Process) -> Process | None:
    """A process in words, or None when it has ended, zombies included."""
    with contextlib.suppress(psutil.Error):
        if process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return Process(process.pid, " ".join(process.cmdline())[:200])
    return None


def processes() -> dict[int, Process]:
    """All living processes of this machine by number."""
    return {found.pid: found for process in psutil.process_iter() if (found := described(process))}


def has_mark(process: psutil.Process, mark: str) -> bool:
    """Whether the environment of a process says that it belongs to the run; False for another user's process."""
    with contextlib.suppress(psutil.Error):
        return process.environ().get(MARK) == mark
    return False


def processes_of_run(root: int, mark: str, watcher: int) -> list[Process]:
    """The processes that a run has started and that are still alive, except `watcher` and its ancestors.

    Two signs tell them, since each misses some: they descend from `root`, the run's first process, which adopts orphans; or their
    environment carries the mark (which some servers overwrite, PostgreSQL for one).
    """
    spared = {watcher, *(process.pid for process in psutil.Process(watcher).parents())}
    family = {root}
    with contextlib.suppress(psutil.NoSuchProcess):
        family |= {process.pid for process in psutil.Process(root).children(recursive=True)}
    found = [
        described(process)
        for process in psutil.process_iter()
        if process.pid not in spared and (process.pid in family or has_mark(process, mark))
    ]
    return [process for process in found if process is not None]


def files_of(root: Path) -> list[Path]:
    """The project's own files in the folder `root`, as git lists them; where there is no checkout, all but what is made by tools."""
    # What the user has configured, or a hook has set, must not count: the home folder differs before and after.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environ |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_OPTIONAL_LOCKS": "0"}
    git = ["git", "-C", str(root), "-c", "safe.directory=*", "-c", f"core.excludesFile={os.devnull}"]
    ask = [*git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(ask, capture_output=True, env=environ) if (root / ".git").exists() else None
    if done is not None and done.returncode == 0:
        found = [root / os.fsdecode(name) for name in done.stdout.split(b"\0") if name]
    else:
        found = [path for path in root.rglob("*") if not UNTRACKED & {*path.relative_to(root).parts}]
    return [path for path in found if path.is_file()]


def repository_state(root: Path) -> dict[str, str]:
    """A hash of each of the project's own files: it changes when a file is written, made or removed."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files_of(root)
    }


def files_in(folder: Path, besides: tuple[str, ...] = ()) -> list[str]:
    """All files and empty folders in `folder`, relative to it, except what lies in the first-level entries matching `besides`."""
    found = []
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        is_leaf = path.is_symlink() or not path.is_dir() or not any(path.iterdir())
        if is_leaf and not any(Path(relative.parts[0]).match(pattern) for pattern in besides):
            found.append(str(relative))
    return found
