"""A service of a known capacity does what its rule says, also for clients that have gone; a load sends when it is due."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from typing import Any

import pandas as pd
import pytest

from lib.stage import limited
from lib.stage.waiting import wait_for

BOUNDS = {"any": (math.inf, math.inf), "one": (1, 1), "important": (0, 2)}


async def answer(service, request):
    if service.waiting >= service.bounds[request.important]:
        return 503
    service.waiting += 1
    async with service.slots:
        service.waiting -= 1
        await asyncio.sleep(request.takes)
    return 200


@pytest.fixture(scope="module")
def service():
    with limited.LimitedService(answer, BOUNDS, slots=1) as service:
        yield service


def ask_often(url: str, number: int, **parameters: float) -> Counter[int]:
    async def together() -> list[int]:
        return await asyncio.gather(
            *(limited.ask(url, patience=60, takes=1, **parameters) for _ in range(number))
        )

    return Counter(asyncio.run(together()))


@pytest.mark.parametrize(
    ("path", "important", "expected"),
    [
        ("any/1", 0, {200: 3}),
        ("one/1", 0, {200: 2, 503: 1}),
        ("one/two words", 0, {200: 2, 503: 1}),
        ("important/1", 0, {503: 3}),
        ("important/2", 1, {200: 3}),
    ],
)
def test_a_rule_bounds_the_queue_of_each_path(service, path: str, important: int, expected: Any) -> None:
    assert ask_often(f"{service.url}/{path}", 3, important=important) == expected
    assert service.answered()[f"/{path}"] == expected


def test_the_proxy_bounds_what_the_service_does_not(service) -> None:
    with service.behind_proxy(max_requests=1, max_wait=0.001) as proxy:
        assert ask_often(f"{proxy.url}/any/proxy", 3) == {200: 1, 503: 2}


def test_a_client_that_has_gone_is_answered_all_the_same(service) -> None:
    asked = limited.ask(f"{service.url}/any/gone", patience=0.3, takes=1)
    assert asyncio.run(asked) == limited.GIVEN_UP
    assert wait_for(lambda: service.answered().get("/any/gone") == {200: 1}, 60)
    assert asyncio.run(limited.ask("http://127.0.0.1:1/any", patience=5)) == limited.GIVEN_UP


def test_a_replay_waits_for_no_answer_and_cuts_off_what_is_late() -> None:
    async def send(row: Any) -> str:
        await asyncio.sleep(row.takes)
        return row.name

    due = pd.DataFrame({"arrived": [0.2, 0.0, 0.1], "takes": [0.0, 0.3, 60.0], "name": ["a", "b", "c"]})
    log = asyncio.run(limited.replay(due, send, until=2))
    assert log["result"].tolist()[:2] == ["a", "b"] and log["result"].isna()[2]
    assert log["latency"][1] >= 0.29 and math.isnan(log["latency"][2])
    with pytest.raises(AttributeError, match="name"):
        asyncio.run(limited.replay(due.drop(columns="name"), send, until=2))
