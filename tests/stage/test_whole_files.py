"""Tests of files that are written whole: in which order they reach the disk, and writers at the same time."""

import errno
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from lib.stage.files import replace_file
from lib.versioning.files import whole_or_nothing


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What is asked of the operating system, in order: syncs of a file or folder, by its path, and renames."""
    found: list[tuple[str, ...]] = []
    fsync, replace = os.fsync, os.replace

    def seen_fsync(descriptor: int) -> None:
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        found.append(("sync", kind, os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    def seen_replace(part: Any, path: Any) -> None:
        found.append(("rename", os.fspath(part), os.fspath(path)))
        replace(part, path)

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(os, "replace", seen_replace)
    return found


def by_the_command_line(path: Path) -> None:
    with whole_or_nothing(str(path)) as (file,):
        file.write(b"new")


@pytest.mark.parametrize("write", [lambda path: replace_file(path, "new"), by_the_command_line])
def test_write_in_order(write: Callable[[Path], None], calls: list[tuple[str, ...]], tmp_path: Path) -> None:
    """The content is on the disk before the name, and the name at the end."""
    write(tmp_path / "state")
    part = calls[1][1]
    assert part != str(tmp_path / "state")
    renamed = ("rename", part, str(tmp_path / "state"))
    assert calls == [("sync", "file", part), renamed, ("sync", "folder", str(tmp_path))]
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("state", "new")]


def test_the_output_appears_after_the_quarantine(calls: list[tuple[str, ...]], tmp_path: Path) -> None:
    with whole_or_nothing(str(tmp_path / "out"), str(tmp_path / "quarantine")):
        pass
    assert [Path(call[2]).name for call in calls if call[0] == "rename"] == ["quarantine", "out"]


def test_writers_at_the_same_time_leave_what_one_of_them_wrote(tmp_path: Path) -> None:
    path, texts = tmp_path / "state", [letter * 100_000 for letter in "ab"]

    def write(text: str) -> str:
        replace_file(path, text)
        return path.read_text()

    with ThreadPoolExecutor(2) as threads:
        assert set(threads.map(write, texts * 100)) <= set(texts)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("number", "of_folders", "left"),
    [(errno.ENOSPC, False, "old"), (errno.EIO, True, "new"), (errno.EINVAL, True, "new")],
    ids=["a full disk", "a folder that is lost", "a file system that syncs no folders: no failure"],
)
def test_what_is_left_when_the_disk_does_not_take_it(
    number: int, of_folders: bool, left: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_file(tmp_path / "state", b"old", mode=0o600)

    def refuse(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) == of_folders:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    fails = nullcontext() if number == errno.EINVAL else pytest.raises(OSError, match=os.strerror(number))
    with fails:
        replace_file(tmp_path / "state", "new", mode=0o600)
    assert [path.read_text() for path in tmp_path.iterdir()] == [left]
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o600
