"""Atomic writes: a reader sees the old content or the new content, even after a crash or a power cut."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def replace_file(path: str | os.PathLike[str], data: str | bytes, mode: int = 0o644) -> None:
    """Replace a file atomically; its content and its name are on disk when this returns.

    Concurrent writers do not disturb one another: each has its own temporary file in the same folder, and the last one wins.
    data: text is written as UTF-8. mode: the permissions of the file. Raises OSError, and leaves the old file as it was.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.urandom(4).hex()}.part")
    content = data.encode() if isinstance(data, str) else data
    try:
        with open(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Write a folder's entries to disk. Until then, a power cut may undo the renaming of a file."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF):  # some file systems cannot sync a folder
            raise
    finally:
        os.close(descriptor)
