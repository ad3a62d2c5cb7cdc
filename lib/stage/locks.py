"""A lock that ends with the process that holds it: one on a file, which the kernel gives up."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def file_lock(path: Path, holder: str = "") -> Iterator[bool]:
    """Hold the lock on a file, and then remove the file. Gives the block False if another process holds it.

    holder: what the file says as long as the lock is held. The file of a holder that was killed is no lock.
    """
    import fcntl

    handle, held = os.open(path, os.O_CREAT | os.O_RDWR, 0o644), False
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = os.path.samestat(os.fstat(handle), path.stat())  # not one just removed
        except (BlockingIOError, FileNotFoundError):
            held = False
        if held:
            os.truncate(handle, 0)
            os.write(handle, holder.encode())
        yield held
    finally:
        if held:
            path.unlink(missing_ok=True)
        os.close(handle)
