"""The state of a deployment, and the file that stores it."""

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

#: In order. From each state a deployment can go on or back. From "baked", while the old colour is being retired, it can only go on.
State = Literal[
    "idle", "planned", "compatible", "created", "healthy", "tested", "switched", "verified", "baked"
]
STATES: tuple[State, ...] = get_args(State)


@dataclass(frozen=True)
class Release:
    """A release: code that reads and writes at a schema version, and its number of replicas.

    name: such as a tag.
    phase: of the migration to the version; in "expand" and "backfill" the release also writes the previous version's form.
    tree: the folder with its files; None: the files of the platform.
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
        """Whether it writes both forms: until contract, when no release that knows only the old form runs any more."""
        return self.phase in ("expand", "backfill")

    def same_code(self, other: Release) -> bool:
        """Whether two releases are equal except for the number of replicas."""
        return replace(self, replicas=other.replicas) == other


@dataclass(frozen=True)
class Deployment:
    """The content of the state file: release `running` serves in `colour`, and release `coming` is being deployed.

    before: the release that ran before `running`.
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
        """Read it from a file. Raises OSError, or ValueError if the file does not hold a deployment."""
        from msgspec.json import decode  # slow to import

        return decode(path.read_bytes(), type=cls)

    def write(self, path: Path, note: str) -> None:
        """Write it atomically, with one more entry in the audit trail; it is on disk when this returns."""
        entry = {"at": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S.%f}", "state": self.state, "note": note}
        replace_file(path, json.dumps(asdict(replace(self, trail=(*self.trail, entry))), indent=1))
