"""The keeper of an owner's containers: it runs as a process that ends with the owner, and removes them then (see `lib.stage.containers`).

    python -m lib.stage.keeper

First it removes those whose keeper has gone, then it prints `kept`, and waits for SIGTERM.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import docker

LABEL = "lessons.owner"


def identity(pid: int) -> str:
    """What tells a process from all others, later ones and those of other machines included. Raises OSError when there is none."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    space = os.stat("/proc/self/ns/pid").st_ino
    state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    if state in "ZX":
        raise ProcessLookupError(f"process {pid} has ended")
    return f"{boot}.{space}.{pid}.{fields[18]}"


def _has_gone(owner: str) -> bool:
    """Whether the keeper that a label names has gone; False where that can't be seen from here."""
    here, pid = identity(os.getpid()), owner.split(".")[2]
    if owner.split(".")[:2] != here.split(".")[:2]:
        return False
    try:
        return identity(int(pid)) != owner
    except OSError:
        return True


def _keep() -> None:
    """Remove what others have left; wait for the signal to stop; remove what belongs to this keeper."""
    from lib.stage.containers import engine

    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    client, mine = engine(), identity(os.getpid())
    _remove(client, {owner for owner in _owners(client) if _has_gone(owner)})
    print("kept", flush=True)
    signal.sigwait([signal.SIGTERM])
    _remove(client, {mine})


def _owners(client: docker.DockerClient) -> set[str]:
    found = [
        *client.containers.list(all=True, filters={"label": LABEL}, ignore_removed=True),
        *client.networks.list(filters={"label": LABEL}),
    ]
    return {(one.attrs.get("Labels") or one.attrs["Config"]["Labels"])[LABEL] for one in found}


def _remove(client: docker.DockerClient, owners: set[str]) -> None:
    import docker

    for owner in owners:
        label = {"label": f"{LABEL}={owner}"}
        for container in client.containers.list(all=True, filters=label, ignore_removed=True):
            with suppress(docker.errors.NotFound):
                container.remove(force=True, v=True)
        for network in client.networks.list(filters=label):
            with suppress(docker.errors.NotFound):
                network.remove()


if __name__ == "__main__":
    _keep()
