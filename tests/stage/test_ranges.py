"""Numbers out of their range are refused by their name, before anything starts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from lib.deployment.gates import health_gate, slo_gate
from lib.deployment.states import Release
from lib.deployment.strategies import Canary, Rolling
from lib.stage.live import LiveLoad
from lib.stage.ranges import check_range
from lib.stage.scraping import Scraper

NAN, INF = float("nan"), float("inf")
PLACES: dict[str, tuple[Callable[..., Any], list[float]]] = {
    "rate": (lambda **values: LiveLoad("", ["a"], **values), [0, -1, NAN, INF]),
    "every": (lambda **values: Scraper(dict, **values), [0, -1, NAN, INF]),
    "failed": (lambda **values: slo_gate(pd.DataFrame(), **values), [-0.1, 1.1, NAN]),
    "p99_s": (lambda **values: slo_gate(pd.DataFrame(), **values), [-1, NAN, INF]),
    "least": (lambda **values: slo_gate(pd.DataFrame(), **values), [-1, NAN]),
    "successes": (lambda **values: health_gate(bool, **values), [0, -1, NAN]),
    "interval": (lambda **values: health_gate(bool, **values), [-1, NAN, INF]),
    "replicas": (lambda **values: Release("v1", 1, **values), [0, -1, NAN]),
    "version": (lambda **values: Release("v1", **values), [0, -1, NAN]),
    "batch_size": (lambda **values: Rolling(None, ".", smoke_user={}, **values), [0, -1, NAN]),
    "pause": (lambda **values: Canary(None, ".", smoke_user={}, **values), [-1, NAN, INF]),
    "verify": (lambda **values: Canary(None, ".", smoke_user={}, **values), [-1, NAN, INF]),
}


@pytest.mark.parametrize("name", PLACES)
def test_a_number_out_of_its_range_is_refused_by_its_name(name: str) -> None:
    call, values = PLACES[name]
    for value in values:
        with pytest.raises(ValueError, match=f"^{name}={value}: (at least|choose one from) "):
            call(**{name: value})


def test_both_ends_of_a_range_and_what_was_not_given_pass() -> None:
    check_range(0, 1, first=0, last=1, none=None)
