"""Make `.venv` from `requirements.lock`, once; `tools/setup.py` runs this with the Python that it chose. Standard library only.

The stamp `.venv/.complete` says from what the environment was made; it is written last. So a set-up that was interrupted has no stamp,
and the next run makes the environment anew. The same happens when the lock, the Python or the folder has changed. When only the
metadata of the project has changed, only the project itself is installed again.
"""

import argparse
import contextlib
import errno
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
import tomllib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from steps import DISK_FULL, Progress, SetupError, run

ROOT = Path(__file__).resolve().parents[1]
VENV, LOCK, STATE = ROOT / ".venv", ROOT / "requirements.lock", ROOT / ".state"
STAMP, LOG = VENV / ".complete", STATE / "setup.log"
PYTHON = str(VENV / "bin" / "python")
PIN = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*(?:\[.*])?==", re.MULTILINE)
# Measured: 1,450 MB in .venv, up to 600 MB of downloads in the temporary directory or in pip's cache.
NEEDED_MB = 2500

Run = Callable[..., None]
"""`steps.run` with all but the command and the number of packages filled in."""


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
        ran = subprocess.run([PYTHON, "-I", "-S", "-c", check], capture_output=True, text=True)
        return stamp if ran.stdout.strip() == stamp["python"] else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def reason(there: Mapping[str, str], want: Mapping[str, str]) -> str:
    """In words, why an environment is made."""
    if not VENV.exists():
        return "once, about a minute and a half"
    if not there:
        return "again: .venv is incomplete or does not run"
    texts = {
        "python": "another Python",
        "folder": "this folder was moved",
        "lock": "requirements.lock has changed",
    }
    return "again: " + next(text for key, text in texts.items() if there.get(key) != want[key])


def activated(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of a process that is to use this Python's environment (`.venv`, or conda's), its scripts and its kernel."""
    path = os.pathsep.join(filter(None, [str(Path(sys.executable).parent), environ.get("PATH")]))
    own = {"VIRTUAL_ENV": sys.prefix} if sys.prefix != sys.base_prefix else {}
    return {**environ, **own, "PATH": path, "JUPYTER_PREFER_ENV_PATH": "1"}


def check_room(needed_mb: int) -> None:
    """Raise SetupError when this folder or the temporary one has less than `needed_mb` megabytes free."""
    for folder in (ROOT, Path(tempfile.gettempdir())):
        free_mb = shutil.disk_usage(folder).free // 10**6
        if free_mb < needed_mb:
            raise SetupError(
                f"{folder} has {free_mb} MB free, and the set-up needs about {needed_mb} MB. {DISK_FULL} "
                "(SETUP_FREE_MB=0 skips this check.)"
            )


def pin_of(package: str) -> str:
    """The lines of the lock that pin one package, with their hashes."""
    found = re.search(rf"^{package}==(?:.*\\\n)*.*\n", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise SetupError(f"requirements.lock does not pin {package}. Run `git checkout requirements.lock`.")
    return found.group()


def make_venv(progress: Progress, call: Run) -> None:
    """Make an empty `.venv` in place of the one that may be there."""
    if VENV.is_symlink() or (VENV.exists() and not VENV.is_dir()):
        raise SetupError(
            ".venv is a link or a file, and the set-up removes nothing that it has not made: remove it."
        )
    progress.begin("virtual environment .venv")
    if VENV.exists():
        STAMP.unlink(
            missing_ok=True
        )  # first: a removal that is interrupted must leave no .venv that looks complete
        shutil.rmtree(VENV)
    call([sys.executable, "-m", "venv", str(VENV)])


def install_packages(progress: Progress, call: Run) -> None:
    """Install all that the lock pins, and compile it."""
    # --no-deps: the lock is complete. Wheels only: nothing is built from source here.
    pip = [PYTHON, "-I", "-m", "pip", "install", "--progress-bar", "off", "--no-compile", "--no-deps"]
    pip += ["--require-hashes", "--only-binary", ":all:"]
    progress.begin("pip, as pinned (twice as fast as the one that comes with Python 3.11)")
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as only_pip:
        only_pip.write(pin_of("pip"))
        only_pip.flush()
        call([*pip, "-r", only_pip.name])
    total = len(PIN.findall(LOCK.read_text(encoding="utf-8")))
    progress.begin(f"{total} packages from requirements.lock")
    call([*pip, "-r", str(LOCK)], total=total)
    progress.begin("compile them to bytecode, on all cores")
    try:  # pip would do it on one core, and compile the packages' own tests too
        call([PYTHON, "-I", "-m", "compileall", "-q", "-j", "0", "-x", "/tests?/", str(VENV / "lib")])
    except SetupError:
        progress.note("not all could be compiled; the first start of a notebook takes longer")


def install_project(progress: Progress, call: Run) -> None:
    """Install the project itself, editable, and see that all its dependencies are there."""
    progress.begin("this project, editable")
    pip = [PYTHON, "-I", "-m", "pip"]
    call([*pip, "install", "--progress-bar", "off", "--no-deps", "--no-build-isolation", "-e", str(ROOT)])
    call([*pip, "check"])


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
    with alone() as held:
        there = existing()
        # Somebody who has named a Python once need not name it again.
        want = wanted(this if exactly else there.get("python", this))
        if there == want:
            print(f"The environment is complete: .venv, Python {want['python']}", flush=True)
            return
        LOG.write_text("", encoding="utf-8")
        want["python"] = this
        only_project = {**there, "project": want["project"]} == want
        progress = Progress(1 if only_project else 6)
        call = partial(run, folder=ROOT, log=LOG, progress=progress, held=held)
        if only_project:
            print("Set-up (the project's metadata have changed)", flush=True)
            STAMP.unlink()
        else:
            print(f"Set-up ({reason(there, want)})", flush=True)
            progress.begin(f"Python {sys.version.split()[0]}, {sys.executable}")
            check_room(needed_mb)
            make_venv(progress, call)
            install_packages(progress, call)
        install_project(progress, call)
        STAMP.write_text(json.dumps(want), encoding="utf-8")
        progress.note("the environment is complete")


def main() -> None:
    """Set up, or say on one screen why not."""
    parser = argparse.ArgumentParser(description="Make .venv from requirements.lock, once.")
    parser.add_argument(
        "--exactly", action="store_true", help="with this Python, though .venv was made with another"
    )
    needed = os.environ.get("SETUP_FREE_MB", str(NEEDED_MB))
    parser.add_argument(
        "--free-mb", type=int, default=needed, help="free disk space to ask for (%(default)s MB)"
    )
    options = parser.parse_args()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        set_up(options.exactly, options.free_mb)
    except SetupError as error:
        sys.exit(f"\nThe set-up has stopped. {error}")
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        sys.exit(
            f"\nThe set-up has stopped. {error}. {DISK_FULL if full else 'Is this folder yours to write in?'}"
        )
    except KeyboardInterrupt:
        print("\nInterrupted. The next run starts the set-up again.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
