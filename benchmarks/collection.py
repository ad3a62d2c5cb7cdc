"""How fast the collection itself is: imports, the start of a kernel, set-up with pip and with uv, each lesson, all tests.

    python benchmarks/run.py --only collection

Takes about twenty minutes, most of it for the tests, and so is no part of `make bench`. The set-up is made anew in a
temporary folder, with whatever pip and uv have in their caches. "A record" is one start; a goal is a limit in seconds, and the speed-up is
how many times it fits.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from jupyter_client.manager import KernelManager

from benchmarks.rows import Row, on_all_cores
from lib.benchmark import Timing, environment

ROOT: Final = Path(__file__).resolve().parents[1]
#: What is imported, and within how many seconds it should be there: the rooms by the module of each that most lessons import.
IMPORTS: Final = {
    "lib": 0.05,
    "lib.versioning": 0.5,
    "lib.versioning.tables": 0.5,
    "lib.scaling.workers": 0.5,
    "lib.scaling.costs": 0.5,
    "lib.deployment.platforms.local": 0.5,
    "lib.deployment.__main__": 0.5,
    "lib.plots": None,
}


def _run(command: Sequence[str | Path], **environ: str) -> float:
    """Elapsed seconds of a command; its output is dropped unless it fails."""
    start = time.perf_counter()
    done = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        env=os.environ | environ,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        told = done.stdout + done.stderr
        failed = "\n".join(line for line in told.splitlines() if line.startswith(("FAILED", "ERROR")))
        raise RuntimeError(f"{command} ended with {done.returncode}: {failed}\n{told[-2000:]}")
    return time.perf_counter() - start


def _row(case: str, name: str, seconds: Callable[[], float], rounds: int, limit: float | None = None) -> Row:
    """One thing measured some times."""
    taken = tuple(seconds() for _ in range(rounds))
    timing = Timing(name, taken * 2 if rounds == 1 else taken, (0.0,))
    return Row("collection", case, 1, name, timing.median, timing.spread, 0.0, rounds,
               limit / timing.median if limit else 0.0, None, 1.0 if limit else None, environment())  # fmt: skip


def imported(module: str) -> float:
    """Seconds that an import takes in a process of its own, without the start of Python."""
    code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return float(done.stdout)


def kernel() -> float:
    """Seconds until a new kernel answers."""
    manager, start = KernelManager(kernel_name="python3"), time.perf_counter()
    manager.start_kernel(cwd=str(ROOT / "notebooks"), stderr=subprocess.DEVNULL)
    client = manager.client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=60)
        return time.perf_counter() - start
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def set_ups() -> Iterator[Row]:
    """`make setup` in a fresh clone; and its largest part alone, all that is pinned into a new environment, by pip and by uv."""
    pinned = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", ROOT / "requirements.lock"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _run(["git", "clone", "--quiet", ROOT, folder / "clone"])
        yield _row("set-up", "make setup", lambda: _run(["make", "-C", folder / "clone", "setup"]), 1, 120.0)
        shutil.rmtree(folder / "clone")
        tools = {"pip": [sys.executable, "-m", "pip"]}
        if uv := shutil.which("uv"):
            tools["uv"] = [uv, "pip"]
        for tool, command in tools.items():
            python = folder / tool / "bin" / "python"
            _run([sys.executable, "-m", "venv", "--without-pip", folder / tool])
            install = (
                [*command, "install", "--python", python, *pinned]
                if tool == "uv"  # which leaves the compilation to the first import
                else [*command, "--python", python, "install", "--no-compile", *pinned]
            )
            yield _row("set-up", f"the packages alone, by {tool}", lambda install=install: _run(install), 1)


def rows(quick: bool = False) -> Iterator[Row]:
    """All; a quick run measures imports and kernels only."""
    with on_all_cores():
        rounds = 3 if quick else 7
        for module, limit in IMPORTS.items():
            yield _row("import", module, lambda module=module: imported(module), rounds, limit)
        yield _row("kernel", "start until it answers", kernel, rounds)
        if quick:
            return
        yield from set_ups()
        runner = ROOT / "tools" / "run_tests.py"
        for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
            yield _row(
                "lesson, strictly",
                path.stem,
                lambda path=path: _run([sys.executable, runner, "--notebook", path]),
                1,
            )
        yield _row("tests", "make test", lambda: _run([sys.executable, runner]), 1, 1200.0)
