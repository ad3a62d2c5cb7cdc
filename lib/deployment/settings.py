"""The settings of the demo service, apart from it: starting a replica loads nothing of the service itself."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import Self

VARIABLE = "LESSONS_SERVICE"


@dataclass(frozen=True)
class ServiceSettings:
    """What a replica has to know. faults: whether it misbehaves on request, as lessons need it."""

    database: str
    version: int
    release: str = "unnamed"
    faults: bool = False

    def to_environment(self) -> dict[str, str]:
        """The settings as a variable: an argument could be read by everyone, and there is a password in them."""
        return {VARIABLE: json.dumps(asdict(self))}

    @classmethod
    def from_environment(cls) -> Self:
        """The settings in the variable. Raises SystemExit if it is not set."""
        if VARIABLE not in os.environ:
            raise SystemExit(f"{VARIABLE} is not set: start the service by lib.deployment.replicas")
        return cls(**json.loads(os.environ[VARIABLE]))
