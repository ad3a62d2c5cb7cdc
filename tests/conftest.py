"""What all tests share: the tools are importable, and Hypothesis repeats itself."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

# Derandomized, so that a test that passed in CI passes for a learner; without deadlines, since machines are busy.
settings.register_profile("steady", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("steady")


def pytest_configure(config: pytest.Config) -> None:
    """Know the mark of what must not share the machine with other tests."""
    config.addinivalue_line("markers", "measures: times things, so it runs alone")


@pytest.fixture
def kernel_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let kernels started by a test import `lib`, wherever their notebook lies and whether or not `lib` is installed."""
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    )
