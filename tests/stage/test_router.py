"""A real proxy: its shares, its counts and its bounds, and nothing is forgotten. (A switch under traffic: lesson 10.)"""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

import pytest
from endpoints import Bare, bare, fetch, http_server
from traffic_checks import assert_all_ok, sent_after
from waiting import until

from lib.stage.router import COLOURS, Router
from lib.stage.scraping import fetch as fetch_metrics
from lib.stage.scraping import parse
from lib.stage.traffic import Traffic


@pytest.fixture
def blue() -> Iterator[Bare]:
    with bare("blue") as endpoint:
        yield endpoint


@pytest.fixture
def green() -> Iterator[Bare]:
    with bare("green") as endpoint:
        yield endpoint


@pytest.fixture
def router(blue: Bare, green: Bare) -> Iterator[Router]:
    with Router({"blue": [blue.port], "green": [green.port]}) as router:
        yield router


def served(router: Router, requests: int = 1) -> Counter[str]:
    return Counter(fetch(router.url)[0] for _ in range(requests))


def test_a_canary_gets_its_share(router: Router) -> None:
    router.canary(0.3)
    with ThreadPoolExecutor(4) as threads:
        green = sum(one["green"] for one in threads.map(lambda _: served(router, 100), range(10)))
    assert 230 < green < 370  # 300, and five standard deviations
    router.switch("green")
    assert served(router, 50) == {"green": 50}
    router.canary(1.0)
    assert served(router, 50) == {"blue": 50}
    router.canary(0.0)
    assert served(router, 50) == {"green": 50}


def test_killed_and_started_again_it_has_not_forgotten(router: Router, green: Bare) -> None:
    url = router.url
    router.set_replicas("blue", [green.port])
    router.switch("green")
    router.kill()
    with pytest.raises(OSError):
        fetch(url)
    with pytest.raises(OSError):
        router.switch("blue")
    router.start()
    assert (router.url, router.active, served(router, 10)) == (url, "blue", {"green": 10})


def test_calls_at_once_lose_no_change(router: Router) -> None:
    """A switch while replicas come."""
    actions = [
        lambda n: router.switch(COLOURS[n % 2]),
        lambda n: router.canary(n % 10 / 10),
        lambda n: router.set_replicas("blue", [1, *range(2, 2 + n)]),
        lambda n: router.set_replicas("green", [1, *range(2, 2 + n)]),
    ]
    with ThreadPoolExecutor(len(actions)) as threads:
        list(threads.map(lambda action: [action(number) for number in range(20)], actions))
    assert router.replicas == {"blue": list(range(1, 21)), "green": list(range(1, 21))}
    known = {row["svname"] for row in router._servers() if "MAINT" not in row["status"]}
    assert router.active == "green" and known == {f"{c}-{port}" for c in COLOURS for port in range(1, 21)}


def test_it_counts_what_users_got_and_begins_anew_at_the_same_address(blue: Bare) -> None:
    with Router({"blue": [blue.port]}) as router:

        def answers(code: str) -> float:
            name, labels = "haproxy_frontend_http_responses_total", {"proxy": "entry", "code": code}
            page = parse(fetch_metrics(router.metrics_url))
            return next(one.value for one in page if (one.name, one.labels) == (name, labels))

        served(router, 5)
        assert (answers("2xx"), answers("5xx")) == (5, 0)
        router.set_replicas("blue", [])
        with pytest.raises(HTTPError, match="503") as refused:
            fetch(router.url)
        refused.value.close()
        assert answers("5xx") == 1, "that no replica was there is counted, too"
        url = router.metrics_url
        router.kill()
        router.start()
        assert router.metrics_url == url and answers("2xx") == answers("5xx") == 0


