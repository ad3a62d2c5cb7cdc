"""Make `.venv` from `requirements.lock`, once; `tools/setup.py` runs this with the Python that it chose. Standard library only.

The stamp `.venv/.complete` says from what the environment was made; it is written last. So a set-up that was interrupted has no stamp,
and the next run makes the environment anew. The same happens when the lock, the Python or the folder has changed. When only the
metadata of the project has changed, only the project itself is installed again.
"""

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import deque
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV, LOCK, STATE = ROOT / ".venv", ROOT / "requirements.lock", ROOT / ".state"
STAMP, LOG = VENV / ".complete", STATE / "setup.log"
NEEDED_MB = 2500  # measured: 1,450 MB in .venv, up to 600 MB of downloads in the temporary directory or pip's cache
PIN = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*(?:\[.*])?==", re.MULTILINE)
REMEDIES = [
    (r"No space left|Errno 28|Disk quota exceeded", "The disk is full. Make room in this folder and in the temporary directory (or set TMPDIR to a folder with room)."),
    (r"No matching distribution|from versions: none\)", "No ready-made package for this machine, or no network. Supported are Linux on x86-64 and arm64 with glibc 2.28 or newer (Debian 10, Ubuntu 20.04, RHEL 8 and later). Check the network, and a proxy or mirror in `pip config list`."),
    (r"DO NOT MATCH THE HASHES", "A download does not match requirements.lock. If it was cut off, a second try helps; otherwise the package mirror serves another file."),
    (r"Retrying|ConnectionError|NewConnectionError|name resolution|Network is unreachable|timed out|ProxyError|SSLError|CERTIFICATE", "The package index could not be reached. Check the network, and a proxy or mirror in `pip config list`; pip keeps what it has downloaded, so a second try is shorter."),
    (r"Permission denied|Errno 13", "A file may not be written. Was this folder, or .venv, made by another user (root, say)?"),
]  # fmt: skip


class SetupError(Exception):
    """The set-up cannot go on. The message says why and what to do."""


# --- what the environment was made from ------------------------------------------------------------------------------


def wanted(python: str) -> dict[str, str]:
    """The stamp of an environment that fits the files as they are now, for the Python version `python` ("3.12")."""
    lock = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    parts = [settings.get("build-system"), settings.get("project"), settings.get("tool", {}).get("flit")]
    project = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    # The folder counts, since the scripts in .venv/bin name it.
    return {"python": python, "folder": str(VENV), "lock": lock, "project": project}


def existing() -> dict[str, str]:
    """The stamp of the environment that is there; empty when it is absent, incomplete or does not run."""
    try:
        stamp = json.loads(STAMP.read_text(encoding="utf-8"))
        check = "import sys; print('%d.%d' % sys.version_info[:2])"
        ran = subprocess.run([VENV / "bin" / "python", "-I", "-S", "-c", check], capture_output=True, text=True)
        return stamp if ran.stdout.strip() == stamp["python"] else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def reason(there: dict[str, str], want: dict[str, str]) -> str:
    """In words, why an environment is made anew."""
    if not VENV.exists():
        return "once, about two minutes"
    if not there:
        return "again: .venv is incomplete or does not run"
    names = {"python": "another Python", "folder": "this folder was moved", "lock": "requirements.lock has changed"}
    return "again: " + next(text for key, text in names.items() if there.get(key) != want[key])


# --- progress --------------------------------------------------------------------------------------------------------


class Progress:
    """Numbered steps with the time since the start, and one live line within a step."""

    def __init__(self, steps: int) -> None:
        self.steps, self.step, self.start = steps, 0, time.monotonic()
        self.live = sys.stdout.isatty()

    def begin(self, text: str) -> None:
        self.step += 1
        self._line(f"[{self.step}/{self.steps}] {self._elapsed()}  {text}")

    def note(self, text: str) -> None:
        self._line(f"      {self._elapsed()}  {text}")

    def flash(self, text: str) -> None:
        """Show a line that the next one replaces; nothing where the output is no terminal."""
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            print("\r\033[K" + f"      {self._elapsed()}  {text}"[:width], end="", flush=True)

    def _elapsed(self) -> str:
        return f"{time.monotonic() - self.start:4.0f} s"

    def _line(self, text: str) -> None:
        print(("\r\033[K" if self.live else "") + text, flush=True)


