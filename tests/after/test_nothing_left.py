"""After a run: no process of ours is alive, and nothing was written where it does not belong.

`tools/run_tests.py` runs this last, in a call of its own; alone there is no run to look back on.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from leftovers import descendants, files_in, still_running
from run_tests import COPY
from traces import MARK, repository_state

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 10.0  # seconds: what a killed kernel has started needs a moment to notice


@pytest.fixture
def run() -> Path:
    if MARK not in os.environ:
        pytest.skip("looks back on a whole run: `make test` ends with it")
    return Path(os.environ[MARK])


@pytest.fixture
def before(run: Path) -> dict[str, Any]:
    return json.loads((run / "before.json").read_text(encoding="utf-8"))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a run adopt its orphans")
def test_no_process_is_left(before: dict[str, Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while (left := still_running(descendants(before["pid"]))) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left, "still running:\n" + "\n".join(left)


def test_the_repository_is_as_before(before: dict[str, Any]) -> None:
    assert repository_state(ROOT) == before["repository"]


def test_the_copy_that_lessons_ran_in_holds_nothing_else(run: Path) -> None:
    if not (run / COPY).exists():
        pytest.skip("no lesson has run")
    assert repository_state(run / COPY) == repository_state(ROOT)


def test_nothing_was_written_in_the_home_folder(run: Path) -> None:
    assert files_in(run / "home") == []


def test_the_temporary_folder_holds_only_what_others_keep(run: Path) -> None:
    """pytest keeps the folders of its last runs, Jupyter the connection file of a kernel that was killed."""
    assert files_in(run / "t", besides=("pytest-of-*", "tmp????????.json")) == []
