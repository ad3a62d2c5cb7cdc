"""Blue and green as services of Docker Compose: changed by `docker compose`, looked at through the engine.

All that runs stands in `compose/docker-compose.deploy.yml`, and the engine owns it. So no process of ours has to stay, and a
controller that is killed leaves everything as it was: the next one finds it by the name of the project. Each replica is published
on a port of 127.0.0.1, where the gates reach it as they reach a process; the router finds the replicas of a colour by the engine's
name service.

The replicas that a lesson runs in containers (`lib.deployment.replicas`) are another matter: they end with their owner. What both
share is the image of a release.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import subprocess
import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from lib.deployment.platform import PATIENCE, PlatformError
from lib.stage.containers import ROOT
from lib.stage.engine import engine, explained
from lib.stage.files import replace_file
from lib.stage.images import PORT, image
from lib.stage.ports import free_port
from lib.stage.router import Colour

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

FILE = ROOT / "compose" / "docker-compose.deploy.yml"
PROJECT, SERVICE = "com.docker.compose.project", "com.docker.compose.service"  # labels that Compose gives
MAP = "colours.map"
START = 120  # seconds that a start may take
#: The runtime API of HAProxy listens in its container only, whose image has bash, and no other program that could talk to it.
ASK = 'exec 3<>/dev/tcp/127.0.0.1/9999 && printf "%s\\n" "$1" >&3 && cat <&3'


class Compose:
    """A project of Docker Compose, called by the state directory: a platform for `BlueGreen`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.project = f"deploy-{hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:8]}"
        self._file = self.directory / "compose.env"

    # ── The whole ────────────────────────────────────────────────────────────────────────────────────────────────

    def exists(self) -> bool:
        """Whether anything of it is there."""
        return self._file.exists() and bool(self._containers(everything=True))

    def start(self, port: int) -> str:
        """Start the database and the router where they don't run; return the router's address. Port 0: a free one."""
        _ = self._client  # else there is no engine, and nothing to write down
        if not self._file.exists():
            password, routes = os.urandom(16).hex(), self.directory / "routes"
            routes.mkdir(parents=True, exist_ok=True)
            self._set(
                COMPOSE_PROJECT_NAME=self.project,
                POSTGRES_PASSWORD=password,
                DATABASE_URL=f"postgresql+psycopg://postgres:{password}@database:5432/postgres",
                ROUTER_PORT=str(port or free_port()),
                ROUTES=str(routes),
            )
            self._note("blue")
        self._compose("up", "--detach", "--wait", "--wait-timeout", str(START), "database", "router")
        return f"http://127.0.0.1:{self._settings()['ROUTER_PORT']}"

    def down(self) -> None:
        """Remove all, the data too; images stay."""
        if not self.exists():
            print("nothing is running")
        if self._file.exists():
            self._compose("down", "--volumes", "--timeout", "10")
            (self.directory / "routes" / MAP).unlink(missing_ok=True)
            self._file.unlink()

    # ── See `Platform` ───────────────────────────────────────────────────────────────────────────────────────────

    def create(
        self, colour: Colour, release: str, version: int, count: int, tree: str | None = None
    ) -> list[int]:
        told = {"IMAGE": image(Path(tree or ROOT)), "RELEASE": release, "SCHEMA": version, "REPLICAS": count}
        self._set(**{f"{colour.upper()}_{name}": str(value) for name, value in told.items()})
        self._compose("up", "--detach", "--wait", "--wait-timeout", str(START), colour)
        deadline = time.monotonic() + PATIENCE
        while sum(row["status"].startswith("UP") for row in self._servers(colour)) < 2 * count:
            if time.monotonic() > deadline:  # in both backends, for each colour stands in for the other
                raise PlatformError(
                    f"the router has not found {count} replicas of {colour} in {PATIENCE:g} s"
                )
            time.sleep(0.05)
        return self.ports(colour)

    def ports(self, colour: Colour) -> list[int]:
        published = [one.ports.get(f"{PORT}/tcp") for one in self._containers(colour)]
        return sorted(int(addresses[0]["HostPort"]) for addresses in published if addresses)

    def retire(self, colour: Colour) -> None:
        self._compose("stop", "--timeout", str(round(PATIENCE)), colour)
        self._compose("rm", "--force", colour)

    def switch(self, colour: Colour) -> None:
        self._note(colour)
        if told := self._ask(f"set map /routes/{MAP} active {colour}"):
            raise PlatformError(f"the router, told to switch to {colour}: {told}")

    def active(self) -> Colour:
        return (self.directory / "routes" / MAP).read_text().split()[1]  # type: ignore[return-value]

    def in_flight(self, colour: Colour) -> int:
        return sum(int(row["scur"]) for row in self._servers(colour))

    # ── What they are made of ────────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def _client(self) -> docker.DockerClient:
        return engine()

    def _containers(self, service: str | None = None, *, everything: bool = False) -> list[Container]:
        labels = [f"{PROJECT}={self.project}", *([f"{SERVICE}={service}"] if service else [])]
        with explained("The containers of the project"):
            return self._client.containers.list(
                all=everything, filters={"label": labels}, ignore_removed=True
            )

    def _ask(self, command: str) -> str:
        """Send a command to the router's runtime API; return the answer."""
        for router in self._containers("router"):
            with explained("The router"):
                status, output = router.exec_run(["bash", "-c", ASK, "ask", command])
            if status == 0:
                return output.decode().strip()
        raise PlatformError("the router does not answer: `docker compose ps` and `logs` say why")

    def _servers(self, colour: Colour) -> list[dict[str, str]]:
        """What the router knows of the replicas of a colour: a row for each, in each of the two backends."""
        table = csv.DictReader(self._ask("show stat -1 4 -1").removeprefix("# ").splitlines())
        return [row for row in table if row["svname"].startswith(colour)]

    def _note(self, colour: Colour) -> None:
        """Write who is active where a router that starts again reads it."""
        replace_file(self.directory / "routes" / MAP, f"active {colour}\n")

    def _settings(self) -> dict[str, str]:
        """The variables of the Compose file."""
        lines = self._file.read_text().splitlines() if self._file.exists() else []
        return dict(line.split("=", 1) for line in lines)

    def _set(self, **settings: str) -> None:
        told = self._settings() | settings
        replace_file(self._file, "".join(f"{name}={value}\n" for name, value in told.items()), mode=0o600)

    def _compose(self, *arguments: str) -> None:
        command = ["docker", "compose", "--file", str(FILE), *arguments]
        try:
            done = subprocess.run(
                command,
                env=os.environ | self._settings(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
            )
        except FileNotFoundError as error:
            raise PlatformError(
                "there is no command `docker`: install Docker, and its plugin Compose"
            ) from error
        if done.returncode:
            told = "\n    ".join(done.stderr.strip().splitlines()[-10:])
            raise PlatformError(
                f"docker compose {json.dumps(arguments)} ended with {done.returncode}:\n    {told}"
            )
