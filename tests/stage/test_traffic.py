"""Traffic counts what it sees: each kind of failure, no request twice, and a standstill for all whom it hits."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest
from endpoints import OK, bare, server
from traffic_checks import assert_all_ok, sent_after
from waiting import until

from lib.stage.ports import free_port
from lib.stage.traffic import Traffic


def outcomes(url: str, number: int = 20, **options: float) -> Counter[str]:
    """What became of the first requests, at least so many of them."""
    with Traffic(url, rate=50, **options) as traffic:
        until(lambda: len(traffic.requests()) >= number)
    return Counter(traffic.requests()["outcome"])


def answering(*texts: bytes) -> Callable[[socket.socket, int], bool]:
    """Answer request after request of a connection with these; then end it."""

    def answer(connection: socket.socket, count: int) -> bool:
        connection.sendall(texts[count - 1])
        return count < len(texts)

    return answer


def reset(connection: socket.socket, _: int) -> bool:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def stale(connection: socket.socket, count: int) -> bool:
    """Answer once, stay, and end the connection when it is used again."""
    if count == 1:
        connection.sendall(OK)
    return count == 1


def mute(connection: socket.socket, _: int) -> bool:
    return True


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (answering(*[OK] * 1000), {"ok"}),
        (reset, {"reset"}),
        (answering(OK[:-1]), {"reset"}),
        (answering(b"no HTTP\r\n\r\n"), {"reset"}),
        (stale, {"ok", "reset"}),
        (mute, {"timeout"}),
        (answering(*[OK.replace(b"200 OK", b"503 Busy")] * 1000), {"5xx"}),
        (answering(*[OK.replace(b"200 OK", b"404 Gone")] * 1000), {"4xx"}),
    ],
    ids=["ok", "reset", "cut off", "nonsense", "stale", "timeout", "5xx", "4xx"],
)
def test_each_outcome_is_told(answer: Callable[[socket.socket, int], bool], expected: set[str]) -> None:
    with server(answer) as url:
        found = outcomes(url, timeout=0.5)
    assert set(found) == expected, found


def test_a_port_on_which_nobody_listens_refuses() -> None:
    assert set(outcomes(f"http://127.0.0.1:{free_port()}")) == {"refused"}


def test_no_request_is_sent_twice() -> None:
    seen = []

    def count(connection: socket.socket, number: int) -> bool:
        seen.append(number)
        return stale(connection, number)

    with server(count) as url, Traffic(url, rate=100) as traffic:
        until(lambda: (traffic.requests()["outcome"] == "reset").sum() >= 5)
    assert len(seen) == len(traffic.requests())


def test_a_standstill_is_seen_by_all_who_would_have_come() -> None:
    """A closed loop would have sent one request and waited; here each has its moment, and its wait counts from there."""
    still = threading.Event()
    begin: list[float] = []

    def answer(connection: socket.socket, _: int) -> bool:
        while still.is_set():
            time.sleep(0.01)
        connection.sendall(OK)
        return True

    with server(answer) as url, Traffic(url, rate=100, timeout=60) as traffic:
        still.set()
        begin.append(time.monotonic())
        time.sleep(1)
        end = time.monotonic()
        still.clear()
        sent_after(traffic, end)
    requests = traffic.requests()
    hit = requests[requests["due"].between(begin[0] + 0.1, end - 0.1)]
    assert len(hit) > 50 and set(hit["outcome"]) == {"ok"}, "the load goes on while nothing is answered"
    assert (hit["ended"] >= end).all() and hit["latency"].max() > 0.8


def test_requests_are_sent_when_they_are_due_and_no_earlier() -> None:
    with bare("one") as endpoint, Traffic(f"http://127.0.0.1:{endpoint.port}", rate=100) as traffic:
        sent_after(traffic, number=100)
    requests = traffic.requests()
    gaps = requests["due"].diff().dropna()
    assert gaps.mean() == pytest.approx(0.01) and gaps.std() < 1e-6
    assert (requests["sent"] >= requests["due"]).all() and (requests["ended"] >= requests["sent"]).all()
    assert (requests["latency"] == requests["ended"] - requests["due"]).all()
    assert_all_ok(requests)


def test_long_requests_are_always_under_way() -> None:
    with bare("one") as endpoint, Traffic(f"http://127.0.0.1:{endpoint.port}", rate=20, long=5) as traffic:
        until(lambda: (traffic.requests()["kind"] == "long").sum() >= 10)  # it can be looked at while it runs
    long = traffic.requests().query("kind == 'long'")
    ends = long["ended"].sort_values(ignore_index=True)
    middle = (ends[4] + ends[5]) / 2  # between the end of the first five and of the next
    assert ((long["sent"] < middle) & (long["ended"] > middle)).sum() == 5
    assert (long["latency"] > 0.99).all() and set(long["outcome"]) == {"ok"}
