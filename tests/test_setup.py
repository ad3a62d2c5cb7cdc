"""The set-up: once, again when something has changed, whole after an interruption, and clear about what is missing.

The real Makefile and the real script run in a small project: real interpreters, a real pip, a real uv, packages from a folder.
"""

from __future__ import annotations

import ast
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from small_project import ROOT, SmallProject, make_small_project

TOO_OLD = "sys.version_info = (3, 8, 18)"
TOO_NEW = "sys.version_info = (3, 99, 1)"
NO_VENV = "sys.modules['ensurepip'] = None"
DISK_FULL = "import shutil, types; shutil.disk_usage = lambda _: types.SimpleNamespace(free=7 * 10**6)"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> SmallProject:
    """A small project set up in the hard way: over the remains of an interruption, and by two at the same time."""
    project = make_small_project(tmp_path_factory.mktemp("built"))
    (project.folder / ".venv" / "bin").mkdir(parents=True)
    (project.folder / ".venv" / "bin" / "python").symlink_to(sys.executable)
    (project.folder / ".venv" / "mark").touch()
    both = [project.start("setup"), project.start("setup")]
    outputs = [process.communicate(timeout=600)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    return project


@pytest.fixture
def fresh(tmp_path: Path) -> SmallProject:
    """A small project in which nothing is set up."""
    return make_small_project(tmp_path)


@pytest.fixture
def full(tmp_path: Path) -> str:
    """A Python that says so instead of making an environment anew."""
    return f"PYTHON={stand_in(tmp_path / 'full', DISK_FULL)}"


def stand_in(path: Path, lie: str) -> str:
    """A Python that believes something else about itself when it runs a script."""
    code = f"import sys, runpy; sys.argv[:] = sys.argv[1:]; {lie}; runpy.run_path(sys.argv[0], run_name='__main__')"
    truly = f'case "$1" in -c) exec "{sys.executable}" "$@";; esac'
    path.write_text(f'#!/bin/sh\n{truly}\nexec "{sys.executable}" -c "{code}" "$@"\n', encoding="utf-8")
    path.chmod(0o755)
    return str(path)


# --- when something is made, and when not ---


def test_two_set_ups_at_once_repair_what_an_interruption_left(built: SmallProject) -> None:
    assert not (built.folder / ".venv" / "mark").exists()
    assert built.imports("tiny") and not built.imports("more")
    assert built.make("setup") == (0, "make: Nothing to be done for 'setup'.\n")


def test_a_failed_addition_leaves_what_was_complete(built: SmallProject, full: str) -> None:
    """A killed one does not."""
    [wheel] = built.wheels.glob("more-*.whl")
    away = wheel.rename(wheel.with_suffix(".away"))
    status, output = built.make(".venv/.dev")
    assert (status, "The set-up has stopped" in output) == (2, True), output
    assert built.make("setup")[1].startswith("make: Nothing to be done")
    away.rename(wheel)
    (built.folder / ".venv" / ".changing").touch()
    assert "The disk is full" in built.make(".venv/.dev", full)[1]
    (built.folder / ".venv" / ".changing").unlink()


def test_what_lessons_need_never_removes_what_the_tests_need(built: SmallProject, full: str) -> None:
    stamps = [built.folder / ".venv" / name for name in (".lab", ".dev")]
    assert built.make(".venv/.dev", full)[0] == 0
    assert built.imports("more") and all(stamp.exists() for stamp in stamps)
    assert built.make("setup")[1].startswith("make: Nothing to be done")
    for lock in (built.folder / "requirements.lock", built.folder / "tools" / "requirements.lock"):
        lock.write_text(lock.read_text(encoding="utf-8") + "# changed\n", encoding="utf-8")
        status, output = built.make("setup", full)
        assert (status, "Set-up of .venv" in output) == (0, True), output
    assert built.imports("tiny") and built.imports("more")


def test_without_a_wheel_of_uv_pip_does_it_and_a_dead_index_is_named(built: SmallProject, full: str) -> None:
    lock = built.folder / "tools" / "requirements.lock"
    pinned = lock.read_text(encoding="utf-8")
    lock.write_text(pinned.replace("1.0", "2.0"), encoding="utf-8")
    nobody = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_NO_INDEX": "", "PIP_RETRIES": "1"}
    status, output = built.make("setup", full, **nobody)
    assert (status, "No package index answers. Check the network" in output) == (2, True), output
    status, output = built.make("setup", full)
    assert status == 0 and "Requirement already satisfied: tiny" in output, output
    lock.write_text(pinned, encoding="utf-8")
    assert built.make("setup", full)[0] == 0


def test_an_environment_that_was_moved_is_made_anew(built: SmallProject, full: str) -> None:
    moved = built.folder.rename(built.folder.with_name("moved"))
    assert "The disk is full" in replace(built, folder=moved).make("setup", full)[1]
    moved.rename(built.folder)


def test_a_python_that_was_removed_or_another_one_makes_it_anew(built: SmallProject, tmp_path: Path) -> None:
    asked = ("-q", ".venv/.lab")  # status 1: there is something to do
    (other := tmp_path / "other").write_text("#!/bin/sh\necho 3.99.\n", encoding="utf-8")
    other.chmod(0o755)
    pythons = [(), (f"PYTHON={sys.executable}",), (f"PYTHON={other}",)]
    assert [built.make(*asked, *python)[0] for python in pythons] == [0, 0, 1]
    status, output = built.make("lab", "PYTHON=python9")
    assert status != 0 and "PYTHON=python9 does not fit: this project needs 3.11, 3.12, " in output
    config = built.folder / ".venv" / "pyvenv.cfg"
    config.write_text(config.read_text().replace("version = 3.", "version = 4."))
    assert built.make(*asked)[0] == 1, "as after an upgrade"
    link = built.folder / ".venv" / "bin" / "python"
    link.unlink()
    link.symlink_to("/nowhere/python3")
    assert built.make(*asked)[0] == 1


# --- what may be missing ---


@pytest.mark.parametrize(
    ("lies", "lines"),
    [
        ({"python3": TOO_OLD}, ["Python 3.8.18, is too old.", "No Python here fits: this project needs 3.11", "apt install"]),
        ({"python3": NO_VENV}, ["lacks venv. Debian, Ubuntu: sudo apt install python3.", "No Python here fits"]),
        ({"python3": DISK_FULL}, ["The disk is full: ", " has 7 MB free, and the set-up needs 2000 MB."]),
        ({"python3": f"{TOO_NEW}; {DISK_FULL}"}, ["is newer than the tested ones", "The disk is full: "]),
        ({"python3": TOO_NEW, "python3.14": DISK_FULL}, ["is newer than the tested ones", "The disk is full: "]),
        ({}, ["No Python here fits", "make PYTHON=/path/to/python3.12 lab"]),
    ],
    ids=["too-old", "no-venv", "disk-full", "too-new", "comes-last", "none"],
)  # fmt: skip
def test_what_is_missing(fresh: SmallProject, tmp_path: Path, lies: dict[str, str], lines: list[str]) -> None:
    """Make says what it is, and what to do."""
    for name, lie in lies.items():
        stand_in(tmp_path / name, lie)
    status, output = fresh.make("lab", PATH=str(tmp_path))
    assert status != 0 and "Traceback" not in output
    assert [line for line in lines if line not in output] == [], output


def test_a_link_in_place_of_venv_is_not_followed(fresh: SmallProject, tmp_path: Path) -> None:
    (tmp_path / "precious" / "letters").mkdir(parents=True)
    (fresh.folder / ".venv").symlink_to(tmp_path / "precious")
    status, output = fresh.make("setup")
    assert (status, ".venv is a link" in output) == (2, True), output
    assert (tmp_path / "precious" / "letters").is_dir()


def test_the_set_up_can_be_read_by_an_old_python() -> None:
    """So that it gets an answer, and no syntax error."""
    ast.parse((ROOT / "tools" / "setup.py").read_text(encoding="ascii"), feature_version=(3, 6))


def test_make_alone_lists_every_target(fresh: SmallProject) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert set(re.findall(r"^  make ([a-z-]+) +\S", fresh.make()[1], re.MULTILINE)) == targets
