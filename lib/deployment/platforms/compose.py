"""Blue and green as services of Docker Compose, managed by `docker compose`.

The services are declared in `compose/docker-compose.deploy.yml`, and the engine owns the containers. So no process of ours has
to keep running: if a controller is killed, everything stays as it was, and the next controller finds it by the project's name.
Each replica is published on a port of 127.0.0.1, where the gates reach it. The router finds the replicas of a colour by the
engine's name service.

The replicas that a lesson runs in containers (`lib.deployment.replicas`) end with their owner. Both use the same release image.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from lib.deployment.platform import PATIENCE, AbsentError, PlatformError
from lib.deployment.states import Release
from lib.stage.containers import ROOT, check_engine, image
from lib.stage.files import replace_file
from lib.stage.ports import free_port
from lib.stage.programs import run
from lib.stage.router import COLOURS, Colour, statistics
from lib.stage.waiting import wait_for

FILE = ROOT / "compose" / "docker-compose.deploy.yml"
MAP = "colours.map"
UP = ("up", "--detach", "--wait", "--wait-timeout", "120")
#: The router's runtime API can only be reached from inside its container, whose image has only bash for this.
ASK = 'exec 3<>/dev/tcp/127.0.0.1/9999 && printf "%s\\n" "$1" >&3 && cat <&3'


class Compose:
    """A project of Docker Compose, named after the state directory: a `LastingPlatform`."""

    most_replicas = 10  # slots in `router/haproxy.cfg` for each colour

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.project = f"deploy-{hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:8]}"
        self._variables, self._map = self.directory / "compose.env", self.directory / "routes" / MAP

    def exists(self) -> bool:
        """See `LastingPlatform`."""
        return self._variables.exists() and bool(self._containers())

    def start(self, port: int) -> str:
        """See `LastingPlatform`."""
        check_engine()  # without an engine, there is nothing to record
        if not self._variables.exists():
            password = os.urandom(16).hex()
            self._map.parent.mkdir(parents=True, exist_ok=True)
            self._set(
                COMPOSE_PROJECT_NAME=self.project,
                POSTGRES_PASSWORD=password,
                DATABASE_URL=f"postgresql+psycopg://postgres:{password}@database:5432/postgres",
                ROUTER_PORT=str(port or free_port()),
                ROUTES=str(self._map.parent),
            )
            replace_file(self._map, "active blue\n")
        self._compose(*UP, "database", "router")
        return f"http://127.0.0.1:{self._get()['ROUTER_PORT']}"

    def died(self) -> list[str]:
        """See `LastingPlatform`."""
        up = {one["Service"] for one in self._containers() if one["State"] == "running"}
        return [name for name in ("database", "router") if name not in up]

    def down(self) -> None:
        """See `LastingPlatform`. Images stay."""
        if self._variables.exists():
            self._compose("down", "--volumes", "--timeout", "10")
            self._map.unlink(missing_ok=True)
            self._variables.unlink()

    def create(self, colour: Colour, release: Release) -> list[int]:
        """See `Platform`."""
        values = {"RELEASE": release.name, "SCHEMA": release.version, "REPLICAS": release.replicas}
        values |= {"IMAGE": image(Path(release.tree or ROOT))}
        self._set(**{f"{colour.upper()}_{name}": str(value) for name, value in values.items()})
        self._compose(*UP, colour)

        def found() -> bool:
            up = sum(row["status"].startswith("UP") for row in self._servers(colour))
            return up >= 2 * release.replicas  # each replica is in both backends

        if not wait_for(found, PATIENCE):
            raise PlatformError(f"the router does not find {release.replicas} replicas of {colour}")
        return self.ports(colour)

    def ports(self, colour: Colour) -> list[int]:
        """See `Platform`."""
        places = [place for one in self._containers(colour) for place in one["Publishers"]]
        return sorted(place["PublishedPort"] for place in places if place["PublishedPort"])

    def retire(self, colour: Colour) -> None:
        """See `Platform`."""
        self._compose("stop", "--timeout", str(round(PATIENCE)), colour)
        self._compose("rm", "--force", colour)

    def switch(self, colour: Colour) -> None:
        """See `Platform`."""
        replace_file(self._map, f"active {colour}\n")  # for a router that restarts
        if answer := self._ask(f"set map /routes/{MAP} active {colour}"):
            raise PlatformError(f"the router refused to switch to {colour}: {answer}")

    def active(self) -> Colour:
        """See `Platform`."""
        if not self._map.exists():
            raise AbsentError(f"{self._map}: there is no platform")
        words = self._map.read_text(errors="replace").split()
        if len(words) != 2 or words[1] not in COLOURS:
            raise PlatformError(
                f"{self._map}: cannot be read ({words}): write `active blue` or `active green` into it"
            )
        return words[1]  # type: ignore[return-value]

    def in_flight(self, colour: Colour) -> int:
        """See `Platform`."""
        served = sum(int(row["scur"]) for row in self._servers(colour))
        return served + sum(int(row["qcur"]) for row in statistics(self._ask, 2, colour))

    # ── What they are made of ────────────────────────────────────────────────────────────────────────────────────

    def _containers(self, *services: str) -> list[dict[str, Any]]:
        """Return what Compose reports for each container of the project, or of some services, including ended containers."""
        lines = self._compose("ps", "--all", "--format", "json", *services).splitlines()
        return [json.loads(line) for line in lines]

    def _ask(self, command: str) -> str:
        """Send a command to the router's runtime API; return the answer."""
        return self._compose("exec", "--no-TTY", "router", "bash", "-c", ASK, "ask", command).strip()

    def _servers(self, colour: Colour) -> list[dict[str, str]]:
        """Return the router's statistics of a colour's replicas: one row for each replica in each of the two backends."""
        return [row for row in statistics(self._ask, 4) if row["svname"].startswith(colour)]

    def _get(self) -> dict[str, str]:
        """Return the variables of the Compose file."""
        lines = self._variables.read_text().splitlines() if self._variables.exists() else []
        return dict(line.split("=", 1) for line in lines)

    def _set(self, **variables: str) -> None:
        lines = [f"{name}={value}\n" for name, value in (self._get() | variables).items()]
        replace_file(self._variables, "".join(lines), mode=0o600)

    def _compose(self, *arguments: str) -> str:
        remedy = "install it, and its plugin `compose`"
        return run("docker", "compose", "--file", str(FILE), *arguments, env=self._get(), remedy=remedy)
