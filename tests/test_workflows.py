"""What continuous integration runs is what a developer runs, and the files that say so are well formed."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").iterdir())
COMPOSE = sorted((ROOT / "compose").rglob("*.yml"))
YAML_FILES = [*WORKFLOWS, *COMPOSE, ROOT / "environment.yml", ROOT / "CITATION.cff"]
SCRIPTS = [
    ROOT / ".ci" / "run",
    *sorted((ROOT / "tests").rglob("*.sh")),
]  # that of compose/: tests/deployment
YAML_RULES = """
extends: default
rules:
  comments: {min-spaces-from-content: 1}
  document-start: disable
  line-length: {max: 140}
"""


def check(*command: str | Path) -> None:
    run = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.fixture(scope="module")
def test_job() -> dict[str, Any]:
    return yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))["jobs"][
        "test"
    ]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_follows_the_public_schema(path: Path) -> None:
    check("check_jsonschema", "--builtin-schema", "vendor.github-workflows", path)


def test_citation_follows_the_public_schema() -> None:
    check("check_jsonschema", "--builtin-schema", "vendor.citation-file-format", ROOT / "CITATION.cff")


@pytest.mark.parametrize("path", YAML_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_yaml_is_tidy(path: Path) -> None:
    check("yamllint", "--strict", "-d", YAML_RULES, path)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_reads_only_and_pins_its_actions(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    assert all(0 < job["timeout-minutes"] <= 60 for job in workflow["jobs"].values())
    actions = re.findall(r"uses: (.*)", text)
    # A tag can be moved by whoever owns the action, a commit cannot; the comment says which release it is.
    assert [
        use for use in actions if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use)
    ] == []


def test_workflow_covers_the_supported_pythons_and_machines(test_job: dict[str, Any]) -> None:
    matrix = test_job["strategy"]["matrix"]
    assert matrix["python"] == ["3.11", "3.12", "3.13", "3.14"]
    machines = [*matrix["machine"], *(extra["machine"] for extra in matrix["include"])]
    assert machines == ["ubuntu-24.04", "ubuntu-24.04-arm"]


def test_only_the_job_that_publishes_the_site_may_write_and_it_runs_nothing_of_ours() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "site.yml").read_text(encoding="utf-8"))
    build, deploy = workflow["jobs"]["build"], workflow["jobs"]["deploy"]
    assert "permissions" not in build and [step["run"] for step in build["steps"] if "run" in step] == [
        "make site"
    ]
    assert build["steps"][-1]["with"] == {"path": "build/site"}
    assert deploy["permissions"] == {"pages": "write", "id-token": "write"}
    assert [step["uses"].partition("@")[0] for step in deploy["steps"]] == ["actions/deploy-pages"]


def test_workflow_runs_what_a_developer_runs(test_job: dict[str, Any]) -> None:
    [step] = [step for step in test_job["steps"] if "run" in step]
    assert step["run"] == "bash .ci/run"
    assert step["env"]["PYTHON"] == "python${{ matrix.python }}"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="shellcheck comes as a wheel for x86-64 only")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shell_script_is_sound(script: Path) -> None:
    run = subprocess.run(
        [Path(sys.executable).with_name("shellcheck"), script], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout


def test_ci_run_can_be_run() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_ci_run_makes_a_fresh_environment_and_stops_at_a_failure(tmp_path: Path) -> None:
    """Run it for real in a folder with a Makefile of its own: from elsewhere, with a terminal's input left alone."""
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci" / "run").write_text(
        (ROOT / ".ci" / "run").read_text(encoding="utf-8"), encoding="utf-8"
    )
    (tmp_path / ".venv").mkdir()
    (tmp_path / "Makefile").write_text("test:\n\t@cat; ls -a; exit 3\n", encoding="utf-8")
    command = ["bash", tmp_path / ".ci" / "run"]
    run = subprocess.run(command, cwd="/", input="typed", capture_output=True, text=True, timeout=60)
    assert run.returncode != 0
    assert "Makefile" in run.stdout and ".venv" not in run.stdout and "typed" not in run.stdout
