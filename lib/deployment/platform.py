"""The platform of a rollout: replicas in two colours, and a router in front of them.

The controller of a rollout never owns them, because it may be killed at any time. Their owner is the kernel of a lesson, a
process that keeps running (`lib.deployment.platforms.detached`), or a container engine.
"""

from __future__ import annotations

from typing import Protocol

from lib.deployment.states import Release
from lib.stage.programs import ProcessError
from lib.stage.router import Colour

PATIENCE = 30.0  # seconds for replicas to drain: to answer the requests they have accepted


class PlatformError(ProcessError):
    """A platform failed or does not answer; the message gives the reason."""


class AbsentError(PlatformError):
    """There is no platform, or it has ended."""


class Platform(Protocol):
    """Two colours, as `BlueGreen` needs them. Calls are idempotent: a repeated call does only what is left to do."""

    def create(self, colour: Colour, release: Release) -> list[int]:
        """Run exactly the replicas that a release specifies in a colour; return their ports.

        They get traffic once their colour is active. Raises RuntimeError if a replica does not become ready.
        """

    def ports(self, colour: Colour) -> list[int]:
        """Return the ports of 127.0.0.1 on which the live replicas listen."""

    def retire(self, colour: Colour) -> None:
        """Stop the replicas of a colour, once they have answered the requests they have accepted."""

    def switch(self, colour: Colour) -> None:
        """Send all traffic to a colour."""

    def active(self) -> Colour:
        """Return the colour that gets the traffic. Raises AbsentError if there is no platform."""

    def in_flight(self, colour: Colour) -> int:
        """Count the requests that a colour is serving."""


class GradualPlatform(Platform, Protocol):
    """A platform that can also do what `Canary` and `Rolling` need."""

    def replace(self, colour: Colour, release: Release, most: int) -> int:
        """Drain and stop at most `most` replicas of other releases, start as many as are missing then; return how many were stopped."""

    def canary(self, share: float) -> None:
        """Send a share of the traffic to the colour that is not active."""


class LastingPlatform(Platform, Protocol):
    """A platform that outlives its controllers: it is started and removed on command."""

    most_replicas: int  # of one colour

    def exists(self) -> bool:
        """Whether any part of it exists."""

    def start(self, port: int) -> str:
        """Start the database and the router unless they run; return the router's address. port: 0: a free one."""

    def died(self) -> list[str]:
        """Return which of database and router should run but do not; `start` restarts them."""

    def down(self) -> None:
        """Stop and remove everything, including the data."""
