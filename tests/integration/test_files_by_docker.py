"""What checks files and does not come with the project's own environment: hadolint, and Compose itself."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from containers import ROOT, Engine, run

COMPOSE_FILES = sorted((ROOT / "compose").glob("docker-compose*.yml"))
DOCKERFILES = sorted([*(ROOT / "compose").rglob("*Dockerfile"), *Path(__file__).parent.rglob("Dockerfile")])


@pytest.fixture
def hadolint() -> str:
    found = shutil.which("hadolint")
    if found is None:
        pytest.skip("hadolint is not here: `make test-integration` installs it on x86-64")
    return found


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: str(path.parent.relative_to(ROOT)))
def test_dockerfile_is_sound(hadolint: str, path: Path) -> None:
    run(hadolint, "--failure-threshold", "info", path)


@pytest.mark.parametrize("path", COMPOSE_FILES, ids=lambda path: path.name)
def test_compose_reads_the_file(engine: Engine, path: Path) -> None:
    env = dict.fromkeys(re.findall(r"\$\{(\w+):\?", path.read_text(encoding="utf-8")), "x")
    run("docker", "compose", "--file", path, "config", "--quiet", env=env)
