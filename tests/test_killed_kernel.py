"""A kernel that is killed in the middle of a lesson leaves no process: what the lesson has started dies with it."""

from __future__ import annotations

import os
import signal
import time

import pytest
from jupyter_client.manager import KernelManager
from lessons import LESSONS, code_cells, read
from traces import Process, processes, processes_of_run


def started_by(kernel: int) -> list[Process]:
    return [process for process in processes_of_run(kernel, "no run", os.getpid()) if process.pid != kernel]


@pytest.mark.parametrize(
    ("lesson", "program", "least"),
    [
        ("02_scaling_out_with_celery", "celery", 2),
        ("05_online_migrations", "postgres", 1),
        ("07_blue_green", "lib.deployment.service", 1),
    ],
)
def test_killed_in_the_middle_nothing_is_left_after_five_seconds(
    lesson: str, program: str, least: int, kernel_path: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(LESSONS)
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(cwd=str(LESSONS))
    client = manager.client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=60)
        kernel = manager.provisioner.pid
        for cell in code_cells(read(LESSONS / f"{lesson}.ipynb")):
            client.execute(cell.source)  # one after the other: we do not wait for any
        deadline, found = time.monotonic() + 120, list[Process]()
        while sum(program in process.command for process in found) < least:
            found = started_by(kernel)
            assert time.monotonic() < deadline, f"{lesson} started no {program}"
            time.sleep(0.05)
        os.kill(kernel, signal.SIGKILL)
        deadline, left = time.monotonic() + 5, found
        while left and time.monotonic() < deadline:
            time.sleep(0.05)
            alive = processes()
            left = [one for one in found if alive.get(one.pid) and alive[one.pid].command == one.command]
        assert left == [], f"{lesson}: still running: {left}"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()
