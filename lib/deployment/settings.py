"""What a replica of the demo service is told, by whoever starts it: here, so that starting one loads nothing of the service itself."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import Self

VARIABLE = "LESSONS_SERVICE"


@dataclass(frozen=True)
class Settings:
    """What a replica has to know. `faults`: whether it may be told to misbehave, as lessons do."""

    database: str
    version: int
    release: str = "unnamed"
    faults: bool = False

    def to_environment(self) -> dict[str, str]:
        """A variable, not an argument: it holds a password, and everyone may read arguments."""
        return {VARIABLE: json.dumps(asdict(self))}

    @classmethod
    def from_environment(cls) -> Self:
        if VARIABLE not in os.environ:
            raise SystemExit(f"{VARIABLE} is not set: start the service by lib.deployment.replicas")
        return cls(**json.loads(os.environ[VARIABLE]))
