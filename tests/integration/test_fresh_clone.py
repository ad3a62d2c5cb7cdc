"""What the pages tell a stranger to type, typed in a fresh clone: each command block, and the workflow to copy."""

from __future__ import annotations

import os
import pwd
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from containers import Engine
from documents import PAGES, ROOT, TEACHING, blocks, commands
from run_tests import UNWANTED
from test_airflow import BASES
from traces import MARK

COMMANDS = {page: commands(page) for page in PAGES}
BY_DOCKER = [line for lines in COMMANDS.values() for line in lines if line.startswith("docker ")]
OTHERS = {page: [line for line in lines if line not in BY_DOCKER] for page, lines in COMMANDS.items()}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of what is committed, and set up."""
    folder = tmp_path_factory.mktemp("clone") / "lessons"
    # The repository may belong to another user (as a checkout in a container does).
    run(f"git -c safe.directory='*' clone --quiet {shlex.quote(str(ROOT))} {shlex.quote(str(folder))}", ROOT)
    run("make setup", folder)
    return folder


def run(line: str, folder: Path, **more: str) -> str:
    """Run a command in a shell that knows nothing of this run; its status must be 0. Returns what it prints."""
    unwanted = {*UNWANTED, MARK, "VIRTUAL_ENV"}
    clean = {name: value for name, value in os.environ.items() if name not in unwanted}
    # Nothing may be left in the home folder of the run. What uv has downloaded for this user is not downloaded again.
    uv = os.environ.get("UV_CACHE_DIR", f"{pwd.getpwuid(os.getuid()).pw_dir}/.cache/uv")
    caches = {"PIP_CACHE_DIR": str(folder.parent / "cache"), "UV_CACHE_DIR": uv}
    settings = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "timeout": 900}
    done = subprocess.run(shlex.split(line), cwd=folder, env=clean | caches | more, **settings)
    text = done.stdout + done.stderr
    assert done.returncode == 0, f"{line}: status {done.returncode}\n{text[-4000:]}"
    return text


def test_there_are_commands_to_try() -> None:
    """Else the tests below would pass by finding nothing."""
    assert sum(map(len, OTHERS.values())) >= 8 and len(BY_DOCKER) >= 1 and len(OTHERS[TEACHING]) >= 3


@pytest.mark.parametrize(  # those of TEACHING are typed below
    "line", sorted({line for lines in OTHERS.values() for line in lines} - {*OTHERS[TEACHING]})
)
def test_a_command_works_and_changes_no_file_of_the_repository(line: str, clone: Path) -> None:
    assert run(line, clone).strip()
    assert run("git status --porcelain", clone) == ""


def test_an_exercise_is_added_executed_and_runs_in_a_teachers_workflow(clone: Path) -> None:
    """The script of TEACHING, then what it says to do next, then the steps of its workflow."""
    [script], [workflow] = blocks(TEACHING, "python"), blocks(TEACHING, "yaml")
    [job] = yaml.safe_load(workflow)["jobs"].values()
    steps = [step["run"] for step in job["steps"] if "run" in step]
    try:
        run(shlex.join([".venv/bin/python", "-c", script]), clone)
        typed = [line for line in OTHERS[TEACHING] if "04_schema_versions" in line]
        for line in dict.fromkeys([*typed, *steps]):  # the workflow runs what was just typed
            run(line, clone)
        assert run("git status --porcelain", clone) == " M notebooks/04_schema_versions.ipynb\n" and steps
    finally:
        run("git checkout --quiet notebooks", clone)


@pytest.mark.long
@pytest.mark.parametrize("line", BY_DOCKER)
def test_a_command_of_docker_works(line: str, clone: Path, engine: Engine) -> None:
    engine.provide(*BASES)
    mine = {"COMPOSE_PROJECT_NAME": "lessons-clone", "COMPOSE_BAKE": "false"}
    assert line.startswith("docker compose -f "), "how is this one to be undone?"
    if not (clone / "compose" / ".env").exists():
        run("python compose/make_env.py", clone)
    try:
        run(line, clone, **mine)
    finally:
        run(f"{shlex.join(shlex.split(line)[:4])} down --volumes --timeout 0", clone, **mine)
