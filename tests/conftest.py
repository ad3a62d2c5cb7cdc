"""What all tests share: the tools are importable, and Hypothesis repeats itself."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

# Derandomized, so that a test that passed in CI passes for a learner; without deadlines, since machines are busy.
settings.register_profile("steady", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("steady")


def pytest_configure(config: pytest.Config) -> None:
    """Know the mark of what must not share the machine with other tests."""
    config.addinivalue_line("markers", "measures: times things, so it runs alone")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """During `make test`, let a test that measures wait until the other process of xdist has ended its test, and hold it up."""
    run = os.environ.get("LESSON_RUN")
    if run is None:
        return (yield)
    alone = item.get_closest_marker("measures") is not None
    with ExitStack() as stack:

        def lock(name: str, kind: int) -> int:
            handle = os.open(Path(run) / name, os.O_CREAT | os.O_RDWR, 0o600)
            stack.callback(os.close, handle)
            fcntl.flock(handle, kind)
            stack.callback(fcntl.flock, handle, fcntl.LOCK_UN)  # in forked children too
            return handle

        # Whoever waits to be alone waits at the door, so that nobody else comes in before.
        door = lock("door.lock", fcntl.LOCK_EX)
        lock("machine.lock", fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(door, fcntl.LOCK_UN)
        return (yield)


@pytest.fixture
def kernel_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let kernels started by a test import `lib`, wherever their notebook lies and whether or not `lib` is installed."""
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    )
