"""`compose/deploy-zero-downtime.sh`: the seven steps on a platform that stays, what interrupts them, and its exit status."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from unittest.mock import Mock

import psutil
import pytest
from controllers import killed_at
from endpoints import fetch
from traffic_checks import assert_all_ok, assert_no_write_is_lost, colours, sent_after
from waiting import until

from lib.deployment import __main__ as command_line
from lib.deployment.replicas import call
from lib.deployment.rollout import BlueGreen
from lib.stage.ports import free_port
from lib.stage.programs import ProcessError
from lib.stage.traffic import USER, Traffic

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "compose" / "deploy-zero-downtime.sh"
COMMAND = [sys.executable, "-m", "lib.deployment"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}
#: A platform outlives the command that starts it, which is this process here.
pytestmark = pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")


def run(*arguments: object) -> tuple[int, str]:
    """Call the command line in this process; return its exit status and all that it printed."""
    with redirect_stdout(StringIO()) as printed, redirect_stderr(printed):
        try:
            status = command_line.main([str(argument) for argument in arguments])
        except SystemExit as end:
            status = end.code
    return status, printed.getvalue()


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


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "usage: deploy-zero-downtime.sh"),
        (["v1", "--target", "elsewhere"], "invalid choice: 'elsewhere'"),
        (["status", "--dry-run"], "only with a new version"),
        (["v1", "--replicas", "0"], "replicas=0: choose one from 1 to 100"),
        (["v1", "--replicas", "11", "--target", "compose"], "replicas=11: choose one from 1 to 10"),
        (["v1", "--port", "70000"], "port=70000: choose one from 0 to 65535"),
        (["v1", "--bake", "nan"], "bake=nan: at least 0"),
        (["resume", "--bake", "-1"], "bake=-1.0: at least 0"),
        (["v1", "--schema", "9"], "known: 1, 2, 3"),
        (["v1/x"], "letters, digits, dots"),
    ],
)
def test_bad_arguments(arguments: list[str], complaint: str, tmp_path: Path) -> None:
    status, output = run(*arguments, "--state-dir", tmp_path / "state")
    assert status == 1 and complaint in output
    assert not (tmp_path / "state").exists()


def test_a_target_without_its_engine_is_explained(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    status, output = run("v1", "--target", "compose", "--state-dir", state)
    assert status == 2 and "No container engine answers" in output and "Start Docker" in output
    assert not list((state / "compose").iterdir())
    assert run("status", "--target", "compose", "--state-dir", state)[0] == 0


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
        assert re.search("under way: v3 is (compatible|created): use `resume` or `rollback`", output), output
        assert deploy(state, "v4", 3)[0] == 2 and release() == "v2"
        assert run("resume", "--bake", 0.5, "--state-dir", state)[0] == 0 and release() == "v3"

        killed_at("5/7", slowly(state, "v5"), ENVIRONMENT)
        assert release() == "v5"
        status, output = run("rollback", "--state-dir", state)
        assert status == 0 and "running: v3" in output and release() == "v3"
    assert_all_ok(traffic.requests())
    assert_no_write_is_lost(port, traffic.requests())
    status, output = run("rollback", "--state-dir", state)
    assert status == 2 and "no deployment is in progress" in output

    [owner] = owners(state)
    owner.kill()
    owner.wait(60)  # its command line goes before its lock does
    assert run("status", "--state-dir", state)[0] == 1
    status, output = run("resume", "--state-dir", state)
    assert status == 2 and "the platform has ended, and its data with it: deploy a version" in output
    status, output = deploy(state, "v1", 1)
    assert status == 0 and "starting anew" in output and "nothing to be compatible with" in output

    assert run("down", "--state-dir", state)[0] == 0 and owners(state) == []
    with pytest.raises(OSError):
        fetch(f"http://127.0.0.1:{port}/version")
    assert run("down", "--state-dir", state) == (0, "nothing is running\n")
    assert "running: nothing" in run("status", "--state-dir", state)[1]


def owners(state: Path) -> list[psutil.Process]:
    """The processes that own a platform of this state directory."""
    mine = ["lib.deployment.platforms.detached", str(state / "local")]
    return [one for one in psutil.process_iter(["cmdline"]) if (one.info["cmdline"] or [])[2:4] == mine]


def kill_one(state: Path, what: str) -> None:
    """Kill a process of the platform, by a part of its command."""
    [owner] = owners(state)
    found = [one for one in owner.children(recursive=True) if what in " ".join(one.cmdline()[:4])]
    pid = next(one.pid for one in found if one.parent().cmdline()[-4:-2] != one.cmdline()[-4:-2])
    os.kill(pid, signal.SIGKILL)
    until(lambda: run("status", "--state-dir", state)[0] == 1)  # its supervisor hears of it a moment later


def test_what_has_died_is_said_and_brought_back_and_a_lost_state_is_asked_for(state: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    assert deploy(state, "v1", 1, "--port", port, "--replicas", 2)[0] == 0
    assert call(port, "/users", USER | {"id": "u"}, method="POST")[0] == 201
    for what, name in {
        "haproxy": "router",
        "bin/postgres": "database",
        "deployment.service": "1 of 2 replicas",
    }.items():
        kill_one(state, what)
        status, output = run("status", "--state-dir", state)
        assert status == 1 and f"died: {name}" in output, output
        status, output = run("resume", "--state-dir", state)
        assert status == 0 and "running: v1" in output, output
        assert run("status", "--state-dir", state)[0] == 0
        until(lambda: call(port, "/users/u")[0] == 200)

    kill_one(state, "haproxy")  # a deployment brings it back as well, and keeps the number of replicas
    assert deploy(state, "v2", 2)[0] == 0
    status, output = run("rollback", "--state-dir", state)
    assert status == 2 and "deploy v1 at schema version 1 again" in output
    status, output = run("status", "--state-dir", state)
    assert status == 0 and "active: green, 2 replicas" in output

    file = state / "local" / "deployment.json"
    file.write_bytes(b"\0")
    for verb in ("status", "resume", "v3"):
        status, output = run(verb, "--state-dir", state)
        assert status == 2 and "v2 serves in green" in output and "Traceback" not in output
    file.unlink()
    with Traffic(url, rate=20, writes=0.2, timeout=60) as traffic:
        assert deploy(state, "v3", 3)[0] == 0
        assert colours(sent_after(traffic)) == {"blue"}
    assert_all_ok(traffic.requests())
    assert "active: blue, 2 replicas" in run("status", "--state-dir", state)[1]


def test_a_start_that_is_killed_or_interrupted_leaves_nothing_unknown(tmp_path: Path) -> None:
    """With a state directory that is relative to a folder of the user's own."""
    state, command = tmp_path / "my state", [*COMMAND, "v1", "--bake", "0", "--state-dir", "my state"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        for number, left in ((signal.SIGINT, 0), (signal.SIGKILL, 1)):
            with subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as controller:
                until(lambda: owners(state))
                controller.send_signal(number)
                output = controller.communicate()[1]
            assert len(owners(state)) == left
            if number == signal.SIGINT:
                assert controller.returncode == 130 and "no deployment is in progress" in output
        again = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
        assert again.returncode == 0 and len(owners(state)) == 1, again.stderr
        subprocess.run([*COMMAND, "down", "--state-dir", "my state"], env=ENVIRONMENT, check=True)
    assert owners(state) == []


def test_a_second_deployment_at_once_is_refused(state: Path) -> None:
    with BlueGreen(Mock(), state / "local", smoke_user=USER).lock():
        status, output = deploy(state, "v1", 1)
    assert status == 3
    assert re.search(rf"is running: process {os.getpid()} since .* UTC; wait until it ends", output)


def test_a_platform_that_does_not_start_is_explained(state: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        status, output = deploy(state, "v1", 1, "--port", taken.getsockname()[1])
    assert status == 2 and "the platform did not start" in output and "Is another program" in output


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
    tree_of = partial(command_line._tree_of_tag, directory=tmp_path / "state")
    for latest in (7, 8, 7):
        tree = tree_of(f"v{latest}")
        assert tree is not None and command_line._latest_schema(tree) == latest
    assert tree_of("no-tag") is None and tree_of("HEAD") is None
    subprocess.run([*git, "tag", "--annotate", "-m", "x", "v9"], check=True)
    assert tree_of("v9") == tree_of("v8")

    for name, value, complaint in [
        ("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1", r"git .* ended with status 128:(?s:.*)dubious ownership"),
        ("GIT_DIR", str(tmp_path), r"git .* ended with status 128:(?s:.*)not a git repository"),
        ("PATH", "", "no command `git`: install it: only git can say whether v7 is a tag"),
    ]:
        with monkeypatch.context() as patch, pytest.raises(ProcessError, match=complaint):
            patch.setenv(name, value)
            tree_of("v7")
    (repository / ".git").rename(tmp_path / "git")
    assert tree_of("v7") is None, "without a repository there is no tag"
