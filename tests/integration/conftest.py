"""What tests share that need containers. `make test-integration` prepares an engine and runs them in its network; see containers.py."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from containers import ROOT, Engine, Stack


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The Docker Engine; without one the test is skipped."""
    if reason := os.environ.get("INTEGRATION_SKIP"):
        pytest.skip(reason)
    if "LESSON_RUN" not in os.environ:
        pytest.skip("`make test-integration` prepares an engine")
    return Engine()


@pytest.fixture(scope="module")
def compose(engine: Engine) -> Iterator[Callable[..., Stack]]:
    """`compose(file, …, env={…})` makes a project of shipped files (and overrides); it is taken down after the module."""
    with_all = list[Stack]()

    def make(*files: str | Path, env: Mapping[str, str] | None = None) -> Stack:
        with_all.append(Stack(tuple(ROOT / file for file in files), env or {}))
        return with_all[-1]

    yield make
    for stack in with_all:
        stack.down()
