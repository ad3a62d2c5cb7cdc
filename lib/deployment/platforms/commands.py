"""How the tools of a platform are called: `docker` and `kubectl`."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping

from lib.deployment.platform import PlatformError


def run(*command: str, env: Mapping[str, str] | None = None, remedy: str) -> str:
    """Run a command with further variables; return its output. Raises PlatformError with the end of its errors.

    remedy: what to do where there is no such command.
    """
    try:
        done = subprocess.run(
            command, env=os.environ | (env or {}), stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
    except FileNotFoundError as error:
        raise PlatformError(f"there is no command `{command[0]}`: {remedy}") from error
    if done.returncode:
        end = "\n    ".join(done.stderr.strip().splitlines()[-10:])
        raise PlatformError(f"{' '.join(command)} ended with status {done.returncode}:\n    {end}")
    return done.stdout
