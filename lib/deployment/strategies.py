"""Other ways to roll out, on the same machine of states: canary, and rolling in batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from lib.deployment.gates import Gate
from lib.deployment.platform import GradualPlatform
from lib.deployment.rollout import BlueGreen, DeploymentError
from lib.deployment.states import Deployment, State, Target
from lib.stage.router import Colour


class Canary(BlueGreen):
    """Gives the new colour a small share of the traffic first, then larger ones, and all of it only if each went well.

    A controller that is killed between two shares begins with the first one again.
    """

    platform: GradualPlatform

    def __init__(
        self, *arguments: Any, shares: Sequence[float] = (0.05, 0.25, 0.5), pause: float = 1.0, **options: Any
    ) -> None:
        """shares: of the traffic, each for `pause` seconds. The others are those of BlueGreen."""
        super().__init__(*arguments, **options)
        if not all(0 < share <= 1 for share in shares) or list(shares) != sorted(shares):
            raise ValueError(f"shares={shares}: choose some from 0 to 1, each larger than the one before")
        self.shares, self.pause = tuple(shares), pause

    def _switch(self, now: Deployment) -> Gate:
        for share in self.shares:
            self.platform.canary(share)
            if self.progress:
                self.progress(f"canary: {share:.0%}")
            gate = self._watch(now, self.pause)
            if not gate.passed:
                return gate
        return super()._switch(now)

    def plan(self, target: Target) -> list[str]:
        lines = super().plan(target)
        shares = ", ".join(f"{share:.0%}" for share in self.shares)
        lines[4] += f", after {shares} of it, each for {self.pause:g} s"
        return lines


class Rolling(BlueGreen):
    """Replaces the replicas of the active colour, a few at a time; the others serve meanwhile, so old and new run together.

    How far it came is read from what runs. The first release comes by BlueGreen.
    """

    platform: GradualPlatform

    def __init__(self, *arguments: Any, batch_size: int = 2, **options: Any) -> None:
        """batch_size: replicas that are replaced together. The others are those of BlueGreen."""
        super().__init__(*arguments, **options)
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: at least 1")
        self.batch_size = batch_size

    def plan(self, target: Target) -> list[str]:
        running = self._running()
        batches = -(-running.replicas // self.batch_size)
        return [
            f"compatible: {running.release} against {target.release}",
            *(f"batch {n} of {batches}: up to {self.batch_size} replicas drained, replaced, healthy, tested, watched"
              for n in range(1, batches + 1)),
            f"baked: all run for {self.bake:g} s",
        ]  # fmt: skip

    def deploy(self, target: Target) -> Deployment:
        return super().deploy(replace(target, replicas=self._running().replicas))

    def _running(self) -> Target:
        running = self.status().running
        if running is None:
            raise DeploymentError("nothing runs yet: deploy the first release by BlueGreen")
        return running

    def _new_colour(self, now: Deployment) -> Colour:
        return now.colour

    def _steps(self) -> dict[State, tuple[Callable[[Deployment], Gate], State]]:
        return {
            "planned": (self._compatible, "compatible"),
            "compatible": (self._roll, "verified"),
            "verified": (self._bake, "baked"),
            "baked": (lambda _: Gate("done"), "idle"),
        }

    def _after(self, now: Deployment, state: State) -> Deployment:
        return replace(super()._after(now, state), colour=now.colour)

    def _roll(self, now: Deployment) -> Gate:
        """Batch by batch, each judged before the next."""
        coming = now.coming
        assert coming is not None
        while batch := self._ports_of_others(now.colour, coming)[: self.batch_size]:
            try:
                self._replace(now.colour, batch, coming)
            except RuntimeError as error:
                return Gate("replace", (str(error),))
            if self.progress:
                self.progress(f"rolling: {len(batch)} replaced")
            for judge in (self._healthy, self._test, self._verify):
                if not (gate := judge(now)).passed:
                    return gate
        return Gate("rolling")

    def _ports_of_others(self, colour: Colour, target: Target) -> list[int]:
        return [
            int(port) for port, release in self.platform.releases(colour).items() if release != target.release
        ]

    def _replace(self, colour: Colour, ports: list[int], target: Target) -> None:
        self.platform.replace(colour, ports, target.release, target.version, target.replicas, target.tree)

    def _back(self, now: Deployment) -> None:
        assert now.running is not None
        while True:  # at least once, for a replica may be missing
            self._replace(
                now.colour, self._ports_of_others(now.colour, now.running)[: self.batch_size], now.running
            )
            if not self._ports_of_others(now.colour, now.running):
                break
        self._write(replace(now, state="idle", coming=None, going_back=False), f"back from {now.state}")
