"""Run the tests. `make test` and `make test-notebook` call this after the set-up.

    python tools/run_tests.py                    everything
    python tools/run_tests.py --only plain       the tests of the code (or `lessons`: the notebooks)
    python tools/run_tests.py --notebook PATH    one notebook, as strictly as the lessons
    python tools/run_tests.py tests/stage -x     these tests: all else are arguments of pytest

The stages: plain tests; lessons in parallel; lessons that measure, one at a time; and finally a check that the run has left
nothing behind. A stage that fails does not stop the next ones. If in lessons that measure only cells have failed that ask whether
the machine is busy, these lessons are measured once more: a claim about times is refuted when it fails twice, since a machine that
is shared can be disturbed for some seconds, which no question before or after a run shows. Lessons run as a teacher's pytest
runs them, by nbval alone (only the sockets of its kernels differ: tools/socket_kernels.py), in a copy of the project that has no
`.git` and a space and an accent in its path. Home, temporary folder and Jupyter's folders are the run's own and are removed.
"""

import argparse
import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import nbformat
import psutil
from project import ROOT, STATE, activated
from traces import MARK, files_of, repository_state

PR_SET_CHILD_SUBREAPER = 36
PATIENCE = 10.0  # seconds for processes to end by themselves
COPY = "leçon à part"
PYTEST = [sys.executable, "-m", "pytest"]
CODE = [*PYTEST, "-p", "no:nbval"]  # importing nbval takes most of a second in each process
#: Separate stages: the final check, and tests that need an engine (`make test-integration`).
APART = ["--ignore=tests/after", "--ignore=tests/integration"]
#: Four even on two processors, since many tests and lessons wait; in the order of the files, in which those that take longest are
#: not the last.
SIDE_BY_SIDE = ["-n", "4", "--dist", "loadscope", "--no-loadscope-reorder"]
#: nbval waits so many seconds for a kernel that died.
STRICT = ["--nbval", "--nbval-cell-timeout", "300"]
#: Kernels side by side could take one another's ports.
SOCKETS = ["-p", "tools.socket_kernels"]
# Variables of a shell that would influence the tests, or slow them down (each kernel would compile `lib` again).
UNWANTED = """
    PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE PYTEST_ADDOPTS JUPYTER_PATH JUPYTER_CONFIG_PATH MPLBACKEND
    GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE MAKEFLAGS MFLAGS MAKELEVEL
    XDG_CONFIG_HOME XDG_CACHE_HOME XDG_DATA_HOME XDG_STATE_HOME XDG_RUNTIME_DIR XDG_CONFIG_DIRS XDG_DATA_DIRS
""".split()


class Stage(NamedTuple):
    """One command of the run, mostly a call of pytest. `apart`: in the copy of the project, whose `lib` it imports; `measures`:
    what fails is perhaps measured once more."""

    name: str
    command: list[str]
    apart: bool = False
    measures: bool = False


def measures(notebook: Path) -> bool:
    """Whether a lesson measures times, so that nothing else may run in parallel."""
    return bool(nbformat.read(notebook, 4).metadata.get("lesson", {}).get("measures"))


def stages(only: str | None, notebook: str | None, chosen: list[str]) -> list[Stage]:
    """Return the requested stages: tests of the code, lessons, one notebook, or the tests that pytest's arguments select.

    Raises:
        SystemExit: there is no such notebook.
    """
    last = Stage("nothing left behind", [*CODE, "tests/after"])
    if chosen:
        return [Stage("chosen tests", [*PYTEST, *chosen]), last]
    if notebook is not None:
        path = Path(notebook).resolve()
        if not path.is_file() or path.suffix != ".ipynb":
            example = "make test-notebook NB=notebooks/04_schema_versions.ipynb"
            sys.exit(f"No such notebook: {notebook!r}. Name one: {example}")
        compared = [sys.executable, "tools/lesson_rules.py", "--only", "compared", str(path)]
        run = Stage("outputs as stored", [*PYTEST, *STRICT, str(path)])
        return [Stage("every cell can be compared", compared), run, last]
    plain = [Stage("plain tests", [*CODE, "tests", *APART, *SIDE_BY_SIDE])]
    paths = sorted((ROOT / "notebooks").glob("*.ipynb"), reverse=True)  # the last ones take longest
    together = [f"notebooks/{path.name}" for path in paths if not measures(path)]
    alone = [f"notebooks/{path.name}" for path in paths if measures(path)]
    lessons = [
        Stage("lessons side by side", [*PYTEST, *STRICT, *SOCKETS, *SIDE_BY_SIDE, *together], True),
        Stage("lessons that measure, one at a time", [*PYTEST, *STRICT, *alone], True, True),
    ]
    return {"plain": plain, "lessons": lessons, None: plain + lessons}[only] + [last]


