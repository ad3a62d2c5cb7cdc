"""The search for what a run leaves behind finds each kind of leftover, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from traces import MARK, files_in, processes, processes_of_run, repository_state
from waiting import until

RUN = "a run of this test"
NOBODY = 2**22 + 1  # larger than any number of a process
MADE_BY_TOOLS = ("build", "__pycache__", ".pytest_cache", ".ruff_cache", ".hypothesis", ".ipynb_checkpoints")
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


def test_a_daemon_is_found_by_its_mark(daemon: int) -> None:
    def found() -> list[str]:
        return [str(process) for process in processes_of_run(NOBODY, RUN, os.getpid())]

    until(lambda: found() == [f"process {daemon}: sleep 60"])


def test_a_process_without_the_mark_is_found_by_its_descent() -> None:
    """PostgreSQL and others overwrite their environment."""
    environ = {name: value for name, value in os.environ.items() if name != MARK}
    root = subprocess.Popen(["sh", "-c", "sleep 60 & wait"], env=environ, start_new_session=True)

    def commands() -> list[str]:
        return sorted(process.command for process in processes_of_run(root.pid, RUN, os.getpid()))

    try:
        until(lambda: commands() == ["sh -c sleep 60 & wait", "sleep 60"])
    finally:
        os.killpg(root.pid, 9)
        root.wait()
    assert commands() == []


def test_the_watcher_its_ancestors_and_zombies_do_not_count() -> None:
    """This process has other children too, when another test's server is still running: these do count."""
    with subprocess.Popen(["true"], env={**os.environ, MARK: RUN}) as zombie:
        until(lambda: zombie.pid not in processes())
        assert Path(f"/proc/{zombie.pid}").exists()
        found = {process.pid for process in processes_of_run(os.getppid(), RUN, os.getpid())}
        assert not found & {zombie.pid, os.getpid(), os.getppid()}


@pytest.fixture(params=["git", "zip"])
def repository(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A project with a file, one that is changed, and one that is new: as a checkout, and as a zip without `.git`."""
    (tmp_path / "kept.txt").write_text("kept")
    (tmp_path / "changed.txt").write_text("as committed")
    (tmp_path / ".gitignore").write_text("".join(f"{name}/\n" for name in MADE_BY_TOOLS))
    git = ["git", "-C", str(tmp_path), "-c", "user.name=Test", "-c", "user.email=test@example.org"]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "all"]):
        if request.param == "git":
            subprocess.run([*git, *command], check=True)
    (tmp_path / "changed.txt").write_text("changed before the run")
    (tmp_path / "new é.txt").write_text("not yet added")
    return tmp_path


def test_an_untouched_repository_has_the_same_state(repository: Path) -> None:
    before = repository_state(repository)
    assert set(before) == {".gitignore", "kept.txt", "changed.txt", "new é.txt"}
    for name in MADE_BY_TOOLS:
        (repository / name).mkdir()
        (repository / name / "any.txt").write_text("any")
    os.utime(repository / "kept.txt")
    assert repository_state(repository) == before


@pytest.mark.parametrize("name", ["kept.txt", "changed.txt", "new é.txt", "folder/made.txt"])
def test_a_file_that_is_written_changes_the_state(repository: Path, name: str) -> None:
    before = repository_state(repository)
    (repository / name).parent.mkdir(exist_ok=True)
    (repository / name).write_text("written by a test")
    after = repository_state(repository)
    assert [path for path in after if after[path] != before.get(path)] == [name]


def test_a_file_that_is_removed_changes_the_state(repository: Path) -> None:
    before = repository_state(repository)
    (repository / "kept.txt").unlink()
    assert set(before) - set(repository_state(repository)) == {"kept.txt"}


def test_what_the_user_has_configured_does_not_count(
    repository: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path_factory.mktemp("home")
    (home / ".config" / "git").mkdir(parents=True)
    (home / ".config" / "git" / "ignore").write_text("*.txt\n", encoding="utf-8")
    before = repository_state(repository)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    assert repository_state(repository) == before


def test_files_are_listed_with_empty_folders_and_dangling_links(tmp_path: Path) -> None:
    (tmp_path / "pytest-of-me" / "deep").mkdir(parents=True)
    (tmp_path / "pytest-of-me" / "deep" / "kept").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "cache" / "sub").mkdir(parents=True)
    (tmp_path / "cache" / "sub" / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    assert files_in(tmp_path, besides=("pytest-of-*",)) == ["cache/sub/file", "empty", "link"]
