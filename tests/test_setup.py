"""The set-up: once, again when something has changed, whole after an interruption, and clear about what is missing.

Where it can, a test runs the real scripts on a small project: real interpreters, a real pip, packages from a folder.
"""

from __future__ import annotations

import ast
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import setup
import steps
from small_project import SmallProject, make_small_project
from traces import processes, processes_of_run

ROOT = Path(__file__).resolve().parents[1]
NO_ROOM = ("--free-mb", "1000000000")  # makes a set-up say why it would begin, and stop there
MAKE = shutil.which("make")


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> SmallProject:
    """A small project in which nothing is set up."""
    return make_small_project(tmp_path_factory.mktemp("fresh"))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[SmallProject, list[str]]:
    """A small project set up in the hard way: interrupted, then by two set-ups at once. With what the two printed."""
    project = make_small_project(tmp_path_factory.mktemp("built"))
    first = project.start()
    printed = ""
    while "[2/6]" not in printed:
        line = first.stdout.readline()
        assert line, f"the set-up ended early: {printed}"
        printed += line
    first.send_signal(signal.SIGINT)
    rest, _ = first.communicate(timeout=60)
    assert (first.returncode, "Interrupted. The next run starts the set-up again." in rest) == (130, True), (
        rest
    )
    assert not (project.folder / ".venv" / ".complete").exists()
    both = [project.start(), project.start()]
    outputs = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    return project, outputs


def answer(path: Path, version: list[int], missing: list[str] | None = None, kind: str = "CPython") -> Path:
    """A stand-in for a Python: a script that answers `setup.PROBE` as that Python would."""
    found = {"base": str(path), "version": version, "kind": kind, "missing": missing or []}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{json.dumps(found)}'\n", encoding="utf-8")
    path.chmod(0o755)
    return path


# --- a set-up, interrupted and doubled ---


def test_two_set_ups_at_once_make_one_environment(built: tuple[SmallProject, list[str]]) -> None:
    project, outputs = built
    waiter, maker = sorted(outputs, key=lambda text: "[6/6]" in text)
    assert re.search(
        r"\[6/6\] +\d+ s  this project, editable\n +\d+ s  the environment is complete\n$", maker
    )
    assert waiter.splitlines()[0] == "Another set-up is under way in this folder; waiting until it has ended."
    assert waiter.splitlines()[1].startswith("The environment is complete: .venv, Python 3.")
    python = project.folder / ".venv" / "bin" / "python"
    ran = subprocess.run(
        [python, "-c", "import tiny; print(tiny.__cached__)"], capture_output=True, text=True
    )
    assert Path(ran.stdout.strip()).exists(), f"not compiled: {ran.stdout} {ran.stderr}"


def test_steps_are_numbered_and_timed(built: tuple[SmallProject, list[str]]) -> None:
    text = "".join(built[1])
    assert [int(n) for n in re.findall(r"^\[(\d)/6\] +\d+ s  \S", text, re.MULTILINE)] == [1, 2, 3, 4, 5, 6]
    assert "2 packages from requirements.lock" in text


def test_a_complete_environment_is_left_alone(built: tuple[SmallProject, list[str]]) -> None:
    project, _ = built
    before = (project.folder / ".venv" / "pyvenv.cfg").stat().st_mtime_ns
    status, output = project.set_up(*NO_ROOM)
    assert (status, output.count("\n")) == (0, 1), output
    assert output.startswith("The environment is complete: .venv, Python 3.")
    assert (project.folder / ".venv" / "pyvenv.cfg").stat().st_mtime_ns == before


def test_make_sets_up_once_from_a_folder_with_a_space(built: tuple[SmallProject, list[str]]) -> None:
    project, _ = built
    run = subprocess.run(
        [MAKE, "setup"], cwd=project.folder, env=project.environ(), capture_output=True, text=True
    )
    assert (run.returncode, run.stdout[:27]) == (0, "The environment is complete"), run.stdout + run.stderr


