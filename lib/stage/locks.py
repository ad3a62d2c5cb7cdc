"""A file lock that ends with the process that holds it: the kernel releases it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lib.stage.waiting import wait_for


def take_lock(path: Path, *, wait: float = 0.0) -> int | None:
    """Lock a file and return its descriptor; None if another process still holds the lock after `wait` seconds.

    The lock lasts until the descriptor is closed, here and in each process that has inherited it.
    """
    import fcntl

    handles = list[int]()

    def take() -> bool:
        handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
        with suppress(BlockingIOError, FileNotFoundError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle), path.stat()):  # not one just removed
                handles.append(handle)
                return True
        os.close(handle)
        return False

    return handles[0] if wait_for(take, wait) else None


def note_holder(handle: int, holder: str) -> None:
    """Write into a locked file who holds the lock."""
    os.truncate(handle, 0)
    os.pwrite(handle, holder.encode(), 0)


@contextmanager
def file_lock(path: Path, holder: str = "", *, wait: float = 0.0) -> Iterator[bool]:
    """Hold a lock on a file, then remove the file. Yields False if another process still holds the lock after `wait` seconds.

    holder: the content of the file while the lock is held. A file left by a killed holder is not locked.
    """
    handle = take_lock(path, wait=wait)
    try:
        if handle is not None:
            note_holder(handle, holder)
        yield handle is not None
    finally:
        if handle is not None:
            path.unlink(missing_ok=True)
            os.close(handle)
