"""Wait until something is true."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_for(true: Callable[[], object], timeout: float, pause: float = 0.02) -> bool:
    """Check every `pause` seconds whether something is true, for `timeout` seconds at most; return whether it is."""
    deadline = time.monotonic() + timeout
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True
