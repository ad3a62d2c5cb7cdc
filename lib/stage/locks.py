"""A lock that ends with the process that holds it: one on a file, which the kernel gives up."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def file_lock(path: Path, holder: str = "") -> tuple[Callable[[], bool], Callable[[], Any]]:
    """Return two functions: one takes the lock on a file and says whether it could; the other releases it and removes the file.

    holder: what the file says as long as the lock is held. The file of a holder that was killed is no lock.
    """
    import fcntl

    held: list[int] = []

    def attempt() -> bool:
        handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle), path.stat()):  # not one just removed
                os.truncate(handle, 0)
                os.write(handle, holder.encode())
                held.append(handle)
        except (BlockingIOError, FileNotFoundError):
            pass
        finally:
            if not held:
                os.close(handle)
        return bool(held)

    def release() -> None:
        try:
            path.unlink(missing_ok=True)
        finally:
            os.close(held.pop())

    return attempt, release
