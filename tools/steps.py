"""The commands of the set-up: run with progress in a readable amount, and explained when they fail. Standard library only."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

# How pip's line about a package begins; the second for a file that is already on this machine.
FOUND = ("Collecting ", "Processing ")
# Variables that would make pip install into another place than `.venv`.
ELSEWHERE = {"PIP_TARGET", "PIP_PREFIX", "PIP_ROOT"}
DISK_FULL = (
    "The disk is full. Make room in this folder and in the temporary directory, "
    "or set TMPDIR to a folder that has room."
)
ROOM_TO_WORK = 150 * 10**6  # bytes; the largest package is downloaded and unpacked in less
REMEDIES = {
    r"No space left|Errno 28|Disk quota exceeded": DISK_FULL,
    r"DO NOT MATCH THE HASHES": (
        "A download is not the file that requirements.lock names. If it was cut off, a second try helps; otherwise "
        "the package mirror that pip uses serves another file."
    ),
    r"Retrying|ConnectionError|incomplete-download|name resolution|Network is unreachable|timed out|ProxyError|SSLError|CERTIFICATE": (
        "The package index could not be reached. Check the network, and the proxy or mirror in `pip config list`. "
        "pip keeps what it has downloaded, so a second try takes less time."
    ),
    r"No matching distribution|from versions: none": (
        "There is no ready-made package for this machine. Supported are Linux on x86-64 and arm64 with glibc 2.28 or "
        "newer (Debian 10, Ubuntu 20.04, RHEL 8 and later), and Windows through WSL 2."
    ),
    r"Permission denied|Errno 13": (
        "A file may not be written. Was this folder, or .venv in it, made by another user (root, say)?"
    ),
}
"""What pip says when something is missing, and what to do; the first that fits counts."""


class SetupError(Exception):
    """The set-up cannot go on. The message says why and what to do."""


class Progress:
    """Numbered steps with the seconds since the start, and in a terminal one live line within a step."""

    def __init__(self, steps: int) -> None:
        self.steps, self.step, self.start = steps, 0, time.monotonic()
        self.live = sys.stdout.isatty()

    def begin(self, text: str) -> None:
        """Say that the next step begins."""
        self.step += 1
        self._line(f"[{self.step}/{self.steps}] {self._elapsed()}  {text}")

    def note(self, text: str) -> None:
        """Say something about the step."""
        self._line(f"      {self._elapsed()}  {text}")

    def flash(self, text: str) -> None:
        """Show a line that the next one replaces; nothing where the output is no terminal."""
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            print("\r\033[K" + f"      {self._elapsed()}  {text}"[:width], end="", flush=True)

    def pip_says(self, line: str, collected: int, total: int) -> None:
        """Tell of a line of pip's output what a reader wants to know."""
        if line.startswith(FOUND):
            self.flash(f"{collected} of {total}: {os.path.basename(line.split()[1])}")
            if collected % 40 == 0 and not self.live:
                self.note(f"{collected} of {total} collected")
        elif line.startswith("Downloading "):
            self.flash(f"{collected} of {total}: {line}")
        elif line.startswith("Installing collected packages"):
            self.note("all collected; unpacking them (half a minute without a word)")
        elif "Retrying" in line:
            self.note("the package index does not answer; pip tries again")

    def _elapsed(self) -> str:
        return f"{time.monotonic() - self.start:4.0f} s"

    def _line(self, text: str) -> None:
        print(("\r\033[K" if self.live else "") + text, flush=True)


def run(command: list[str], folder: Path, log: Path, progress: Progress, held: int, total: int = 0) -> None:
    """Run one command of the set-up in `folder`. Its whole output goes to `log`; `total` packages are expected.

    The child inherits the descriptor `held`, that of the lock: should this process be killed, the next set-up waits until the child
    has ended too.

    Raises:
        SetupError: the command failed; with the end of its output and, where the cause is known, what to do.
    """
    environment = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
    environment |= {"PIP_USER": "0", "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    with (
        log.open("a", encoding="utf-8", errors="replace") as file,
        subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            pass_fds=[held],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process,
    ):
        try:
            tail = follow(process.stdout, file, progress, total)
            status = process.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if status != 0:
        raise SetupError(diagnosis(command, tail, log, full_disk(folder)))


def follow(output: Iterable[str], log: TextIO, progress: Progress, total: int) -> deque[str]:
    """Write a command's output to the log and tell of it; gives back its last lines."""
    tail: deque[str] = deque(maxlen=400)
    collected = 0
    for line in output:
        log.write(line)
        tail.append(line.strip())
        collected += line.startswith(FOUND)
        if total:
            progress.pip_says(line.strip(), collected, total)
    return tail


def full_disk(folder: Path) -> bool:
    """Whether there is no room left. pip then speaks of an incomplete download, and takes the network for the cause."""
    places = {folder, Path(tempfile.gettempdir())}
    return any(shutil.disk_usage(place).free < ROOM_TO_WORK for place in places)


def diagnosis(command: list[str], output: Iterable[str], log: Path, disk_is_full: bool) -> str:
    """The message about a command that failed: the last of its output, and what to do."""
    lines = [line for line in output if line]
    text = "\n".join(lines)
    errors = [line for line in lines if line.lower().startswith("error")][-3:] or lines[-8:]
    remedies = [DISK_FULL] * disk_is_full
    remedies += [remedy for pattern, remedy in REMEDIES.items() if re.search(pattern, text)]
    remedy = (
        remedies[0] if remedies else "Run the command again; if it fails in the same way, the log tells more."
    )
    said = [f"  {line[:300]}" for line in errors]
    return "\n".join([f"This failed: {' '.join(command)[:200]}", *said, remedy, f"The whole output: {log}"])
