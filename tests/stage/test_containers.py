"""Containers without an engine: what the errors say, and that all runs as processes then. With one: tests/integration."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lib.stage.containers import docker_network
from lib.stage.servers import valkey


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No engine answers."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    docker_network.cache_clear()
    yield
    docker_network.cache_clear()


def test_without_an_engine_one_warning_comes_and_processes_run() -> None:
    with (
        pytest.warns(UserWarning, match="Until then everything runs as processes") as warned,
        valkey(backend="docker") as first,
        valkey(backend="docker") as second,
    ):
        assert first.process and first.process.log and second.process and second.process.log
    assert [warning.category for warning in warned].count(UserWarning) == 1


def test_another_backend_is_refused() -> None:
    with pytest.raises(ValueError, match="backend='podman': choose one of process, docker"):
        docker_network("podman")  # type: ignore[arg-type]
