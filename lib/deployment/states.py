"""What is deployed, how far that came, and the file that remembers it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Self, get_args

from lib.stage.files import replace_file
from lib.stage.ranges import check_range
from lib.stage.router import Colour, other_colour
from lib.versioning.sql import PHASES, Phase

#: In order. From each of them a deployment goes on, or back. From "baked", when the old colour is being retired, it only goes on.
State = Literal[
    "idle", "planned", "compatible", "created", "healthy", "tested", "switched", "verified", "baked"
]
STATES: tuple[State, ...] = get_args(State)


@dataclass(frozen=True)
class Release:
    """Code that reads and writes at a schema version, and how many replicas of it are to run.

    name: such as a tag. phase: of the migration to the version; in "expand" and "backfill" the release also writes the form of
    the version before. tree: the folder with its files; None: those of the platform.
    """

    name: str
    version: int
    phase: Phase | None = None
    replicas: int = 1
    tree: str | None = None

    def __post_init__(self) -> None:
        if self.phase not in (None, *PHASES):
            raise ValueError(f"phase {self.phase!r}: choose one of {', '.join(PHASES)}, or None")
        check_range(1, replicas=self.replicas, version=self.version)

    @property
    def writes_both(self) -> bool:
        """Until contract, when the last release that knows only the old form has gone, both forms are written."""
        return self.phase in ("expand", "backfill")

    def same_code(self, other: Release) -> bool:
        """Whether one is the other, but for the number of replicas."""
        return replace(self, replicas=other.replicas) == other


@dataclass(frozen=True)
class Deployment:
    """The content of the file. `running` gets the traffic while nothing is under way, in `colour`; `coming` is under way.

    before: what ran until `running` replaced it.
    """

    state: State
    running: Release | None = None
    colour: Colour = "green"
    coming: Release | None = None
    going_back: bool = False
    trail: tuple[dict[str, str], ...] = ()
    before: Release | None = None

    @property
    def next_colour(self) -> Colour:
        return other_colour(self.colour)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read it from a file. Raises OSError, or ValueError if it holds none."""
        from msgspec.json import decode  # slow to import

        return decode(path.read_bytes(), type=cls)

    def write(self, path: Path, note: str) -> None:
        """Write it as a whole, with one more entry in the trail; it is on the disk when this returns."""
        entry = {"at": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S.%f}", "state": self.state, "note": note}
        replace_file(path, json.dumps(asdict(replace(self, trail=(*self.trail, entry))), indent=1))
