"""What a rollout acts on: replicas in two colours, and a router in front of them.

The controller of a rollout never owns them, because it may be killed at any moment. Their owner is the kernel of a lesson, a
process that stays (`lib.deployment.platforms.detached`), or a container engine.
"""

from __future__ import annotations

from typing import Protocol

from lib.deployment.states import Release
from lib.stage.programs import ProcessError
from lib.stage.router import Colour

PATIENCE = 30.0  # seconds that replicas get to answer what they have taken


class PlatformError(ProcessError):
    """A platform failed, or does not answer; the message says why."""


class AbsentError(PlatformError):
    """There is no platform, or there is none any more."""


class Platform(Protocol):
    """Two colours, as `BlueGreen` needs them. Each call may be repeated, and then does what is left to do."""

    def create(self, colour: Colour, release: Release) -> list[int]:
        """Run as many replicas of a release as it asks for, and nothing else, in a colour; return their ports.

        They get traffic once their colour does. Raises RuntimeError if a replica does not get ready.
        """

    def ports(self, colour: Colour) -> list[int]:
        """The ports of 127.0.0.1 on which the replicas that are alive listen."""

    def retire(self, colour: Colour) -> None:
        """Stop the replicas of a colour, once they have answered what they have taken."""

    def switch(self, colour: Colour) -> None:
        """Send all traffic to a colour."""

    def active(self) -> Colour:
        """The colour that gets the traffic. A platform that may be absent raises AbsentError then."""

    def in_flight(self, colour: Colour) -> int:
        """How many requests a colour is serving."""


class GradualPlatform(Platform, Protocol):
    """A platform that can also do what `Canary` and `Rolling` need."""

    def replace(self, colour: Colour, release: Release, most: int) -> int:
        """Drain and stop at most so many replicas of other releases, and start as many as are then missing; return how many went."""

    def canary(self, share: float) -> None:
        """Send a share of the traffic to the colour that is not active."""


class LastingPlatform(Platform, Protocol):
    """A platform that outlives its controllers: it is started and removed on command."""

    most_replicas: int  # of one colour

    def exists(self) -> bool:
        """Whether anything of it is there."""

    def start(self, port: int) -> str:
        """Start what does not run of database and router; return the address of the router. port: 0 for a free one."""

    def died(self) -> list[str]:
        """The names of what should run and does not, of database and router; `start` brings them back."""

    def down(self) -> None:
        """Stop and remove all of it, the data too."""
