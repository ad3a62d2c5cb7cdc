"""What an import of `lib` and of its rooms loads, and what it must not: seconds differ, `sys.modules` does not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: Packages that take long to import. A module may load one only if it is named with it below.
HEAVY = {
    "IPython", "aiohttp", "celery", "docker", "matplotlib", "msgspec", "numpy", "pandas", "prometheus_client",
    "psycopg", "pyarrow", "pydantic", "redis", "scipy", "simpy", "sqlalchemy", "starlette", "tqdm", "uvicorn",
}  # fmt: skip
#: Modules that lessons and commands import, and that load none of them.
LIGHT = """
lib lib.benchmark lib.doctor lib.stage.children lib.stage.containers lib.stage.servers lib.stage.router lib.stage.traffic
lib.versioning lib.versioning.__main__ lib.versioning.compatibility lib.versioning.migrate lib.versioning.sql
lib.scaling lib.scaling.workloads
lib.deployment lib.deployment.__main__ lib.deployment.gates lib.deployment.platform lib.deployment.platforms.local
lib.deployment.rollout lib.deployment.strategies
""".split()
#: The others, and what these can't do without.
NEEDED: dict[str, set[str]] = {module: set() for module in LIGHT} | {
    "lib.plots": {"IPython", "matplotlib", "numpy"},
    "lib.stage.scraping": {"numpy", "pandas", "prometheus_client", "pyarrow"},
    "lib.versioning.files": {"msgspec"},
    "lib.versioning.tables": {"numpy", "pyarrow"},
    "lib.scaling.costs": {"numpy"},
    "lib.scaling.fitting": {"numpy"},
    "lib.scaling.laws": {"numpy"},
    "lib.scaling.partitions": {"msgspec"},
    "lib.scaling.simulation": {"numpy", "simpy"},
    "lib.scaling.workers": {"celery", "redis"},
}
CODE = """
import importlib, json, os, sys
heavy, found = set(sys.argv[1].split()), {}
for name in sys.argv[2:]:
    reading, writing = os.pipe()
    if not os.fork():  # a process of its own for each, without the start of Python
        importlib.import_module(name)
        os.write(writing, json.dumps(sorted(heavy & set(sys.modules))).encode())
        os._exit(0)
    os.close(writing)
    with open(reading) as answer:
        found[name] = json.loads(answer.read() or "null")
    os.wait()
print(json.dumps(found))
"""


def test_an_import_loads_just_the_heavy_packages_that_it_needs() -> None:
    """A module that can't be imported has loaded None, and its traceback is shown."""
    command = [sys.executable, "-c", CODE, " ".join(HEAVY), *NEEDED]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {name: sorted(needed) for name, needed in NEEDED.items()}, done.stderr
