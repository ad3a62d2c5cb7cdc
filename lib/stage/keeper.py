"""The keeper of an owner's containers: a process that ends with the owner, and then removes them (see `lib.stage.containers`).

    python -m lib.stage.keeper

First it removes the containers whose keeper was killed. Then it prints `kept` and the key that labels its own, and waits for SIGTERM.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from lib.stage.engine import engine

LABEL = "lessons.owner"


def process_key(pid: int) -> str:
    """Boot id, namespace, pid and start time: unique even after a pid is used again. Raises OSError when there is no such process."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    space = os.stat("/proc/self/ns/pid").st_ino
    state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    if state in "ZX":
        raise ProcessLookupError(f"process {pid} has ended")
    return f"{boot}.{space}.{pid}.{fields[18]}"


def has_ended(key: str) -> bool:
    """Whether the process with this key has ended. False for one of another machine or namespace, which cannot be seen from here."""
    boot, space, pid, _ = key.split(".")
    if not process_key(os.getpid()).startswith(f"{boot}.{space}."):
        return False
    try:
        return process_key(int(pid)) != key
    except OSError:
        return True


def remove(chosen: Callable[[str], bool]) -> None:
    """Remove the containers and networks of those owners whose key is chosen."""
    import docker

    client, labelled = engine(), {"label": LABEL}
    for container in client.containers.list(all=True, filters=labelled, ignore_removed=True):
        if chosen(container.labels[LABEL]):
            with suppress(docker.errors.NotFound):
                container.remove(force=True, v=True)
    for network in client.networks.list(filters=labelled):
        if chosen(network.attrs["Labels"][LABEL]):
            with suppress(docker.errors.NotFound):
                network.remove()


def keep() -> None:
    """Remove what killed keepers left, wait for the signal to stop, and remove what belongs to this keeper."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    mine = process_key(os.getpid())
    remove(has_ended)
    print("kept", mine, flush=True)
    signal.sigwait([signal.SIGTERM])
    remove(lambda key: key == mine)


if __name__ == "__main__":
    keep()
