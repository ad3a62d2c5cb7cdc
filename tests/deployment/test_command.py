"""`compose/deploy-zero-downtime.sh`: the seven steps on a platform that stays, what interrupts them, and its exit status."""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest
from controllers import killed_at
from endpoints import fetch
from traffic_checks import assert_all_ok, colours, sent_after
from waiting import until

from lib.deployment import __main__ as command_line
from lib.deployment.platforms.compose import Compose
from lib.deployment.rollout import BlueGreen
from lib.stage.ports import free_port
from lib.stage.traffic import USER, Traffic

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "compose" / "deploy-zero-downtime.sh"
COMMAND = [sys.executable, "-m", "lib.deployment"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


def run(*arguments: object) -> tuple[int, str]:
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """A state directory, with a path too long for a socket's; whatever runs for it is stopped in the end."""
    state = tmp_path / ("s" * 100)
    yield state
    assert run("down", "--state-dir", state)[0] == 0


def deploy(state: Path, version: str, schema: int, *options: object) -> tuple[int, str]:
    return run(version, "--schema", schema, "--bake", 0.5, "--state-dir", state, *options)


def slowly(state: Path, *arguments: str) -> list[str]:
    """The command of a deployment that takes its time at the end."""
    return [*COMMAND, *arguments, "--bake", "600", "--state-dir", str(state)]


def test_without_an_argument_it_says_how_and_fails() -> None:
    status, output = run()
    assert (
        status == 1 and output.startswith("usage: deploy-zero-downtime.sh [-h]") and "<new_version>" in output
    )


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["v1", "--target", "elsewhere"], "invalid choice: 'elsewhere'"),
        (["status", "--dry-run"], "only with a new version"),
        (["v1", "--replicas", "0"], "replicas=0: at least 1"),
        (["v1", "--schema", "9"], "known: 1, 2, 3"),
        (["v1", "--no-such"], "unrecognized arguments"),
        (["v1/x"], "letters, digits, dots"),
        (["v1", "--schema", "x"], "invalid int value"),
    ],
)
def test_bad_arguments(arguments: list[str], complaint: str) -> None:
    status, output = run(*arguments)
    assert status == 1 and complaint in output


def test_a_target_without_its_engine_is_explained(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENVIRONMENT, "DOCKER_HOST", "unix:///nowhere/docker.sock")
    status, output = run("v1", "--target", "compose", "--state-dir", state)
    assert status == 2 and "No container engine answers" in output and "Start Docker" in output
    assert not list((state / "compose").iterdir())
    assert run("status", "--target", "compose", "--state-dir", state)[0] == 0


def test_a_router_that_has_ended_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running = Mock(status="running", **{"exec_run.return_value": (0, b"yes")})
    compose = Compose(tmp_path)
    monkeypatch.setattr(compose, "_containers", lambda _: [Mock(status="exited"), running])
    assert compose._ask("show stat") == "yes"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="shellcheck comes as a wheel for x86-64 only")
def test_the_script_is_clean() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("shellcheck"), SCRIPT], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    assert os.access(SCRIPT, os.X_OK)


def test_the_script_finds_the_environment_or_says_how_to_make_it(tmp_path: Path) -> None:
    (tmp_path / "compose").mkdir()
    script = tmp_path / "compose" / SCRIPT.name
    script.write_bytes(SCRIPT.read_bytes())
    done = subprocess.run(["bash", script], capture_output=True, text=True)
    assert done.returncode == 1 and f"run 'make setup' in {tmp_path}" in done.stderr
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$PYTHONPATH" "$@"\n')
    python.chmod(0o755)
    done = subprocess.run(["bash", script, "v1", "--dry-run"], capture_output=True, text=True)
    assert done.stdout == f"{tmp_path} -P -m lib.deployment v1 --dry-run\n"


def test_a_dry_run_starts_nothing(state: Path) -> None:
    status, output = deploy(state, "v1", 1, "--dry-run")
    assert status == 0 and "created: 1 replicas of v1 in blue" in output
    assert not state.exists()