@pytest.mark.parametrize(
    ("name", "old", "new", "reason"),
    [
        ("requirements.lock", "tiny==1.0", "tiny==1.0  # changed", "requirements.lock has changed"),
        (".venv/.complete", '"python": "3.', '"python": "2.', ".venv is incomplete or does not run"),
        (".venv/.complete", "{", "", ".venv is incomplete or does not run"),
        (".venv/.complete", "small/.venv", "elsewhere/.venv", "this folder was moved"),
    ],
    ids=["lock", "python", "broken", "moved"],
)
def test_a_change_makes_it_begin_again(
    built: tuple[SmallProject, list[str]], name: str, old: str, new: str, reason: str
) -> None:
    project, _ = built
    path = project.folder / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    try:
        status, output = project.set_up(*NO_ROOM)
    finally:
        path.write_text(text, encoding="utf-8")
    assert (status, f"Set-up (again: {reason})" in output) == (1, True), output
    assert project.set_up(*NO_ROOM)[0] == 0


def test_a_python_that_was_removed_makes_it_begin_again(built: tuple[SmallProject, list[str]]) -> None:
    project, _ = built
    link = project.folder / ".venv" / "bin" / "python"
    there = link.readlink()
    link.unlink()
    link.symlink_to("/nowhere/python3")
    try:
        status, output = project.set_up(*NO_ROOM)
    finally:
        link.unlink()
        link.symlink_to(there)
    assert (status, ".venv is incomplete or does not run" in output) == (1, True), output


def test_new_settings_of_tools_change_nothing_and_new_metadata_only_the_project(
    built: tuple[SmallProject, list[str]],
) -> None:
    project, _ = built
    path = project.folder / "pyproject.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text + "\n[tool.ruff]\nline-length = 110\n", encoding="utf-8")
    assert project.set_up(*NO_ROOM)[1].startswith("The environment is complete")
    path.write_text(text.replace("[project]", '[project]\ndescription = "new"'), encoding="utf-8")
    status, output = project.set_up(*NO_ROOM)
    assert status == 0
    assert re.findall(r"\[\d/\d\]", output) == ["[1/1]"], output


