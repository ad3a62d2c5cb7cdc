"""The state of the project's files, by which a run sees what it has written. tests/test_run_tests.py finds every kind of leftover."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from traces import repository_state

MADE_BY_TOOLS = ("build", "__pycache__", ".pytest_cache", ".ruff_cache", ".hypothesis", ".ipynb_checkpoints")


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


def test_what_is_written_made_or_removed_changes_the_state(repository: Path) -> None:
    before = repository_state(repository)
    for name in ("changed.txt", "new é.txt", "folder/made.txt"):
        (repository / name).parent.mkdir(exist_ok=True)
        (repository / name).write_text("written by a test")
    (repository / "kept.txt").unlink()
    after = repository_state(repository)
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert changed == {"changed.txt", "new é.txt", "folder/made.txt", "kept.txt"}


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
