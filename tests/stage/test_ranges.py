"""Numbers out of their range are refused by their name, before anything starts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pandas as pd
import pytest

from lib.deployment.gates import health_gate, slo_gate
from lib.deployment.rollout import BlueGreen
from lib.deployment.states import Release
from lib.deployment.strategies import Canary, Rolling
from lib.scaling.partitions import upgrade_partitions
from lib.scaling.settings import Delivery
from lib.scaling.simulation import Cluster, simulate
from lib.scaling.workers import WorkerPool
from lib.scaling.workloads import Job, measure_curve
from lib.stage.live import LiveLoad
from lib.stage.ranges import check_range
from lib.stage.router import Router
from lib.stage.scraping import Scraper
from lib.stage.traffic import Load

NAN, INF = float("nan"), float("inf")
USER: dict[str, Any] = {"smoke_user": {}}


def watching(**objective: float) -> BlueGreen:
    return BlueGreen(None, ".", objective=objective, **USER)  # type: ignore[arg-type]


REFUSED: list[tuple[Callable[..., Any], dict[str, list[float]]]] = [
    (partial(LiveLoad, "", ["a"]), {"rate": [0, -1, NAN, INF]}),
    (partial(Scraper, dict), {"every": [0, -1, NAN, INF]}),
    (partial(Load, "http://127.0.0.1:1"), {"rate": [0, NAN], "timeout": [0, INF], "long": [-1]}),
    (partial(Load, "http://127.0.0.1:1"), {"writes": [-0.1, 1.1]}),
    (partial(Router, {}), {"port": [-1, 70_000], "max_requests": [0], "max_wait": [0.0, NAN]}),
    (partial(slo_gate, pd.DataFrame()), {"failed": [1.1, NAN], "p99_s": [NAN], "least": [-1]}),
    (partial(health_gate, bool), {"successes": [0], "failures": [0], "interval": [-1, NAN]}),
    (watching, {"failed": [-0.1, NAN], "p99_s": [-1, NAN, INF], "least": [-1]}),
    (partial(Release, "v1"), {"version": [0, NAN]}),
    (partial(Release, "v1", 1), {"replicas": [0, -1, NAN]}),
    (partial(BlueGreen, None, ".", **USER), {"verify": [-1, INF], "bake": [-1, NAN]}),
    (partial(Rolling, None, ".", **USER), {"batch_size": [0, -1, NAN]}),
    (partial(Canary, None, ".", **USER), {"pause": [-1, NAN, INF]}),
    (WorkerPool, {"workers": [-1, 1.5, NAN], "concurrency": [0, True]}),
    (Delivery, {"visibility_timeout": [0, NAN], "restore_interval": [-1]}),
    (partial(upgrade_partitions, None, "a", "b", 3), {"timeout": [-1, NAN]}),
    (partial(Cluster, service_s=1.0), {"workers": [0, 2.5]}),
    (partial(Cluster, 1), {"service_s": [0]}),
    (partial(Cluster, 1, 1.0), {"broker_limit": [0], "straggler_share": [1.5], "straggler_factor": [0]}),
    (partial(Cluster, 1, 1.0, straggler_factor=4), {"failure_s": [-1, 0.039], "restart_s": [-1]}),
    (partial(simulate, Cluster(1, 1.0)), {"tasks": [0, 1.5]}),
    (partial(simulate, Cluster(1, 1.0), tasks=1), {"rate": [0], "seed": [-1]}),
    (partial(Job, "cpu"), {"work_s": [-1], "shared_s": [-1], "cores": [1.5]}),
    (partial(measure_curve, Job("cpu"), [1]), {"rounds": [0], "seconds": [0, NAN]}),
]


@pytest.mark.parametrize(("call", "values"), REFUSED)
def test_a_number_out_of_its_range_is_refused_by_its_name(
    call: Callable[..., Any], values: dict[str, list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("a program was started"))
    for name, wrong in values.items():
        for value in wrong:
            message = f"^{name}={value}: (at least|choose one from|give a whole number)"
            with pytest.raises(ValueError, match=message):
                call(**{name: value})


def test_both_ends_of_a_range_and_what_was_not_given_pass() -> None:
    check_range(0, 1, first=0, last=1, none=None)
