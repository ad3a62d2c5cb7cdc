"""Bring `.venv` up to date. `make` runs this when a stamp in `.venv` is missing, or older than what the environment is made from.

    python3 tools/setup.py lab            what lessons need: requirements.lock, stamp `.venv/.lab`
    python3 tools/setup.py dev            also what tests, pages and benchmarks need: requirements-dev.lock, stamp `.venv/.dev`
    python3 tools/setup.py lab --newer    even with a Python that is newer than the tested ones

The stamps are written last. An environment without a stamp, or with the mark `.changing`, was interrupted, so it is rebuilt. It
is also rebuilt after it was moved, because its scripts contain their folder's path. If packages could not be added (no
network), it stays.
Exit status 3 means that this Python does not fit, 4 that it is too new: `make` tries others.
An old Python must be able to read this file and answer, so it uses only syntax that Python 3.6 knows.
"""

import fcntl
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

OLDEST, NEWEST = (3, 11), (3, 14)  # the versions that the tests run on
ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = str(VENV / "bin" / "python")
LOCKS = {"lab": "requirements.lock", "dev": "requirements-dev.lock"}
STAMPS = {part: VENV / ("." + part) for part in LOCKS}
CHANGING = VENV / ".changing"  # while packages are installed
ROOM_MB = 2000  # measured: 1,500 MB, and what Python compiles later
PIP = [PYTHON, "-m", "pip", "install", "--disable-pip-version-check"]
UV = [str(VENV / "bin" / "uv"), "pip", "install", "--python", PYTHON]
PINNED = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--requirement"]
PROJECT = ["--no-deps", "--no-build-isolation", "--editable", "."]
OFFLINE = "Retrying|Connection|name resolution|unreachable|timed out|Proxy|SSL|CERTIFICATE"


def check_python(newer: bool) -> None:
    """End with status 3 when this Python does not fit; with status 4 when it is too new, unless `newer` allows that."""
    name = "{}, Python {}.{}.{},".format(sys.executable, *sys.version_info)
    if sys.version_info[:2] < OLDEST:
        print(name, "is too old.")
        sys.exit(3)
    if importlib.util.find_spec("ensurepip") is None:
        print(name, "lacks venv. Debian, Ubuntu: sudo apt install python{}.{}-venv".format(*sys.version_info))
        sys.exit(3)
    if sys.version_info[:2] > NEWEST and not newer:
        print(name, "is newer than the tested ones: it is tried if no other fits, and may lack a package.")
        sys.exit(4)


def whole() -> bool:
    """Whether the existing environment is complete, was created in this folder, and has this Python's version."""
    finished = any(map(Path.exists, STAMPS.values())) and not CHANGING.exists()
    complete = finished and os.access(PYTHON, os.X_OK)
    config = (VENV / "pyvenv.cfg").read_text() if complete else ""
    return f" {VENV}\n" in config and "version = {}.{}.".format(*sys.version_info) in config


def make_venv() -> None:
    """Create an empty environment, replacing an existing one."""
    free_mb = shutil.disk_usage(str(ROOT)).free // 10**6
    if free_mb < ROOM_MB:
        sys.exit(f"The disk is full: {ROOT} has {free_mb} MB free, and the set-up needs {ROOM_MB} MB.")
    if VENV.is_symlink():
        sys.exit(".venv is a link. The set-up removes only what it has made: remove the link yourself.")
    if subprocess.call([sys.executable, "-m", "venv", "--clear", str(VENV)]) != 0:
        sys.exit("Python could not make the environment; the lines above say why.")


def install_uv() -> bool:
    """Install the pinned uv with pip. Returns False if there is no wheel of it for this machine."""
    done = subprocess.run([*PIP, *PINNED, "tools/requirements.lock"], capture_output=True, text=True)
    report = done.stdout + done.stderr
    if done.returncode and re.search(OFFLINE, report):
        sys.exit(f"{report}\nNo package index answers. Check the network, or the mirror: pip config list")
    return done.returncode == 0


def install(part: str) -> None:
    """Install the locked packages, then the project itself, editable: with uv, or with pip if uv is not possible."""
    for command in [UV, PIP] if install_uv() else [PIP]:
        packages, project = [*command, *PINNED, LOCKS[part]], [*command, *PROJECT]
        if subprocess.call(packages) == 0 and subprocess.call(project) == 0:
            return
        print(f"{' '.join(command)} failed; the lines above say why.", flush=True)
    sys.exit("The set-up has stopped. Fix the cause, then run the command again; no download is lost.")


def main(part: str, *options: str) -> None:
    check_python("--newer" in options)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends this without a traceback
    os.chdir(str(ROOT))
    Path(".state").mkdir(exist_ok=True)
    with open(".state/setup.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # waits while another set-up runs
        print("Set-up of .venv: half a minute, or a few minutes when packages are downloaded.", flush=True)
        if not whole():
            make_venv()
        CHANGING.touch()
        try:
            install(part)
        finally:  # not when this is killed
            CHANGING.unlink()
        for stamp in filter(Path.exists, STAMPS.values()):
            stamp.unlink()
        STAMPS["lab"].touch()
        STAMPS[part].touch()


if __name__ == "__main__":
    main(*sys.argv[1:])
