"""What a run of the tests leaves behind: processes, files in the repository, files in the home folder.

`tools/run_tests.py` records the state before a run, `tests/after/` compares it with the state after.
"""

import hashlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MARK = "LESSON_RUN"
"""The environment variable that all processes of a run inherit: the run's folder."""


@dataclass(frozen=True)
class Process:
    """A process as `/proc` shows it. `command` is cut to a readable length."""

    pid: int
    parent: int
    command: str
    environment: bytes

    def __str__(self) -> str:
        return f"process {self.pid}: {self.command}"


def read_process(entry: Path) -> Process | None:
    """The process behind `/proc/PID`, or None when it has ended, zombies included."""
    try:
        state, parent = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
        if state in "ZX":
            return None
        words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    try:
        environment = (entry / "environ").read_bytes()
    except (PermissionError, FileNotFoundError, ProcessLookupError):  # another user's
        environment = b""
    return Process(int(entry.name), int(parent), words[:200], environment)


def processes() -> dict[int, Process]:
    """All living processes of this machine by number."""
    entries = (entry for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return {found.pid: found for entry in entries if (found := read_process(entry))}


def line_of(pid: int, alive: dict[int, Process]) -> Iterator[int]:
    """The number of a process, its parent's, and so on up to the first."""
    while pid in alive:
        yield pid
        pid = alive[pid].parent


def processes_of_run(root: int, mark: str, watcher: int) -> list[Process]:
    """The processes that a run has started and that are still alive, except `watcher` and its ancestors.

    Two signs tell them, since each misses some: they descend from `root`, the run's first process, which adopts orphans; or their
    environment carries the mark (which some servers overwrite, PostgreSQL for one).
    """
    alive = processes()
    spared = set(line_of(watcher, alive))
    sign = f"{MARK}={mark}".encode()
    return [
        process
        for pid, process in alive.items()
        if pid not in spared and (root in line_of(pid, alive) or sign in process.environment.split(b"\0"))
    ]


def repository_state(root: Path) -> str | None:
    """A text that changes when a file of the repository does, ignored ones aside; None where there is no git checkout."""
    # What the user has configured, or a hook has set, must not count: the home folder differs before and after.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environ |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_OPTIONAL_LOCKS": "0"}
    settings = ("safe.directory=*", "core.quotepath=off", f"core.excludesFile={os.devnull}")
    git = ["git", "-C", str(root), *(word for setting in settings for word in ("-c", setting))]

    def ask(*arguments: str) -> bytes:
        return subprocess.run([*git, *arguments], capture_output=True, check=True, env=environ).stdout

    try:
        digest = hashlib.sha256(ask("diff", "HEAD", "--binary"))
        others = ask("ls-files", "--others", "--exclude-standard", "-z").split(b"\0")
        status = ask("status", "--porcelain").decode(errors="replace")
    except (OSError, subprocess.CalledProcessError):
        return None
    for name in filter(None, others):
        path = root / os.fsdecode(name)
        digest.update(name + (path.read_bytes() if path.is_file() else b""))
    return f"{status}contents {digest.hexdigest()}"


def files_in(folder: Path, besides: tuple[str, ...] = ()) -> list[str]:
    """All files and empty folders in `folder`, relative to it, except what lies in the first-level entries matching `besides`."""
    found = []
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        is_leaf = path.is_symlink() or not path.is_dir() or not any(path.iterdir())
        if is_leaf and not any(Path(relative.parts[0]).match(pattern) for pattern in besides):
            found.append(str(relative))
    return found