def test_a_link_in_place_of_venv_is_not_followed(fresh: SmallProject, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    link = fresh.folder / ".venv"
    link.symlink_to(tmp_path / "precious")
    try:
        status, output = fresh.set_up("--free-mb", "0")
    finally:
        link.unlink()
    assert (status, ".venv is a link or a file" in output) == (1, True), output
    assert (tmp_path / "precious").is_dir()


# --- what may be missing ---


def test_a_full_disk_is_noticed_beforehand(fresh: SmallProject) -> None:
    status, output = fresh.set_up(SETUP_FREE_MB="999000000")
    assert status == 1
    assert re.search(
        r"has \d+ MB free, and the set-up needs about 999000000 MB\. The disk is full\.", output
    ), output
    assert not (fresh.folder / ".venv").exists()


def run_step(command: list[str], folder: Path, total: int = 0) -> str:
    """Run a step of the set-up that fails, and return its message."""
    with (folder / "held").open("w") as held, pytest.raises(steps.SetupError) as caught:
        steps.run(command, folder, folder / "setup.log", steps.Progress(1), held.fileno(), total)
    return str(caught.value)


def test_an_unreachable_index_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A real pip that asks a port on which nobody listens."""
    monkeypatch.setenv("PIP_RETRIES", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    install = [
        "install",
        "--target",
        str(tmp_path / "nothing"),
        "--index-url",
        "http://127.0.0.1:9/simple",
        "tiny==1.0",
    ]
    message = run_step([sys.executable, "-I", "-m", "pip", *install], tmp_path, total=1)
    assert "ERROR: No matching distribution found for tiny==1.0" in message
    assert "The package index could not be reached. Check the network" in message
    assert "the package index does not answer; pip tries again" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        (
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
            "The disk is full",
        ),
        (
            "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.",
            "not the file that requirements",
        ),
        (
            "ERROR: No matching distribution found for pyarrow==26.0.1",
            "Supported are Linux on x86-64 and arm64",
        ),
        (
            "ERROR: Could not install packages due to an OSError: [Errno 13] Permission denied",
            "made by another user",
        ),
        ("something nobody has seen", "the log tells more"),
    ],
    ids=["disk", "hash", "platform", "permission", "unknown"],
)
def test_what_pip_says_is_followed_by_what_to_do(tmp_path: Path, line: str, remedy: str) -> None:
    command = [sys.executable, "-c", f"print('progress'); print({line!r}); raise SystemExit(2)"]
    message = run_step(command, tmp_path)
    assert line in message
    assert remedy in message
    assert (tmp_path / "setup.log").read_text(encoding="utf-8") == f"progress\n{line}\n"


def test_a_full_disk_is_the_cause_whatever_pip_takes_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen with pip 26.3 on a full disk, whose own hint is the network."""
    said = "error: incomplete-download\\nnote: This is an issue with network connectivity, not pip."
    command = [sys.executable, "-c", f"print('{said}'); raise SystemExit(1)"]
    assert "The package index could not be reached" in run_step(command, tmp_path)
    monkeypatch.setattr(steps, "ROOM_TO_WORK", 10**18)
    message = run_step(command, tmp_path)
    assert "The disk is full. Make room" in message
    assert "could not be reached" not in message


def test_a_command_that_is_interrupted_leaves_no_process(tmp_path: Path) -> None:
    command = ["sh", "-c", "sleep 60 & sleep 60"]
    code = f"""
import os, sys, signal, pathlib
sys.path.insert(0, {str(ROOT / "tools")!r})
import steps
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
folder = pathlib.Path({str(tmp_path)!r})
steps.run({command!r}, folder, folder / "log", steps.Progress(1), os.open(folder, os.O_RDONLY))
"""
    owner = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while len(started := processes_of_run(owner.pid, "", os.getpid())) < 4:  # itself, the shell, two sleepers
        assert time.monotonic() < deadline, started
        time.sleep(0.05)
    owner.terminate()
    assert owner.wait(timeout=60) == 143
    assert {process.pid for process in started} & set(processes()) == set()


# --- which Python ---


def test_setup_can_be_read_by_an_old_python() -> None:
    source = (ROOT / "tools" / "setup.py").read_bytes()
    tree = ast.parse(source.decode("ascii"))
    nodes = list(ast.walk(tree))
    new = (ast.JoinedStr, ast.NamedExpr, ast.AnnAssign, ast.Match, ast.AsyncFunctionDef, ast.Nonlocal)
    assert [node.lineno for node in nodes if isinstance(node, new)] == []
    assert [node.arg for node in nodes if isinstance(node, ast.arg) and node.annotation] == []
    assert [node.name for node in nodes if isinstance(node, ast.FunctionDef) and node.returns] == []
    assert {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names} <= {
        "argparse", "json", "os", "subprocess", "sys",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("version", "missing", "kind", "why"),
    [
        ([3, 10, 13], [], "CPython", "is too old"),
        ([2, 7, 18], [], "CPython", "is too old"),
        ([3, 14, 0], [], "CPython", "is too new"),
        ([3, 12, 1], [], "PyPy", "not the standard CPython"),
        ([3, 13, 1], [], "CPython (free-threaded)", "not the standard CPython"),
        ([3, 11, 2], ["ensurepip"], "CPython", "lacks the module ensurepip (Debian, Ubuntu: sudo apt install python3.11-venv)"),
        ([3, 12, 2], ["venv", "ensurepip"], "CPython", "lacks the module venv and ensurepip"),
        ([3, 11, 0], [], "CPython", None),
        ([3, 13, 9], [], "CPython", None),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_python(
    tmp_path: Path, version: list[int], missing: list[str], kind: str, why: str | None
) -> None:
    found = setup.probe(str(answer(tmp_path / "python", version, missing, kind)))
    objection = setup.objection(found)
    assert objection == why if why is None else why in objection


def test_the_python_that_runs_this_fits() -> None:
    found = setup.probe(sys.executable)
    assert found["version"] == list(sys.version_info[:3])
    assert setup.objection(found) is None
    assert Path(found["base"]).exists()
    assert not Path(found["base"]).is_relative_to(sys.prefix) or sys.prefix == sys.base_prefix


def test_another_python_is_found_when_the_first_is_too_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = answer(tmp_path / "python3", [3, 8, 18])
    answer(tmp_path / "python3.12", [3, 12, 1], ["ensurepip"])
    good = answer(tmp_path / "python3.11", [3, 11, 7])
    (tmp_path / "python3.13").write_text(
        "#!/bin/sh\nexit 127\n", encoding="utf-8"
    )  # a version manager's shim
    (tmp_path / "python3.13").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(old))
    monkeypatch.setattr(setup, "ROOT", str(tmp_path / "empty"))
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.defpath}")
    found, tried = setup.choose(exactly=False)
    assert found["base"] == str(good)
    assert [line.split()[1] for line in tried] == ["3.8.18", "3.12.1"]
    found, tried = setup.choose(exactly=True)
    assert (found, len(tried)) == (None, 1)


@pytest.mark.skipif(
    sys.version_info[:2] == (3, 13), reason="needs a Python that is not the newest supported one"
)
def test_the_python_that_was_chosen_once_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = answer(tmp_path / ".venv" / "bin" / "python", [3, 13, 1])
    monkeypatch.setattr(setup, "ROOT", str(tmp_path))
    assert setup.choose(exactly=False)[0]["base"] == str(chosen)
    assert setup.choose(exactly=True)[0]["version"] == list(sys.version_info[:3])


def old_python(folder: Path) -> Path:
    """A folder for PATH in which `python3` is a Python 3.8 that runs scripts."""
    real = answer(folder / "python3", [3, 8, 18])
    lie = "import sys, runpy; sys.executable, sys.argv = sys.argv[1], sys.argv[2:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    probe = real.read_text(encoding="utf-8").splitlines()[1]
    script = f"""#!/bin/sh
case "$1" in
  tools/setup.py) exec "{sys.executable}" -c "{lie}" "$0" "$@" ;;
  -c) exit 0 ;;
  *) {probe} ;;
esac
"""
    real.write_text(script, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("variables", "lines"),
    [
        ([], ["This project needs Python 3.11, 3.12 or 3.13", "3.8.18   is too old", "apt install python3 python3-venv"]),
        (["PYTHON=python3"], ["3.8.18   is too old", "leave PYTHON=... away"]),
        (["PYTHON=python9"], ["PYTHON=python9: there is no such command."]),
    ],
    ids=["by-default", "named", "no-such"],
)  # fmt: skip
def test_make_says_what_to_do_without_a_suitable_python(
    fresh: SmallProject, tmp_path: Path, variables: list[str], lines: list[str]
) -> None:
    environ = fresh.environ(PATH=str(old_python(tmp_path)))
    run = subprocess.run(
        [MAKE, "lab", *variables], cwd=fresh.folder, env=environ, capture_output=True, text=True
    )
    assert run.returncode != 0
    assert [line for line in lines if line not in run.stdout] == [], run.stdout + run.stderr
    assert "Traceback" not in run.stdout + run.stderr


def test_make_says_what_to_do_without_any_python(fresh: SmallProject, tmp_path: Path) -> None:
    environ = fresh.environ(PATH=str(tmp_path))
    run = subprocess.run([MAKE, "test"], cwd=fresh.folder, env=environ, capture_output=True, text=True)
    assert run.returncode != 0
    assert "There is no Python here. Install 3.11, 3.12 or 3.13" in run.stdout


# --- the rest ---


def test_make_alone_lists_every_target(fresh: SmallProject) -> None:
    run = subprocess.run(
        [MAKE], cwd=fresh.folder, env=fresh.environ(), capture_output=True, text=True, check=True
    )
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert set(re.findall(r"^  make ([a-z-]+) +\S", run.stdout, re.MULTILINE)) == targets
    assert targets == set(re.search(r"^\.PHONY: (.*)", makefile, re.MULTILINE).group(1).split())


def test_progress_in_a_terminal_rewrites_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    progress = steps.Progress(1)
    progress.begin("packages")
    progress.pip_says("Collecting pandas==3.1.1 (from -r requirements.lock (line 7))", 1, 2)
    progress.pip_says("Processing /some/where/tiny-1.0-py3-none-any.whl", 2, 2)
    progress.pip_says("WARNING: Retrying (Retry(total=4)) after connection broken", 2, 2)
    first, second = terminal.getvalue().removesuffix("\n").split("\n")
    shown = second.split("\r\x1b[K")
    assert first.endswith("  packages")
    assert [text.split(" s  ")[-1] for text in shown if text] == [
        "1 of 2: pandas==3.1.1",
        "2 of 2: tiny-1.0-py3-none-any.whl",
        "the package index does not answer; pip tries again",
    ]
