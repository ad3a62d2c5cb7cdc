"""The search for what a run leaves behind finds each kind of leftover, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from traces import MARK, Process, files_in, line_of, processes, processes_of_run, repository_state

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, which only Linux has")
RUN = "a run of this test"
# Starts a grandchild in a session of its own, as a daemon does, and ends at once.
DAEMON = """
import subprocess, sys
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
print(subprocess.Popen(sys.argv[1:], start_new_session=True, **quiet).pid)
"""


@pytest.fixture
def daemon() -> Iterator[int]:
    """A process that carries the mark and is no descendant of this one."""
    command = [sys.executable, "-c", DAEMON, "sleep", "60"]
    ran = subprocess.run(command, env={**os.environ, MARK: RUN}, capture_output=True, text=True, check=True)
    number = int(ran.stdout)
    yield number
    if number in processes():
        os.kill(number, 9)


def wait_for(root: int, count: int) -> list[Process]:
    """What is found of a run with the first process `root`, once these are at least `count` different programs.

    A child has the command of its parent until it has become its own program.
    """
    deadline = time.monotonic() + 30
    while True:
        found = processes_of_run(root, RUN, os.getpid())
        if len({process.command for process in found}) >= count or time.monotonic() > deadline:
            return found
        time.sleep(0.02)


@linux
def test_a_daemon_is_found_by_its_mark(daemon: int) -> None:
    found = processes_of_run(-1, RUN, os.getpid())
    assert [process.pid for process in found] == [daemon]
    assert str(found[0]) == f"process {daemon}: sleep 60"


@linux
def test_a_process_without_the_mark_is_found_by_its_descent() -> None:
    """PostgreSQL and others overwrite their environment."""
    environ = {name: value for name, value in os.environ.items() if name != MARK}
    root = subprocess.Popen(["sh", "-c", "sleep 60 & wait"], env=environ, start_new_session=True)
    try:
        commands = [process.command for process in wait_for(root.pid, 2)]
        assert sorted(commands) == ["sh -c sleep 60 & wait", "sleep 60"]
    finally:
        os.killpg(root.pid, 9)
        root.wait()
    assert processes_of_run(root.pid, RUN, os.getpid()) == []


@linux
def test_the_watcher_its_ancestors_and_zombies_do_not_count() -> None:
    """This process has other children too, when another test's server is still running: these do count."""
    with subprocess.Popen(["true"], env={**os.environ, MARK: RUN}) as zombie:
        deadline = time.monotonic() + 30
        while zombie.pid in processes() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert Path(f"/proc/{zombie.pid}").exists()
        line = list(line_of(os.getpid(), processes()))
        assert line[0] == os.getpid() and os.getppid() in line
        found = {process.pid for process in processes_of_run(line[-1], RUN, os.getpid())}
        assert not found & {zombie.pid, *line}


@linux
def test_a_name_with_a_bracket_is_read_right(tmp_path: Path) -> None:
    script = tmp_path / "a) R 1 (b"
    script.symlink_to("/bin/sleep")
    process = subprocess.Popen([script, "60"], env={**os.environ, MARK: RUN})
    try:
        [found] = wait_for(process.pid, 1)
        assert (found.pid, found.parent) == (process.pid, os.getpid())
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A git checkout with one file, one that is changed, and one that is ignored."""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=Test", "-c", "user.email=test@example.org"]
    (tmp_path / "kept.txt").write_text("kept")
    (tmp_path / "changed.txt").write_text("as committed")
    (tmp_path / ".gitignore").write_text("ignored/\n")
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "--quiet", "--message", "all"], check=True)
    (tmp_path / "changed.txt").write_text("changed before the run")
    (tmp_path / "new é.txt").write_text("not yet added")
    return tmp_path


def test_an_untouched_repository_has_the_same_state(repository: Path) -> None:
    before = repository_state(repository)
    (repository / "ignored").mkdir()
    (repository / "ignored" / "any.txt").write_text("any")
    os.utime(repository / "kept.txt")
    assert repository_state(repository) == before


@pytest.mark.parametrize("name", ["kept.txt", "changed.txt", "new é.txt", "made.txt", "folder/made.txt"])
def test_a_file_that_is_written_changes_the_state(repository: Path, name: str) -> None:
    before = repository_state(repository)
    (repository / name).parent.mkdir(exist_ok=True)
    (repository / name).write_text("written by a test")
    assert repository_state(repository) != before


def test_a_file_that_is_removed_changes_the_state(repository: Path) -> None:
    before = repository_state(repository)
    (repository / "kept.txt").unlink()
    assert repository_state(repository) != before


def test_what_the_user_has_configured_does_not_count(
    repository: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path_factory.mktemp("home")
    (home / ".config" / "git").mkdir(parents=True)
    (home / ".config" / "git" / "ignore").write_text("*.txt\n", encoding="utf-8")
    (home / ".gitconfig").write_text("[status]\nshowUntrackedFiles = no\n", encoding="utf-8")
    before = repository_state(repository)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert repository_state(repository) == before


def test_without_git_there_is_no_state(tmp_path: Path) -> None:
    assert repository_state(tmp_path) is None


def test_files_are_listed_with_empty_folders_and_dangling_links(tmp_path: Path) -> None:
    (tmp_path / "pytest-of-me" / "deep").mkdir(parents=True)
    (tmp_path / "pytest-of-me" / "deep" / "kept").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "cache" / "sub").mkdir(parents=True)
    (tmp_path / "cache" / "sub" / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    assert files_in(tmp_path, besides=("pytest-of-*",)) == ["cache/sub/file", "empty", "link"]
    assert files_in(tmp_path / "empty") == []
