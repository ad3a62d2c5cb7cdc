"""`deploy-zero-downtime.sh … --target compose`, on a repository whose tags are releases: under load, refused, killed, and back."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from containers import ROOT, Engine, run
from controllers import killed_at
from traffic_checks import assert_all_ok, colours
from waiting import until

from lib.deployment.platforms.compose import Compose
from lib.deployment.replicas import call
from lib.stage.traffic import Traffic

IMAGES = ("python:3.11.14-slim-bookworm", "postgres:17.6-bookworm", "haproxy:2.8.15-bookworm")


class Repository:
    """A copy of the project with the releases v1.0.0, v1.1.0, and v1.2.0, which never gets ready."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.state = folder, folder / "state"
        self.command = [folder / "compose" / "deploy-zero-downtime.sh"]
        self.options = ["--target", "compose", "--state-dir", self.state, "--bake"]
        shutil.copytree(ROOT / "lib", folder / "lib", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(ROOT / "compose", folder / "compose")
        python = folder / ".venv" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)
        service = folder / "lib" / "deployment" / "service.py"
        text = service.read_text()
        self.git("init", "--quiet")
        for tag, changed in {
            "v1.0.0": text,
            "v1.1.0": text + "\n# A change, so that the image is another one.\n",
            "v1.2.0": text.replace('if "unready" in self.faults:', "if True:"),
        }.items():
            assert changed != text or tag == "v1.0.0"
            service.write_text(changed)
            self.git("add", "lib", "compose")
            self.git("commit", "--quiet", "--message", tag)
            self.git("tag", tag)
        service.write_text(text)

    def git(self, *arguments: str) -> None:
        author = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
        run("git", "-C", self.folder, *author, *arguments)

    def slowly(self, version: str) -> list[str | Path]:
        """The command of a deployment that takes its time at the end."""
        return [*self.command, version, *self.options, "20"]

    def __call__(self, *arguments: str) -> tuple[int, str]:
        done = run(*self.command, *arguments, *self.options, "1", check=False, timeout=300)
        return done.returncode, done.stdout + done.stderr

    @property
    def platform(self) -> Compose:
        return Compose(self.state / "compose")

    def ids(self, service: str) -> set[str]:
        return {one["ID"] for one in self.platform._containers(service)}

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.platform._get()['ROUTER_PORT']}"

    def release(self) -> str:
        """Whom the router sends to."""
        status, answer = call(int(self.address.rpartition(":")[2]), "/version")
        assert status == 200
        return answer["release"]


@pytest.fixture(scope="module")
def repository(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    engine.provide(*IMAGES)
    made = Repository(tmp_path_factory.mktemp("repository"))
    yield made
    assert made("down")[0] == 0
    of_ours = ["ls", "--quiet", "--filter", f"label=com.docker.compose.project={made.platform.project}"]
    assert [engine.docker(kind, *of_ours) for kind in ("container", "volume", "network")] == [""] * 3


def steps(output: str) -> list[str]:
    return re.findall(r"^\[(\d)/7", output, re.MULTILINE)


def test_the_first_release_and_the_next_one_under_load(repository: Repository) -> None:
    status, output = repository("v1.0.0", "--schema", "1", "--replicas", "2")
    assert status == 0, output
    assert steps(output) == ["1", "2", "3", "4", "5", "6", "6", "7"] and repository.release() == "v1.0.0"
    with Traffic(repository.address, rate=50, writes=0.2, timeout=60) as traffic:
        status, output = repository("v1.1.0", "--schema", "2", "--replicas", "2")
    assert status == 0, output
    assert_all_ok(traffic.requests())
    assert colours(traffic.requests()) == {"blue", "green"}
    assert steps(output) == ["1", "2", "3", "4", "5", "6", "6", "7"] and repository.release() == "v1.1.0"
    assert len(repository.ids("green")) == 2 and repository.ids("blue") == set()
    status, output = repository("status")
    assert status == 0 and "running: v1.1.0" in output and "active: green, 2 replicas" in output


def test_an_unhealthy_release_changes_nothing(repository: Repository) -> None:
    before = repository.ids("green")
    status, output = repository("v1.2.0", "--schema", "2")
    assert status == 2, output
    assert "create: refused" in output and "unhealthy" in output
    assert "Went back: v1.1.0 runs." in output and "5" not in steps(output)
    assert repository.ids("green") == before and repository.ids("blue") == set()
    assert repository.release() == "v1.1.0" and repository.platform.active() == "green"


def test_a_killed_controller_is_followed_back_and_forth(repository: Repository) -> None:
    killed_at("5/7", repository.slowly("v1.0.0"))
    assert repository.release() == "v1.0.0" and len(repository.ids("green")) == 2  # warm
    status, output = repository("rollback")
    assert status == 0 and "running: v1.1.0" in output
    assert repository.release() == "v1.1.0" and repository.ids("blue") == set()
    killed_at("1/7", repository.slowly("v1.0.0"))  # while the next step begins
    assert repository.release() == "v1.1.0"
    status, output = repository("resume")
    assert status == 0 and "running: v1.0.0" in output
    assert repository.release() == "v1.0.0" and repository.ids("green") == set()


def test_a_router_that_crashed_comes_back_with_the_same_colour(
    repository: Repository, engine: Engine
) -> None:
    [router] = repository.ids("router")

    def state() -> list[str]:
        form = "{{.State.StartedAt}} {{.State.Health.Status}}"
        return engine.docker("inspect", "--format", form, router).split()

    begun = state()[0]
    # Its worker is killed in there: a container that a command of Docker kills counts as stopped on purpose, and is not started again.
    worker = re.findall(r"^Pid: (\d+)$", repository.platform._ask("show info"), re.MULTILINE)[0]
    engine.docker("exec", router, "bash", "-c", f"kill -9 {worker}")
    until(lambda: state()[0] != begun and state()[1] == "healthy", 60)
    assert repository.release() == "v1.0.0" and repository.platform.active() == "blue"
