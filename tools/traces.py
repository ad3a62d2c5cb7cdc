"""The project's own files, and their state: `tools/run_tests.py` records it before a run, `tests/after/` compares."""

import hashlib
import os
import subprocess
from pathlib import Path

MARK = "LESSON_RUN"
"""The environment variable that names the folder of a run."""
UNTRACKED = {
    *".git .venv .state work course build dist __pycache__ .pytest_cache .ruff_cache .hypothesis .ipynb_checkpoints".split()
}
"""Folders that are not part of the project's files."""


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
