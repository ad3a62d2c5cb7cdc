"""The project's folders, and the environment variables of its programs."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STATE = ROOT / ".state"


def activated(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables of a process that is to use this Python's environment (`.venv`, or conda's), its scripts and its kernel."""
    path = os.pathsep.join(filter(None, [str(Path(sys.executable).parent), environ.get("PATH")]))
    own = {"VIRTUAL_ENV": sys.prefix} if sys.prefix != sys.base_prefix else {}
    return {**environ, **own, "PATH": path, "JUPYTER_PREFER_ENV_PATH": "1"}
