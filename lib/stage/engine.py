"""The container engine: found, asked, and its refusals explained."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lib.stage.programs import TAIL_LINES, ProcessError

if TYPE_CHECKING:
    import docker


def engine(timeout: int = 120) -> docker.DockerClient:
    """The container engine, of DOCKER_HOST or of this machine. Raises ProcessError, with a remedy, when none answers.

    timeout: seconds for each answer.
    """
    import docker

    try:
        client = docker.from_env(timeout=timeout)
        client.ping()
    except (docker.errors.DockerException, OSError) as error:
        raise ProcessError(
            f"No container engine answers ({str(error).splitlines()[0]}). Start Docker, or give the address of its socket in "
            "DOCKER_HOST; on Linux you must belong to the group docker"
        ) from error
    return client


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Raise what the engine refuses as ProcessError; the message starts with `what`."""
    import docker

    try:
        yield
    except docker.errors.BuildError as error:
        log = "".join(line.get("stream", "") for line in error.build_log).splitlines()
        raise ProcessError("\n    ".join([f"{what}: {error.msg}", *log[-TAIL_LINES:]])) from error
    except (docker.errors.DockerException, OSError) as error:  # the latter: the engine itself has gone
        raise ProcessError(f"{what}: {error}") from error
