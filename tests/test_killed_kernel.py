"""A kernel that is killed in the middle of a lesson leaves nothing: what the lesson has started ends with it.

The other lessons take longer to get to their middle: tests/integration/test_killed_kernels.py.
"""

from __future__ import annotations

import os
import signal
import tempfile
from pathlib import Path

import pytest
from jupyter_client.manager import KernelManager
from leftovers import descendants, still_running
from lessons import LESSONS, code_cells, read
from waiting import until

from lib.stage.waiting import wait_for

QUICK = ["02"]
#: The middle of each lesson that starts something: so many processes of this program run.
MIDDLE = {
    "00": ("haproxy", 1),
    "01": ("", 1),
    "02": ("celery", 2),
    "03": ("lib.stage.limited", 1),
    "06": ("postgres", 1),
    "07": ("celery", 2),
    "08": ("program.py", 2),
    "10": ("lib.deployment.service", 1),
    "11": ("lib.deployment.service", 1),
    "12": ("lib.deployment.service", 3),
    "13": ("celery", 3),
    "14": ("lib.deployment.service", 2),
    "15": ("lib.deployment.service", 2),
}
#: The cells that a lesson needs to come to its middle, where the others would only take time.
NEEDED = {"13": "setup parameters job job-loop bytes in-turn define-partitions parallel".split()}


def left_of(number: str) -> list[str | Path]:
    """Run a lesson up to its middle, kill its kernel by SIGKILL, and return what is still there a minute later.

    That is: processes, and the folders of servers. Files that the lesson's own cells have written to the temporary folder stay, since
    nobody is left to remove them; so the kernel gets a temporary folder for itself. Needs the lessons' folder as working directory, and a
    kernel that can import `lib`.
    """
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o711)  # servers that a lesson starts as an unprivileged user must be able to pass
        return left_in(Path(folder), number)


def left_in(folder: Path, number: str) -> list[str | Path]:
    """As `left_of`, with the temporary folder of the kernel."""
    program, least = MIDDLE[number]
    [path] = LESSONS.glob(f"{number}_*.ipynb")
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(cwd=str(LESSONS), env=os.environ | {"TMPDIR": str(folder)})
    client, found = manager.client(), dict[int, str]()

    def in_its_middle() -> bool:
        found.clear()
        found.update(descendants(kernel))
        return sum(program in command for command in found.values()) >= least

    def left() -> list[str | Path]:
        return [*still_running(found), *folder.glob("lessons-process-*")]

    try:
        client.start_channels()
        client.wait_for_ready(timeout=60)
        kernel = manager.provisioner.pid
        for cell in code_cells(read(path)):
            if cell.id in NEEDED.get(number, [cell.id]):
                client.execute(cell.source)  # one after the other: we do not wait for any
        until(in_its_middle, 600)
        os.kill(kernel, signal.SIGKILL)
        wait_for(lambda: not left(), 60)
        return left()
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


@pytest.mark.parametrize("number", QUICK)
def test_a_kill_leaves_nothing(number: str, kernel_path: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(LESSONS)
    assert left_of(number) == []
