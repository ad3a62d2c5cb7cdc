"""Containers without an engine: what is told, and that all runs as processes then. With one: tests/integration."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from lib.stage import keeper
from lib.stage.containers import engine, private
from lib.stage.images import image
from lib.stage.keeper import identity
from lib.stage.processes import ProcessError
from lib.stage.servers import valkey


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No engine answers."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    private.cache_clear()
    yield
    private.cache_clear()


def test_the_remedy_is_named() -> None:
    with pytest.raises(
        ProcessError, match=r"No container engine answers \(.+\)\. Start Docker, or give .* DOCKER_HOST"
    ):
        engine()


def test_without_an_engine_one_warning_comes_and_processes_run() -> None:
    with (
        pytest.warns(UserWarning, match="Until then all runs as processes") as told,
        valkey(backend="docker") as first,
        valkey(backend="docker") as second,
    ):
        assert first.pid and second.pid and first.log and first.log.exists()
    assert [warning.category for warning in told].count(UserWarning) == 1


def test_another_backend_is_refused() -> None:
    with pytest.raises(ValueError, match="backend='podman': choose one of process, docker"):
        private("podman")  # type: ignore[arg-type]


def test_an_image_that_is_named_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LESSONS_IMAGE", "registry.example.org/pipelines:v1.0.0")
    assert image() == "registry.example.org/pipelines:v1.0.0"


def test_a_keeper_that_has_gone_is_told_from_one_that_lives_and_one_that_is_elsewhere() -> None:
    mine = identity(os.getpid())
    boot, space, pid, start = mine.split(".")
    assert not keeper._has_gone(mine)
    assert keeper._has_gone(
        f"{boot}.{space}.{pid}.{int(start) + 1}"
    )  # the number of the process was given anew
    assert keeper._has_gone(f"{boot}.{space}.4194305.{start}")
    assert not keeper._has_gone(f"00000000.{space}.4194305.{start}")
