"""Containers for tests: the engine, stand-ins of images, and projects of Docker Compose.

    def test_something(engine, compose):                         # fixtures of conftest.py
        engine.provide("postgres:17.6-bookworm")                 # official images can't be had here: stand-ins
        stack = compose("compose/docker-compose.scale.yml", env={"POSTGRES_PASSWORD": "…"})
        stack.up("--scale", "worker=5")                          # waits until all is healthy; is removed after the module
        stack("ps")                                              # any other command of docker compose

Whatever talks to an engine (the docker command, the SDK by `docker.from_env()`) finds it by itself, and a published port is one of
127.0.0.1. A stand-in is an image with the name of an official one, made of this distribution's packages by a Dockerfile in
`stand_ins/`: the same commands, users, variables and places, as far as the shipped files rely on them, but other releases.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STAND_INS = Path(__file__).with_name("stand_ins")
SYSTEM = "lessons/system"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
TAIL = 60  # lines of output that a failure shows


def run(
    *command: str | Path, check: bool = True, timeout: float = 600, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command in the repository's folder. With `check`, a status other than 0 fails the test and shows the output."""
    settings = {"cwd": ROOT, "env": {**os.environ, **(env or {})}, "stdin": subprocess.DEVNULL}
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, **settings)
    if check and done.returncode != 0:
        lines = (done.stdout + done.stderr).splitlines()[-TAIL:]
        raise AssertionError(f"{' '.join(map(str, command))}: status {done.returncode}\n" + "\n".join(lines))
    return done


class Engine:
    """The Docker Engine of this run."""

    #: Whether it was made for this run: then there are only stand-ins of official images.
    private = "INTEGRATION_SYSTEM" in os.environ

    def docker(self, *arguments: str | Path, check: bool = True, timeout: float = 600) -> str:
        """Run a docker command and return what it prints. A failure shows the end of its output."""
        return run("docker", *arguments, check=check, timeout=timeout).stdout

    def provide(self, *images: str) -> None:
        """See to it that images with these official names are there: `postgres:17.6-bookworm`, say."""
        for image in images if self.private else ():
            _stand_in(image)


@cache
def _stand_in(image: str) -> None:
    kind = image.partition(":")[0].rpartition("/")[2]
    folder = STAND_INS / kind
    assert folder.is_dir(), (
        f"{image}: no stand-in for it; there are {sorted(path.name for path in STAND_INS.iterdir())}"
    )
    _make_system()
    run("docker", "build", "--tag", image, "--build-arg", f"SYSTEM={SYSTEM}", folder)


@cache
def _make_system() -> None:
    """Import the system's archive, if that was not done for an earlier run, and let it trust whom this machine trusts."""
    archive = Path(os.environ["INTEGRATION_SYSTEM"])
    mark = f"{SYSTEM}:{archive.stat().st_mtime_ns}"
    if run("docker", "image", "inspect", mark, check=False).returncode == 0:
        return
    run("docker", "import", archive, f"{SYSTEM}-bare")
    folder = Path(os.environ["TMPDIR"]) / f"system-{secrets.token_hex(4)}"
    folder.mkdir()
    shutil.copy(CERTIFICATES, folder / "certificates.crt")
    (folder / "Dockerfile").write_text(
        f"FROM {SYSTEM}-bare\n"
        f"COPY certificates.crt {CERTIFICATES}\n"
        f"RUN printf '[global]\\ncert = {CERTIFICATES}\\n' > /etc/pip.conf\n"
    )
    try:
        run("docker", "build", "--tag", mark, "--tag", SYSTEM, folder)
    finally:
        shutil.rmtree(folder)


@dataclass(frozen=True)
class Stack:
    """A project of Docker Compose: call it with a command of `docker compose` and its arguments."""

    files: tuple[Path, ...]
    env: Mapping[str, str]
    project: str = field(default_factory=lambda: f"lessons-{secrets.token_hex(4)}")

    def __call__(self, *arguments: str | Path, check: bool = True, timeout: float = 600) -> str:
        """Run `docker compose …` and return what it prints. A failure shows the end of its output."""
        return self.run(*arguments, check=check, timeout=timeout).stdout

    def run(
        self, *arguments: str | Path, check: bool = True, timeout: float = 600
    ) -> subprocess.CompletedProcess[str]:
        """As a call, but also for the exit status and the errors."""
        files = [word for file in self.files for word in ("--file", file)]
        command = ["docker", "compose", "--project-name", self.project, *files, *arguments]
        return run(*command, check=check, timeout=timeout, env=self.env)

    def up(self, *arguments: str, timeout: float = 300) -> None:
        """Start all and wait until it is healthy. A failure shows the end of the logs, too."""
        try:
            options = ["--detach", "--wait", "--wait-timeout", str(int(timeout))]
            self("up", *options, *arguments, timeout=timeout + 60)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            state = self("ps", "--all", check=False) + self("logs", "--tail", "25", check=False)
            raise AssertionError(f"{error}\n{state}") from None

    def port(self, service: str, port: int) -> int:
        """The port of this machine at which a published one is to be found."""
        address = self("port", service, str(port)).strip()
        assert address.startswith("127.0.0.1:"), f"{service} is published at {address}, not on loopback"
        return int(address.rpartition(":")[2])

    def down(self) -> None:
        self("down", "--volumes", "--remove-orphans", "--timeout", "0", check=False)
