"""What continuous integration runs is what a developer runs, and the files that say so are well formed."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest
import setup
import yaml

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").iterdir())
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").iterdir())
HOOKS = ROOT / ".pre-commit-config.yaml"
COMPOSE = sorted((ROOT / "compose").rglob("*.yml"))
YAML_FILES = [*WORKFLOWS, *FORMS, HOOKS, *COMPOSE, ROOT / "environment.yml", ROOT / "CITATION.cff"]
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


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        *(("vendor.github-workflows", path) for path in WORKFLOWS),
        *(("vendor.github-issue-forms", path) for path in FORMS),
        *(("vendor.compose-spec", path) for path in COMPOSE if path.name.startswith("docker-")),
        ("vendor.citation-file-format", ROOT / "CITATION.cff"),
        ("tests/devcontainer.schema.json", ROOT / ".devcontainer" / "devcontainer.json"),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_file_follows_the_public_schema(schema: str, path: Path) -> None:
    kind = "--builtin-schema" if schema.startswith("vendor.") else "--schemafile"
    check("check_jsonschema", kind, schema, path)


def test_yaml_is_tidy() -> None:
    check("yamllint", "--strict", "-d", YAML_RULES, *YAML_FILES)


def test_workflows_read_only_and_pin_their_actions_and_the_one_that_publishes_runs_nothing_of_ours() -> None:
    texts = {path.stem: path.read_text(encoding="utf-8") for path in WORKFLOWS}
    jobs = {}
    for text in texts.values():
        workflow = yaml.safe_load(text)
        jobs |= workflow["jobs"]
        assert workflow["permissions"] == {"contents": "read"}
        # A tag can be moved by the owner of the action, a commit cannot; the comment says which release it is.
        pinned = r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+"
        assert [use for use in re.findall(r"uses: (.*)", text) if not re.fullmatch(pinned, use)] == []
    assert all(0 < job["timeout-minutes"] <= 60 for job in jobs.values())
    assert [name for name, job in jobs.items() if "permissions" in job] == ["deploy"]
    assert not any("run" in step for step in jobs["deploy"]["steps"])


def test_workflow_runs_what_a_developer_runs_on_the_supported_pythons_and_binder_has_one_of_them() -> None:
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    job = yaml.safe_load(text)["jobs"]["test"]
    pythons = [f"3.{minor}" for minor in range(setup.OLDEST[1], setup.NEWEST[1] + 1)]
    assert job["strategy"]["matrix"]["python"] == pythons and "ubuntu-24.04-arm" in text
    assert (ROOT / ".binder" / "runtime.txt").read_text("utf-8").strip().removeprefix("python-") in pythons
    [step] = [step for step in job["steps"] if "run" in step]
    assert step["run"] == "bash .ci/run" and os.access(ROOT / ".ci" / "run", os.X_OK)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="shellcheck comes as a wheel for x86-64 only")
def test_shell_scripts_are_sound() -> None:
    ours = (".ci/run", ".binder/postBuild", ".binder/start", "compose/deploy-zero-downtime.sh")
    started = [ROOT / name for name in ours]
    assert all(os.access(script, os.X_OK) for script in started)
    command = [Path(sys.executable).with_name("shellcheck"), *started, *(ROOT / "tests").rglob("*.sh")]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout
