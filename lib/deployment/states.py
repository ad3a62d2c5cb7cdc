"""What a deployment is on the way to, how far it came, and the file in which that stands."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Self, get_args

from lib.deployment.gates import Release
from lib.stage.files import replace_file
from lib.stage.router import COLOURS, Colour
from lib.versioning.sql import Phase

#: In their order. From each of them the way leads on, or back; but once all is baked, and the old colour goes, only on.
State = Literal[
    "idle", "planned", "compatible", "created", "healthy", "tested", "switched", "verified", "baked"
]
STATES: tuple[State, ...] = get_args(State)


@dataclass(frozen=True)
class Target:
    """What is deployed: a release, called by a name such as a tag, at a schema version, in a phase of its migration.

    tree: the folder with its files; None: those of the platform.
    """

    release: str
    version: int
    phase: Phase | None = None
    replicas: int = 1
    tree: str | None = None

    @property
    def schema(self) -> Release:
        return Release(self.version, self.phase)


@dataclass(frozen=True)
class Deployment:
    """All that stands in the file. `running` is what gets the traffic while nothing is under way, `colour` where it is."""

    state: State = "idle"
    running: Target | None = None
    colour: Colour = "green"
    coming: Target | None = None
    going_back: bool = False
    trail: tuple[dict[str, str], ...] = field(default=())

    @property
    def next_colour(self) -> Colour:
        return COLOURS[1 - COLOURS.index(self.colour)]

    @classmethod
    def read(cls, path: Path) -> Self:
        if not path.exists():
            return cls()
        values = json.loads(path.read_bytes())
        targets = {name: Target(**values[name]) if values[name] else None for name in ("running", "coming")}
        return cls(**(values | targets | {"trail": tuple(values["trail"])}))

    def noted(self, note: str) -> Self:
        """The same, with an entry more in the trail."""
        entry = {"at": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S.%f}", "state": self.state, "note": note}
        return replace(self, trail=(*self.trail, entry))

    def write(self, path: Path) -> None:
        """Write it so that it is there as a whole or not at all, whatever happens."""
        replace_file(path, json.dumps(asdict(self), indent=1))
