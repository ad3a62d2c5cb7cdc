"""Canary deployment, and rolling deployment in batches, on the same state machine as blue-green."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lib.deployment.gates import Gate
from lib.deployment.platform import GradualPlatform
from lib.deployment.rollout import BlueGreen, DeploymentError, Steps, coming_of
from lib.deployment.states import Deployment, Release
from lib.stage.ranges import check_range
from lib.stage.router import Colour


class Canary(BlueGreen):
    """Canary deployment: the new colour gets growing shares of the traffic, and all of it only if each share passes.

    If a controller is killed between two shares, the next controller starts with the first share again.
    """

    platform: GradualPlatform

    def __init__(
        self, *arguments: Any, shares: Sequence[float] = (0.05, 0.25, 0.5), pause: float = 1.0, **options: Any
    ) -> None:
        """shares: of the traffic, each for `pause` seconds. The other arguments are those of BlueGreen."""
        super().__init__(*arguments, **options)
        if not all(0 < share <= 1 for share in shares) or list(shares) != sorted(shares):
            raise ValueError(f"shares={shares}: give shares from 0 to 1, each larger than the one before")
        check_range(0, pause=pause)
        self.shares, self.pause = tuple(shares), pause

    def _switch(self, now: Deployment) -> Gate:
        for share in self.shares:
            self.platform.canary(share)
            self.progress(f"canary: {share:.0%}")
            gate = self._watch(now, self.pause)
            if not gate.passed:
                return gate
        return super()._switch(now)


class Rolling(BlueGreen):
    """Rolling deployment: replaces the replicas of the active colour, a few at a time; the others keep serving.

    So old and new replicas run together. Its progress is read from the running replicas. Deploy the first release by BlueGreen.
    """

    platform: GradualPlatform

    def __init__(self, *arguments: Any, batch_size: int = 2, **options: Any) -> None:
        """batch_size: how many replicas are replaced together. The other arguments are those of BlueGreen."""
        super().__init__(*arguments, **options)
        check_range(1, batch_size=batch_size)
        self.batch_size = batch_size

    def plan(self, release: Release) -> list[str]:
        """See BlueGreen."""
        running, size = self._running(), self.batch_size
        batches = f"{-(-running.replicas // size)} batches of up to {size} replicas"
        return [
            f"compatible: {running.name} against {release.name}",
            f"verified: {batches} are drained, replaced, healthy, tested, watched",
            f"baked: all run for {self.bake:g} s",
        ]

    def deploy(self, release: Release) -> Deployment:
        """See BlueGreen. The number of replicas stays the same. Raises DeploymentError if this release is already running."""
        running = self._running()
        if release.same_code(running):
            raise DeploymentError(
                f"{release.name} runs already, so nothing would be replaced: give the new release another name"
            )
        return super().deploy(replace(release, replicas=running.replicas))

    def _running(self) -> Release:
        running = self.status().running
        if running is None:
            raise DeploymentError("nothing runs yet: deploy the first release by BlueGreen")
        return running

    def _new_colour(self, now: Deployment) -> Colour:
        return now.colour

    def _steps(self) -> Steps:
        return {
            "planned": (self._compatible, "compatible"),
            "compatible": (self._roll, "verified"),
            "verified": (lambda now: self._watch(now, self.bake), "baked"),
            "baked": (lambda _: Gate("done"), "idle"),
        }

    def _roll(self, now: Deployment) -> Gate:
        """Replace the replicas batch by batch; judge each batch before the next."""
        while True:
            try:
                replaced = self.platform.replace(now.colour, coming_of(now), self.batch_size)
            except RuntimeError as error:
                return Gate("replace", (str(error),))
            if not replaced:
                return Gate("rolling")
            self.progress(f"rolling: {replaced} replaced")
            for judge in (self._healthy, self._test, lambda now: self._watch(now, self.verify)):
                if not (gate := judge(now)).passed:
                    return gate

    def _back(self, now: Deployment) -> None:
        while self.platform.replace(now.colour, self._running(), self.batch_size):
            pass
