"""Wait in a test for something that another process does."""

from __future__ import annotations

from collections.abc import Callable

from lib.stage.waiting import wait_for


def until(true: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until it is true; fail after so many seconds."""
    assert wait_for(true, seconds), "it did not come true"
