"""A platform in this process: the router is a process, the replicas are processes or containers. All end with this process."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from lib.deployment.platform import PATIENCE
from lib.deployment.replicas import Replica
from lib.deployment.states import Release
from lib.stage.containers import Backend
from lib.stage.programs import Running
from lib.stage.router import COLOURS, Colour, Router
from lib.stage.waiting import wait_for


class Local(Running):
    """A `GradualPlatform`. Threads may share it."""

    def __init__(
        self, database: str, *, faults: bool = False, backend: Backend = "process", **router: Any
    ) -> None:
        """Start the router, without replicas. faults, backend: see `Replica`. router: further options of `Router`."""
        self.database, self.faults, self.backend, self._lock = database, faults, backend, threading.RLock()
        self.replicas: dict[Colour, list[Replica]] = {colour: [] for colour in COLOURS}
        self.router = Router({}, **router)

    def create(self, colour: Colour, release: Release) -> list[int]:
        """See `Platform`."""
        self.replace(colour, release, len(self.replicas[colour]))
        return self.ports(colour)

    def replace(self, colour: Colour, release: Release, most: int) -> int:
        """See `GradualPlatform`. Dead replicas are removed too."""
        with self._lock:
            alive = [one for one in self.replicas[colour] if one.process.alive]
            others = [one for one in alive if not one.release.same_code(release)][:most]
            staying = [one for one in alive if one not in others]
            going = [one for one in self.replicas[colour] if one not in staying]
            self.replicas[colour] = staying
            self.router.set_replicas(colour, self.ports(colour))
            ports = [one.port for one in others]
            wait_for(lambda: self.router.in_flight(colour, ports) == 0, PATIENCE, pause=0.01)
            for one in going:
                one.stop()
            missing = release.replicas - len(staying)
            with ThreadPoolExecutor(max(1, missing)) as threads:
                options: dict[str, Any] = {"faults": self.faults, "backend": self.backend}
                starts = [threads.submit(Replica, self.database, release, **options) for _ in range(missing)]
            staying += [start.result() for start in starts if not start.exception()]
            for start in starts:
                start.result()  # raises if it did not start
            self.router.set_replicas(colour, self.ports(colour))
            return len(others)

    def ports(self, colour: Colour) -> list[int]:
        """See `Platform`."""
        return list(self.releases(colour))

    def releases(self, colour: Colour) -> dict[int, Release]:
        """Return the releases of the live replicas, by port."""
        return {one.port: one.release for one in self.replicas[colour] if one.process.alive}

    def retire(self, colour: Colour) -> None:
        """See `Platform`."""
        with self._lock:
            self.router.set_replicas(colour, [])
            while self.replicas[colour]:
                self.replicas[colour].pop().stop()

    def switch(self, colour: Colour) -> None:
        """See `Platform`."""
        self.router.switch(colour)

    def canary(self, share: float) -> None:
        """See `GradualPlatform`."""
        self.router.canary(share)

    def active(self) -> Colour:
        """See `Platform`."""
        return self.router.active

    def in_flight(self, colour: Colour) -> int:
        """See `Platform`."""
        return self.router.in_flight(colour)

    def stop(self) -> None:
        """Stop the router, then all replicas. May be repeated."""
        self.router.stop()
        for replicas in self.replicas.values():
            while replicas:
                replicas.pop().stop()
