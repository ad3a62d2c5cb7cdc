"""Pin all dependencies: those of pyproject.toml in requirements.lock, and those of each requirements.in in the lock beside it.

Exact releases with hashes, and no address.

    python tools/lock.py              keep the releases that are pinned, as far as pyproject.toml allows
    python tools/lock.py --upgrade    take the newest ones

The command is `uv pip compile`, from a throw-away environment: nobody else needs uv. Afterwards `make test` shows whether the lessons'
stored outputs still hold, and tests/test_environment.py which lines of environment.yml have to follow.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from environment import ROOT

#: What is pinned where. Each belongs to an environment of its own.
LOCKS = {
    "pyproject.toml": "requirements.lock",
    "compose/airflow/requirements.in": "compose/airflow/requirements.lock",
    "compose/service/requirements.in": "compose/service/requirements.lock",
    "tests/integration/requirements.in": "tests/integration/requirements.lock",
}
UV = "uv==0.13.9"
OPTIONS = [
    "--no-config",  # what a developer has configured must not get into the lock
    "--universal",
    "--python-version=3.11",
    "--fork-strategy=fewest",  # one release for all Pythons, so that outputs agree
    "--generate-hashes",
    "--no-emit-index-url",
    "--no-header",
    # An optional format check of jsonschema, which builds a parser for seconds in each process that imports it, pytest and JupyterLab
    # among them; lark is what it is built with.
    "--no-emit-package=rfc3987-syntax",
    "--no-emit-package=lark",
]


def lock_command(uv: Path, source: str, upgrade: bool) -> list[str]:
    """The command that writes the lock of a file of dependencies."""
    options = [*OPTIONS, *["--all-extras"] * source.endswith(".toml"), *["--upgrade"] * upgrade]
    return [str(uv), "pip", "compile", *options, source, "--output-file", LOCKS[source]]


def pins(text: str) -> set[str]:
    """The pinned releases of a lock, without their hashes."""
    return {
        line.rstrip(" \\") for line in text.splitlines() if "==" in line and not line.startswith((" ", "#"))
    }


def main() -> None:
    """Write all locks anew and show what has changed."""
    parser = argparse.ArgumentParser(description="Pin all dependencies (make lock).")
    parser.add_argument("--upgrade", action="store_true", help="take the newest releases that are allowed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder, "bin", "python")
        subprocess.run([python, "-I", "-m", "pip", "install", "--quiet", UV], check=True)
        for source in LOCKS:
            write_lock(python.with_name("uv"), source, options.upgrade)


def write_lock(uv: Path, source: str, upgrade: bool) -> None:
    lock = ROOT / LOCKS[source]
    before = lock.read_text(encoding="utf-8") if lock.exists() else ""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("UV_")}
    done = subprocess.run(lock_command(uv, source, upgrade), cwd=ROOT, env=clean, stdout=subprocess.DEVNULL)
    if done.returncode != 0:
        sys.exit(
            f"The dependencies of {source} could not be pinned; the lines above say why. {LOCKS[source]} is as it was."
        )
    old, new = pins(before), pins(lock.read_text(encoding="utf-8"))
    changes = [f"- {pin}" for pin in sorted(old - new)] + [f"+ {pin}" for pin in sorted(new - old)]
    print("\n".join([*changes, f"{LOCKS[source]}: {len(new)} pins, {len(new - old)} of them new"]))


if __name__ == "__main__":
    main()
