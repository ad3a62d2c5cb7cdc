"""What tests of processes and of servers share."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from leftovers import left_in


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The directory for temporary files, of this test alone. Not `tmp_path`: root's is closed to other users."""
    directory = Path(tempfile.mkdtemp(prefix="test-stage-"))
    directory.chmod(0o755)
    monkeypatch.setenv("TMPDIR", str(directory))
    monkeypatch.setattr("tempfile.tempdir", str(directory))
    yield directory
    left = left_in(directory)
    shutil.rmtree(directory)
    assert left == []
