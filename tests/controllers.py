"""Controllers of a deployment that are killed in the middle of it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def killed_at(step: str, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
    """Start a deployment, and kill its controller by SIGKILL when it has told a step ("4/7")."""
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) as controller:
        assert controller.stdout
        for line in controller.stdout:
            if line.startswith(f"[{step}"):
                controller.kill()
                return
    raise AssertionError("it ended early")
