"""What README and TEACHING tell a stranger to type, typed in a fresh clone: each command block, and the workflow to copy."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from containers import Engine
from documents import PAGES, ROOT, blocks, commands
from run_tests import UNWANTED
from test_airflow import BASES
from traces import MARK

README, _, TEACHING = PAGES
COMMANDS = {page: commands(page) for page in PAGES}
BY_DOCKER = [line for lines in COMMANDS.values() for line in lines if line.startswith("docker ")]
OTHERS = {page: [line for line in lines if line not in BY_DOCKER] for page, lines in COMMANDS.items()}


class Clone:
    """A clone of what is committed, and a shell in it that knows nothing of this run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        mine = {*UNWANTED, MARK, "VIRTUAL_ENV"}
        self.environ = {name: value for name, value in os.environ.items() if name not in mine}
        # The repository may belong to another user (as a checkout in a container does).
        self.environ |= {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
        }
        self.run("git", "clone", "--quiet", str(ROOT), str(folder), cwd=ROOT)

    def run(self, *command: str, cwd: Path | None = None, **more: str) -> str:
        """Run a command; its status must be 0. Returns what it prints."""
        done = subprocess.run(
            command,
            cwd=cwd or self.folder,
            env=self.environ | more,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=900,
        )
        text = done.stdout + done.stderr
        assert done.returncode == 0, f"{shlex.join(command)}: status {done.returncode}\n{text[-4000:]}"
        return text

    def changed(self) -> list[str]:
        return self.run("git", "status", "--porcelain").splitlines()


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    clone = Clone(tmp_path_factory.mktemp("clone") / "lessons")
    clone.run("make", "setup")
    return clone


def test_there_are_commands_to_try() -> None:
    """Else the tests below would pass by finding nothing."""
    assert len(OTHERS[README]) >= 2 and len(BY_DOCKER) >= 1 and len(OTHERS[TEACHING]) >= 3


@pytest.mark.parametrize(  # those of TEACHING are typed below
    "line", [line for page, lines in OTHERS.items() for line in lines if page != TEACHING]
)
def test_a_command_works_and_changes_no_file_of_the_repository(line: str, clone: Clone) -> None:
    assert clone.run(*shlex.split(line)).strip()
    assert clone.changed() == []


def test_an_exercise_is_added_executed_and_runs_in_a_teachers_workflow(clone: Clone) -> None:
    """The script of TEACHING, then what it says to do next, then the steps of its workflow."""
    [script], [workflow] = blocks(TEACHING, "python"), blocks(TEACHING, "yaml")
    [job] = yaml.safe_load(workflow)["jobs"].values()
    steps = [step["run"] for step in job["steps"] if "run" in step]
    try:
        clone.run(".venv/bin/python", "-c", script)
        for line in [*(line for line in OTHERS[TEACHING] if "03_schema_versions" in line), *steps]:
            clone.run(*shlex.split(line))
        assert clone.changed() == [" M notebooks/03_schema_versions.ipynb"] and steps
    finally:
        clone.run("git", "checkout", "--quiet", "notebooks")


@pytest.mark.long
@pytest.mark.parametrize("line", BY_DOCKER)
def test_a_command_of_docker_works(line: str, clone: Clone, engine: Engine) -> None:
    engine.provide(*BASES)
    mine = {"COMPOSE_PROJECT_NAME": "lessons-clone", "COMPOSE_BAKE": "false"}
    command = shlex.split(line)
    assert command[:3] == ["docker", "compose", "-f"], "how is this one to be undone?"
    if not (clone.folder / "compose" / ".env").exists():
        clone.run("python", "compose/make_env.py")
    try:
        clone.run(*command, **mine)
    finally:
        clone.run(*command[:4], "down", "--volumes", "--timeout", "0", **mine)
