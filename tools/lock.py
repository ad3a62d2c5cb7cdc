"""Pin all dependencies as exact releases with hashes, and no address (make lock).

    python tools/lock.py              keep the releases that are pinned, as far as pyproject.toml allows
    python tools/lock.py --upgrade    take the newest ones (as all options: of `uv pip compile`)

`pip install --require-hashes -r requirements.lock` installs such a lock. Afterwards `make test` shows whether the lessons' stored
outputs still hold, and tests/test_environment.py which lines of environment.yml must be updated.
"""

import os
import subprocess
import sys
from pathlib import Path

from project import ROOT

#: What `uv pip compile` reads for each lock. The first is for learning; the second has all of it, at the same releases.
LOCKS = {
    "requirements.lock": ["pyproject.toml", "--extra=lab"],
    "requirements-dev.lock": ["pyproject.toml", "--all-extras", "--constraints=requirements.lock"],
    "tools/requirements.lock": ["tools/requirements.in"],
    "compose/airflow/requirements.lock": ["compose/airflow/requirements.in"],
    "compose/service/requirements.lock": ["compose/service/requirements.in"],
    "tests/integration/requirements.lock": ["tests/integration/requirements.in"],
}
OPTIONS = [
    "--no-config",  # a developer's configuration must not get into the lock
    "--universal",
    "--python-version=3.11",
    "--fork-strategy=fewest",  # one release for all Pythons, so that outputs agree
    *"--generate-hashes --no-emit-index-url --no-header --quiet".split(),
]


def main() -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("UV_")}
    for name, sources in LOCKS.items():
        uv = [Path(sys.executable).with_name("uv"), "pip", "compile", *OPTIONS, *sys.argv[1:]]
        done = subprocess.run(
            [*uv, *sources, "--output-file", name], cwd=ROOT, env=clean, stdout=subprocess.DEVNULL
        )
        if done.returncode != 0:
            sys.exit(f"{name} could not be written; the lines above say why. It was not changed.")
    print("The locks are written: git diff shows what has changed.")


if __name__ == "__main__":
    main()
