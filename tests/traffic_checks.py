"""What tests ask of the log of a load: they count what has come, and never how long it took."""

from __future__ import annotations

import time
from collections import Counter

import pandas as pd
from waiting import until

from lib.deployment.replicas import call
from lib.stage.traffic import Traffic


def sent_after(traffic: Traffic, moment: float | None = None, number: int = 30) -> pd.DataFrame:
    """The requests that were sent after a moment (default: now), once so many of them have ended."""
    begin = time.monotonic() if moment is None else moment

    def after() -> pd.DataFrame:
        requests = traffic.requests()
        return requests[requests["sent"] > begin]

    until(lambda: len(after()) >= number)
    return after()


def assert_all_ok(requests: pd.DataFrame) -> None:
    """No request has failed."""
    found = Counter(requests["outcome"])
    assert found == {"ok": len(requests)}, found


def assert_no_write_is_lost(port: int, requests: pd.DataFrame) -> None:
    """Every user whose creation was acknowledged is read at this port."""
    users = requests.loc[(requests["kind"] == "write") & (requests["outcome"] == "ok"), "user"]
    assert len(users) and all(call(port, f"/users/{user}")[0] == 200 for user in users)


def colours(requests: pd.DataFrame) -> set[str]:
    """The colours that have served the requests: the router names replicas as in "blue-8001", or as in "blue1"."""
    return {name.rstrip("-0123456789") for name in requests["served_by"]}
