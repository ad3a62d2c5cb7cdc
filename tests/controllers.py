"""Controllers of a deployment that are killed in the middle of it."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def killed_at(
    step: str,
    command: Sequence[str],
    env: Mapping[str, str] | None = None,
    number: signal.Signals = signal.SIGKILL,
) -> tuple[int, str]:
    """Start a deployment, and send its controller a signal when it has told a step ("4/7"); return its status and errors."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, env=env, stdout=pipe, stderr=pipe, text=True) as controller:
        assert controller.stdout
        for line in controller.stdout:
            if line.startswith(f"[{step}"):
                controller.send_signal(number)
                _, errors = controller.communicate()
                return controller.returncode, errors
    raise AssertionError("it ended early")
