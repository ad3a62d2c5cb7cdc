"""Set up the project's environment: `.venv` in this folder, once.

    python3 tools/setup.py                 with this Python, or the best other one that is found when this one does not fit
    python3.12 tools/setup.py --exactly    with this Python and no other

This file only chooses the Python; `tools/environment.py` does the rest. It must be readable by every Python that somebody may still
call `python3`, down to 2.7, so that an old one gets an answer and no syntax error: no f-strings, ASCII only.
"""

import argparse
import json
import os
import subprocess
import sys

OLDEST, NEWEST = (3, 11), (3, 13)
NAMES = ["python3", "python3.13", "python3.12", "python3.11", "python"]
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROBE = """
import json, platform, sys, sysconfig
missing = []
for name in ("venv", "ensurepip"):
    try:
        __import__(name)
    except ImportError:
        missing.append(name)
print(json.dumps({
    "base": getattr(sys, "_base_executable", None) or sys.executable,
    "version": list(sys.version_info[:3]),
    "kind": platform.python_implementation() + (" (free-threaded)" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""),
    "missing": missing,
}))
"""


def probe(command):
    """What the Python called `command` is: a dict as PROBE prints it, or None when it does not run."""
    try:
        # -E: without the PYTHON* variables of this shell (a PYTHONHOME of another version, say)
        output = subprocess.check_output(
            [command, "-E", "-s", "-c", PROBE], stderr=subprocess.DEVNULL, cwd=ROOT
        )
        return json.loads(output.decode("utf-8"))
    except (OSError, subprocess.CalledProcessError, ValueError):
        return None


def objection(found):
    """Why a Python does not fit, with the remedy, or None when it does."""
    if found is None:
        return "does not run"
    version = tuple(found["version"][:2])
    if version < OLDEST:
        return "is too old"
    if version > NEWEST:
        return "is too new: the pinned packages were not built for it"
    if found["kind"] != "CPython":
        return "is not the standard CPython: the pinned packages were not built for it"
    if found["missing"]:
        package = "python{}.{}-venv".format(*version)
        missing = " and ".join(found["missing"])
        return "lacks the module {} (Debian, Ubuntu: sudo apt install {})".format(missing, package)
    return None


def candidates(exactly):
    """The Pythons to try, best first: the one that `.venv` was made with, this one, then those on PATH."""
    if exactly:
        return [sys.executable]
    made_with = os.path.join(ROOT, ".venv", "bin", "python")
    return [path for path in [made_with, sys.executable] if os.path.exists(path)] + NAMES


def describe(command, found):
    """One line about a Python that does not fit."""
    version = ".".join(str(number) for number in found["version"]) if found else ""
    return "  {:<12} {:<8} {}".format(command, version, objection(found))


def choose(exactly):
    """The first Python that fits (None when none does), and a line about each that was tried before it."""
    seen, tried = set(), []
    for command in candidates(exactly):
        found = probe(command)
        if found is None and command in NAMES:
            continue  # no such command, or a version manager's shim for a version that is not there
        if objection(found) is None:
            return found, tried
        known = (found["base"], tuple(found["version"])) if found else command
        if known not in seen:
            seen.add(known)
            tried.append(describe(command, found))
    return None, tried


def refuse(tried, exactly):
    """Say what is missing and what to do, and end with status 1."""
    wanted = "Python 3.11, 3.12 or 3.13 with the modules venv and ensurepip"
    print("This project needs {}. Tried:".format(wanted))
    print("\n".join(tried))
    print("What to do, one of these:")
    if exactly:
        print("  - leave PYTHON=... away, and a suitable Python on PATH is taken;")
    print(
        "  - install one: sudo apt install python3 python3-venv (Debian, Ubuntu), sudo dnf install python3.12 (Fedora, RHEL);"
    )
    print("  - name one that is not on PATH: make PYTHON=/path/to/python3.12 lab")
    sys.exit(1)


def main():
    """Choose a Python, then let it make the environment."""
    parser = argparse.ArgumentParser(description="Set up the environment of the project in .venv, once.")
    parser.add_argument(
        "--exactly", action="store_true", help="use this Python, and no other that may fit better"
    )
    options, rest = parser.parse_known_args()
    found, tried = choose(options.exactly)
    if found is None:
        refuse(tried, options.exactly)
    if tried and not options.exactly:
        print("\n".join(tried))
    script = os.path.join(ROOT, "tools", "environment.py")
    sys.stdout.flush()
    os.execv(found["base"], [found["base"], "-E", "-s", script] + ["--exactly"] * options.exactly + rest)


if __name__ == "__main__":
    main()