def test_one_version_after_the_other_interrupted_resumed_and_rolled_back(state: Path) -> None:
    port = free_port()
    status, output = deploy(state, "v1", 1, "--port", port)
    assert status == 0 and "nothing to be compatible with" in output and "there was nothing before" in output
    steps = [re.match(r"\[(\d)/7", line) for line in output.splitlines()]
    assert [step[1] for step in steps if step] == ["1", "2", "3", "4", "5", "6", "6", "7"]

    def release() -> str:
        return json.loads(fetch(f"http://127.0.0.1:{port}/version")[0])["release"]

    with Traffic(f"http://127.0.0.1:{port}", rate=20, writes=0.2, timeout=60) as traffic:
        status, output = deploy(state, "v2", 2)
        assert colours(sent_after(traffic)) == {"green"}
        assert status == 0 and f"address: http://127.0.0.1:{port}" in output and "running: v2" in output

        killed_at("1/7", slowly(state, "v3"), ENVIRONMENT)  # long before it would switch
        status, output = run("status", "--state-dir", state)
        assert status == 0 and "running: v2" in output
        assert re.search("under way: v3 is (compatible|created): resume, or rollback", output), output
        assert deploy(state, "v4", 3)[0] == 2 and release() == "v2"
        assert run("resume", "--bake", 0.5, "--state-dir", state)[0] == 0 and release() == "v3"

        killed_at("5/7", slowly(state, "v5"), ENVIRONMENT)
        assert release() == "v5"
        status, output = run("rollback", "--state-dir", state)
        assert status == 0 and "running: v3" in output and release() == "v3"
    assert_all_ok(traffic.requests())
    status, output = run("rollback", "--state-dir", state)
    assert status == 2 and "nothing is under way" in output

    pid = json.loads((state / "local" / "platform.json").read_text())["pid"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{pid}").exists())
    status, output = deploy(state, "v1", 1)
    assert (
        status == 0 and "the platform has ended since" in output and "nothing to be compatible with" in output
    )

    pid = json.loads((state / "local" / "platform.json").read_text())["pid"]
    assert run("down", "--state-dir", state)[0] == 0
    until(lambda: not Path(f"/proc/{pid}").exists())
    with pytest.raises(OSError):
        fetch(f"http://127.0.0.1:{port}/version")
    assert run("down", "--state-dir", state) == (0, "nothing is running\n")
    assert "running: nothing" in run("status", "--state-dir", state)[1]


def test_a_second_deployment_at_once_is_refused(state: Path) -> None:
    with BlueGreen(Mock(), state / "local", smoke_user=USER).lock():
        status, output = deploy(state, "v1", 1)
    assert status == 3
    assert re.search(rf"at work: process {os.getpid()} since .* UTC; wait for its end", output)


def test_a_platform_that_does_not_start_is_explained(state: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        status, output = deploy(state, "v1", 1, "--port", taken.getsockname()[1])
    assert (
        status == 2
        and "the platform did not start" in output
        and "Is another program using its port?" in output
    )


def test_a_tag_runs_its_own_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = tmp_path / "repository"
    users = repository / "lib" / "versioning" / "users.py"
    users.parent.mkdir(parents=True)
    for package in (users.parent, users.parent.parent):
        (package / "__init__.py").touch()
    git = ["git", "-C", str(repository), "-c", "user.name=Test", "-c", "user.email=test@example.org"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    for latest in (7, 8):
        users.write_text(f"class USERS: latest = {latest}\n")
        for command in (["add", "."], ["commit", "--quiet", "-m", "x"], ["tag", f"v{latest}"]):
            subprocess.run([*git, *command], check=True)
    monkeypatch.setattr(command_line, "ROOT", repository)
    for latest in (7, 8, 7):
        tree = command_line._tree_of_tag(f"v{latest}", tmp_path / "state")
        assert tree is not None and command_line._latest_schema(tree) == latest
    assert command_line._tree_of_tag("no-tag", tmp_path / "state") is None
    assert command_line._tree_of_tag("HEAD", tmp_path / "state") is None