# --- steps -----------------------------------------------------------------------------------------------------------


def check_room(needed_mb: int) -> None:
    """Raise SetupError when the disk has less than `needed_mb` megabytes free."""
    for folder in (ROOT, Path(tempfile.gettempdir())):
        free = shutil.disk_usage(folder).free // 10**6
        if free < needed_mb:
            raise SetupError(
                f"{folder} has {free} MB free, and the set-up needs about {needed_mb} MB. Make room there"
                + (", or set TMPDIR to a folder with room" if folder != ROOT else "")
                + " (SETUP_FREE_MB=0 skips this check)."
            )


def run(command: list[str], progress: Progress, lock: int, total: int = 0) -> None:
    """Run a step's command; its whole output goes to the log, and what matters of it to the terminal.

    The child inherits the descriptor `lock`: should this process be killed, the next set-up waits until the child has ended too.

    Raises:
        SetupError: the command failed; with the end of its output and, where the cause is known, what to do.
    """
    tail: deque[str] = deque(maxlen=400)
    environment = {key: value for key, value in os.environ.items() if key not in ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT")}
    environment |= {"PIP_USER": "0", "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "LC_ALL": "C.UTF-8"}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, pass_fds=[lock], start_new_session=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", errors="replace",
    )  # fmt: skip
    try:
        with LOG.open("a", encoding="utf-8") as log:
            collected = 0
            for line in process.stdout:
                log.write(line)
                tail.append(line.rstrip())
                collected += line.startswith("Collecting ")
                report(line.strip(), collected, total, progress)
        if process.wait() != 0:
            raise SetupError(diagnosis(command, tail))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def report(line: str, collected: int, total: int, progress: Progress) -> None:
    """Tell of one line of pip's output what a reader wants to know."""
    if line.startswith("Collecting "):
        progress.flash(f"{collected} of {total}: {line.split()[1]}")
        if collected % 40 == 0 and not progress.live:
            progress.note(f"{collected} of {total} collected")
    elif line.startswith("Downloading "):
        progress.flash(f"{collected} of {total}: {line}")
    elif line.startswith("Installing collected packages") and total:
        progress.note("all collected; unpacking them (half a minute without a word)")
    elif line.startswith("WARNING: Retrying"):
        progress.note("the package index does not answer; pip tries again")


def diagnosis(command: list[str], tail: deque[str]) -> str:
    """The message about a command that failed, from its last lines of output."""
    text = "\n".join(tail)
    remedies = [remedy for pattern, remedy in REMEDIES if re.search(pattern, text)]
    errors = [line for line in tail if line.startswith("ERROR")][-3:] or list(tail)[-8:]
    lines = ["  " + line[:300] for line in errors]
    remedy = remedies[0] if remedies else "Run the command again; if it fails in the same way, the log tells more."
    what = " ".join(command[1:6])
    return "\n".join([f"This step failed: {what} …", *lines, remedy, f"The whole output: {LOG.relative_to(ROOT)}"])


def pin_of(package: str, lock_text: str) -> str:
    """The lines of the lock that pin one package, with their hashes."""
    match = re.search(rf"^{package}==(?:.*\\\n)*.*\n", lock_text, re.MULTILINE)
    if match is None:
        raise SetupError(f"requirements.lock does not pin {package}: run `git checkout requirements.lock`.")
    return match.group()


def build(progress: Progress, lock: int) -> None:
    """Make `.venv` and install all that the lock pins."""
    if VENV.is_symlink() or (VENV.exists() and not VENV.is_dir()):
        raise SetupError(".venv is a link or a file, and the set-up does not follow it: remove it.")
    progress.begin("virtual environment .venv")
    if VENV.exists():
        STAMP.unlink(missing_ok=True)  # first, so that a removal that is interrupted leaves no complete-looking .venv
        shutil.rmtree(VENV)
    run([sys.executable, "-m", "venv", str(VENV)], progress, lock)
    text = LOCK.read_text(encoding="utf-8")
    pip = [str(VENV / "bin" / "python"), "-I", "-m", "pip", "install", "--progress-bar", "off", "--no-compile", "--require-hashes"]
    progress.begin("pip, as pinned (it is twice as fast as an old one)")
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as only_pip:
        only_pip.write(pin_of("pip", text))
        only_pip.flush()
        run([*pip, "--no-deps", "-r", only_pip.name], progress, lock)
    total = len(PIN.findall(text))
    progress.begin(f"{total} packages from requirements.lock")
    # --no-deps: the lock is complete. Wheels only: nothing is ever compiled here.
    run([*pip, "--no-deps", "--only-binary", ":all:", "-r", str(LOCK)], progress, lock, total)
    progress.begin("compile to bytecode, on all cores")
    # In place of pip, which does it on one core, and compiles the packages' own tests too.
    compile_all = [str(VENV / "bin" / "python"), "-I", "-m", "compileall", "-q", "-j", "0", "-x", "/tests?/", str(VENV / "lib")]
    try:
        run(compile_all, progress, lock)
    except SetupError:
        progress.note("not all of it; the first start of a notebook takes longer")


def install_project(progress: Progress, lock: int) -> None:
    """Install the project itself, editable, and see that all its dependencies are there."""
    progress.begin("this project, editable")
    pip = [str(VENV / "bin" / "python"), "-I", "-m", "pip"]
    run([*pip, "install", "--progress-bar", "off", "--no-deps", "--no-build-isolation", "-e", str(ROOT)], progress, lock)
    run([*pip, "check"], progress, lock)


# --- all of it -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def alone() -> Iterator[int]:
    """Hold the lock of the set-up, waiting for another set-up to end. Gives the lock's descriptor."""
    STATE.mkdir(exist_ok=True)
    with (STATE / "setup.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another set-up is under way in this folder; waiting until it has ended.", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            print("This file system has no locks: do not run two set-ups at once.", flush=True)
        yield file.fileno()


def set_up(exactly: bool, needed_mb: int) -> None:
    """Bring `.venv` to what the files ask for, or raise SetupError."""
    this = f"{sys.version_info.major}.{sys.version_info.minor}"
    with alone() as lock:
        there = existing()
        # Somebody who has chosen a Python once need not name it again.
        want = wanted(this if exactly else there.get("python", this))
        if there == want:
            print(f"The environment is complete: .venv, Python {want['python']}", flush=True)
            return
        LOG.write_text("", encoding="utf-8")
        if there | {"project": want["project"]} == want:
            print("Set-up (the project's metadata have changed)", flush=True)
            progress = Progress(1)
            STAMP.unlink()
        else:
            print(f"Set-up ({reason(there, want)})", flush=True)
            progress = Progress(6)
            progress.begin(f"Python {sys.version.split()[0]}, {sys.executable}")
            check_room(needed_mb)
            want = wanted(this)
            build(progress, lock)
        install_project(progress, lock)
        STAMP.write_text(json.dumps(want), encoding="utf-8")
        progress.note("the environment is complete")


def main() -> None:
    parser = argparse.ArgumentParser(description="Make .venv from requirements.lock, once.")
    parser.add_argument("--exactly", action="store_true", help="with this Python, though .venv was made with another one")
    needed = os.environ.get("SETUP_FREE_MB", str(NEEDED_MB))
    parser.add_argument("--free-mb", type=int, default=needed, help="free space to ask for, in MB (default: %(default)s)")
    options = parser.parse_args()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        set_up(options.exactly, options.free_mb)
    except SetupError as error:
        sys.exit(f"\nThe set-up has stopped. {error}")
    except OSError as error:
        full = REMEDIES[0][1] if error.errno in (28, 122) else "Is this folder yours to write in?"
        sys.exit(f"\nThe set-up has stopped. {error}. {full}")
    except KeyboardInterrupt:
        print("\nInterrupted. The next run starts the set-up again.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