def run_environment(folder: Path) -> dict[str, str]:
    """The variables of all stages: the run's own home and temporary folder, so that what is written there can be seen."""
    own = {name: folder / name for name in ("home", "t", "jupyter")}
    for path in (folder, *own.values()):
        path.mkdir(exist_ok=True)
        path.chmod(0o711)  # a server that a test starts as an unprivileged user must be able to pass
    environ = {name: value for name, value in os.environ.items() if name not in UNWANTED}
    # JupyterLab asks for npm's prefix, and either may be a shim that writes settings: not in the home folder.
    asked = "JUPYTER_CONFIG_DIR JUPYTER_DATA_DIR JUPYTER_RUNTIME_DIR IPYTHONDIR npm_config_cache RUSTUP_HOME"
    no_proxy = f"127.0.0.1,localhost,{environ.get('NO_PROXY') or environ.get('no_proxy', '')}"
    return activated(environ) | {name: str(own["jupyter"] / name) for name in asked.split()} | {
        MARK: str(folder),
        "HOME": str(own["home"]),
        "TMPDIR": str(own["t"]),
        "HYPOTHESIS_STORAGE_DIRECTORY": str(STATE / "hypothesis"),  # not beside the lesson that uses it
        "MPLCONFIGDIR": str(STATE / "matplotlib"),  # its font list takes seconds to make: once is enough
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
    }  # fmt: skip


def run(stage: Stage, environ: dict[str, str]) -> bool:
    """Run a stage and return whether it passed. Orphans that end in the meantime are reaped."""
    place = ROOT
    if stage.apart:
        place = Path(environ[MARK]) / COPY
        for path in files_of(ROOT) if not place.exists() else ():
            target = place / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)
        environ = environ | {"PYTHONPATH": str(place)}
    process = subprocess.Popen(stage.command, cwd=place, env=environ)
    while True:
        pid, status = os.wait()
        if pid == process.pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode == 0


def disturbed(place: Path) -> list[str]:
    """The lessons that failed, if each failed cell asks whether the machine is busy; otherwise none."""
    cache = place / ".pytest_cache/v/cache/lastfailed"  # there is none if pytest itself failed
    names = json.loads(cache.read_text(encoding="utf-8")) if cache.exists() else {}
    failed = [name.split("::Cell ") for name in names]
    cells = {path: nbformat.read(place / path, 4).cells for path, *_ in failed}
    code = {path: [one.source for one in cells[path] if one.cell_type == "code"] for path in cells}
    asks = all(number and "busy" in code[path][int(*number)] for path, *number in failed)
    return sorted(code) if asks else []


def end_all() -> None:
    """End the remaining processes of a run: with SIGTERM, then with SIGKILL."""
    deadline = time.monotonic() + PATIENCE
    while left := psutil.Process().children(recursive=True):
        patient = time.monotonic() < deadline
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.terminate() if patient else process.kill()
        psutil.wait_procs(left, timeout=PATIENCE if patient else 1.0)


@contextlib.contextmanager
def run_folder() -> Iterator[Path]:
    """The run's folder, with the record of the state before it; afterwards it and all processes of the run are gone."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    if sys.platform == "linux":  # orphans become children of this process, so that none gets out of sight
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    folder = Path(tempfile.mkdtemp(prefix="lessons-"))
    try:
        record = {"pid": os.getpid(), "repository": repository_state(ROOT)}
        (folder / "before.json").write_text(json.dumps(record), encoding="utf-8")
        yield folder
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not cut this short
        end_all()
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Run the requested stages, and report how each ended."""
    parser = argparse.ArgumentParser(description="Run the tests (make test).")
    parser.add_argument("--only", choices=["plain", "lessons"], help="tests of the code, or the notebooks")
    parser.add_argument("--notebook", metavar="PATH", help="only this notebook, which may lie anywhere")
    options, chosen = parser.parse_known_args()
    todo = stages(options.only, options.notebook, chosen)
    results: list[tuple[str, bool, float]] = []
    with run_folder() as folder:
        environ = run_environment(folder)
        for number, stage in enumerate(todo, start=1):
            print(f"[{number}/{len(todo)}] {stage.name}", flush=True)
            start = time.monotonic()
            passed = run(stage, environ)
            if stage.measures and not passed and (lessons := disturbed(folder / COPY)):
                print("Each failed cell asks whether the machine is busy; once more:", *lessons, flush=True)
                passed = run(Stage(stage.name, [*PYTEST, *STRICT, *lessons], True), environ)
            results.append((stage.name, passed, time.monotonic() - start))
    for name, passed, seconds in results:
        print(f"{name:<36} {'passed' if passed else 'FAILED'} {seconds:6.0f} s")
    sys.exit(not all(passed for _, passed, _ in results))


if __name__ == "__main__":
    main()
