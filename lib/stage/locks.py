"""A lock that ends with the process that holds it: one on a file, which the kernel gives up."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lib.stage.waiting import wait_for


@contextmanager
def file_lock(path: Path, holder: str = "", *, wait: float = 0.0) -> Iterator[bool]:
    """Hold the lock on a file, and then remove the file. Gives the block False if another process holds it for `wait` seconds.

    holder: what the file says as long as the lock is held. The file of a holder that was killed is no lock.
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

    held = wait_for(take, wait)
    try:
        for handle in handles:
            os.truncate(handle, 0)
            os.write(handle, holder.encode())
        yield held
    finally:
        for handle in handles:
            path.unlink(missing_ok=True)
            os.close(handle)