@pytest.mark.parametrize("late", [False, True], ids=["there from the start", "came later"])
def test_reads_on_one_that_dies_are_answered_by_the_warm_colour(late: bool, blue: Bare, green: Bare) -> None:
    """As far as their answers have not begun; the proxy may send a read again, and never a write."""
    with Router({} if late else {"blue": [blue.port], "green": [green.port]}) as router:
        router.set_replicas("blue", [blue.port])
        router.set_replicas("green", [green.port])
        with Traffic(router.url, rate=50, long=10, timeout=20) as traffic:
            until(lambda: router.in_flight("blue") >= 10)
            blue.process.kill()
            assert sent_after(traffic)["served_by"].str.startswith("green").any(), "green stands in for blue"
            router.switch("green")
    requests = traffic.requests()
    assert Counter(requests["outcome"])["ok"] > 0.95 * len(requests), Counter(requests["outcome"])


@pytest.mark.parametrize(
    ("bounds", "taken", "refused"),
    [
        ({"max_requests": 5, "max_wait": None}, 5, 0),
        ({"max_requests": 5, "max_wait": 0.2}, 5, 35),
        ({"max_requests": None}, 40, 0),
    ],
    ids=["dropped when their clients go", "answered with 503 after a while", "unbounded: all are worked on"],
)
def test_what_waits_for_a_replica_is_not_its_work(bounds: dict[str, Any], taken: int, refused: int) -> None:
    """The replica is frozen while forty requests come. Those whose clients have gone cost it nothing once it works again."""
    thawed, seen = threading.Event(), set[str]()

    def answer(request: BaseHTTPRequestHandler, _: str) -> tuple[int, str]:
        seen.add(request.path)
        thawed.wait(60)
        return 200, request.path

    with http_server(answer) as url, Router({"blue": [urlsplit(url).port or 0]}, **bounds) as router:
        clients = {f"/{n}": socket.create_connection(("127.0.0.1", router.port)) for n in range(40)}
        for path, client in clients.items():
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        until(lambda: len(seen) == taken and router.in_flight("blue") == 40 - refused)
        waiting = [client for path, client in clients.items() if path not in seen]
        answers = [client.recv(12) for client in waiting[:refused]]
        for client in waiting:
            client.close()
        until(lambda: router.in_flight("blue") == taken)
        thawed.set()
        assert answers == [b"HTTP/1.1 503"] * refused and served(router) == {"/": 1}
        assert len(seen - {"/"}) == taken
        for path in seen - {"/"}:
            assert clients[path].recv(12).endswith(b" 200")
            clients[path].close()


@pytest.mark.long  # ten seconds: the bound itself
def test_a_client_that_does_not_end_its_request_is_cut_off(router: Router) -> None:
    with socket.create_connection(("127.0.0.1", router.port)) as client:
        client.sendall(b"GET / HTTP/1.1\r\n")
        assert client.recv(12) == b"HTTP/1.0 408"


def test_a_replica_that_went_is_forgotten_once_it_is_drained(router: Router, blue: Bare) -> None:
    def known() -> set[str]:
        return {row["svname"] for row in router._servers() if row["pxname"] == "blue"}

    with bare("blue-2") as second:
        before = known()
        for _ in range(3):
            router.set_replicas("blue", [blue.port, second.port])
            assert served(router, 4) == {"blue": 2, "blue-2": 2} and len(known()) == 3
            router.set_replicas("blue", [blue.port])
            assert known() == before
        with Traffic(router.url, rate=20, long=5) as traffic:
            until(lambda: router.in_flight("blue") >= 5)
            router.set_replicas("blue", [second.port])
            assert f"blue-{blue.port}" in known(), "it answers what it has taken"
            until(lambda: router.set_replicas("blue", [second.port]) or len(known()) == 2)
        assert_all_ok(traffic.requests())


def test_what_can_not_be_done_is_refused(router: Router) -> None:
    for wrong in ("red", "Blue", None):
        with pytest.raises(ValueError, match=f"colour {wrong!r}: choose one of blue, green"):
            router.switch(wrong)  # type: ignore[arg-type]
    for share in (-0.1, 1.1):
        with pytest.raises(ValueError, match="choose one from 0 to 1"):
            router.canary(share)
    assert (router.active, router.share) == ("blue", 0.0)
