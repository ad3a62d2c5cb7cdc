"""Find what a test run leaves behind: processes, files in the repository, files in the home folder.

`tools/run_tests.py` records the state before a run, `tests/after/` compares it with the state after.
"""

import contextlib
import hashlib
import os
import subprocess
from pathlib import Path

import psutil

MARK = "LESSON_RUN"
"""The environment variable that names the folder of a run."""
UNTRACKED = {
    *".git .venv .state work course build dist __pycache__ .pytest_cache .ruff_cache .hypothesis .ipynb_checkpoints".split()
}
"""Folders that are not part of the project's files."""


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


def files_of(root: Path) -> list[Path]:
    """The project's own files in the folder `root`, as git lists them; without a checkout, all except generated files."""
    # Settings of the user or of a hook must not count, because the home folder differs before and after.
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
    """All files and empty folders in `folder`, relative to it, except those in first-level entries matching `besides`."""
    found = []
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        is_leaf = path.is_symlink() or not path.is_dir() or not any(path.iterdir())
        if is_leaf and not any(Path(relative.parts[0]).match(pattern) for pattern in besides):
            found.append(str(relative))
    return found
