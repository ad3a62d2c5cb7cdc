"""Traffic counts what it sees: each kind of failure, no request twice, and a standstill for all whom it hits."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from endpoints import OK, bare, server
from waiting import until

from lib.stage.ports import free_port
from lib.stage.processes import ProcessError
from lib.stage.traffic import Load, Traffic, summary

ROOT = Path(__file__).parents[2]


def outcomes(url: str, seconds: float = 0.7, **options: float) -> Counter[str]:
    with Traffic(url, rate=50, **options) as traffic:
        time.sleep(seconds)
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
        (stale, {"ok", "stale"}),
        (mute, {"timeout"}),
        (answering(*[OK.replace(b"200 OK", b"503 Busy")] * 1000), {"5xx"}),
        (answering(*[OK.replace(b"200 OK", b"404 Gone")] * 1000), {"4xx"}),
    ],
    ids=["ok", "reset", "cut off", "nonsense", "stale", "timeout", "5xx", "4xx"],
)
def test_each_outcome_is_told(answer: Callable[[socket.socket, int], bool], expected: set[str]) -> None:
    with server(answer) as url:
        found = outcomes(url, timeout=0.5)
    assert set(found) == expected and found.total() >= 15, found


def test_a_port_on_which_nobody_listens_refuses() -> None:
    assert set(outcomes(f"http://127.0.0.1:{free_port()}")) == {"refused"}


def test_no_request_is_sent_twice() -> None:
    seen = []

    def count(connection: socket.socket, number: int) -> bool:
        seen.append(number)
        return stale(connection, number)

    with server(count) as url, Traffic(url, rate=100) as traffic:
        time.sleep(1)
    assert Counter(traffic.requests()["outcome"])["stale"] >= 5
    assert len(seen) == len(traffic.requests())


def test_a_standstill_is_seen_by_all_who_would_have_come() -> None:
    """A closed loop would have sent one request and waited; here each has its moment, and its wait counts from there."""
    still = [time.monotonic() + 0.5, time.monotonic() + 1.5]

    def answer(connection: socket.socket, _: int) -> bool:
        if still[0] < time.monotonic() < still[1]:
            time.sleep(still[1] - time.monotonic())
        connection.sendall(OK)
        return True

    with server(answer) as url, Traffic(url, rate=100) as traffic:
        still[:] = [time.monotonic() + 0.3, time.monotonic() + 1.3]
        time.sleep(2)
    requests = traffic.requests()
    hit = requests[requests["due"].between(still[0], still[1] - 0.1)]
    assert len(hit) > 70 and set(hit["outcome"]) == {"ok"}
    assert ((hit["due"] + hit["latency"]) >= still[1] - 0.01).all()
    assert summary(requests)["longest, ms"] > 900


@pytest.mark.parametrize("poisson", [False, True])
def test_the_rate_is_kept_and_requests_come_when_they_are_due(poisson: bool) -> None:
    with (
        bare("one") as endpoint,
        Traffic(f"http://127.0.0.1:{endpoint.port}", rate=100, poisson=poisson) as traffic,
    ):
        time.sleep(3)
    requests = traffic.requests()
    gaps = requests["due"].diff().dropna()
    assert gaps.mean() == pytest.approx(0.01, rel=0.2 if poisson else 0.01)
    assert gaps.std() == pytest.approx(0.01, rel=0.3) if poisson else gaps.std() < 1e-6
    assert (requests["sent"] >= requests["due"]).all() and (requests["ended"] >= requests["sent"]).all()
    assert (requests["latency"] == requests["ended"] - requests["due"]).all()
    assert summary(requests)["failed"] == 0


def test_long_requests_are_always_under_way() -> None:
    with bare("one") as endpoint, Traffic(f"http://127.0.0.1:{endpoint.port}", rate=20, long=5) as traffic:
        time.sleep(2.5)
        assert len(traffic.requests()) < 80  # it can be looked at while it runs
    long = traffic.requests().query("kind == 'long'")
    middle = long["sent"].min() + 1.5
    assert ((long["sent"] < middle) & (long["ended"] > middle)).sum() == 5
    assert (long["latency"] > 0.99).all() and set(long["outcome"]) == {"ok"}


def test_an_owner_killed_leaves_no_traffic() -> None:
    with bare("one") as endpoint:
        code = f"""
import time
from lib.stage.traffic import Traffic
traffic = Traffic("http://127.0.0.1:{endpoint.port}")
print(traffic._process.pid, flush=True)
time.sleep(300)
"""
        environ = os.environ | {"PYTHONPATH": str(ROOT)}
        with subprocess.Popen(
            [sys.executable, "-c", code], env=environ, stdout=subprocess.PIPE, text=True
        ) as owner:
            assert owner.stdout
            pid = int(owner.stdout.readline())
            assert Path(f"/proc/{pid}").exists()
            owner.kill()
            until(lambda: not Path(f"/proc/{pid}").exists(), 5)


def test_bad_options_are_refused() -> None:
    for options in ({"rate": 0}, {"timeout": 0}, {"long": -1}, {"writes": 1.1}):
        with pytest.raises(
            ValueError, match="the first two above 0, the third not below, the last from 0 to 1"
        ):
            Load("http://127.0.0.1:1", **options)
    with pytest.raises(TypeError, match="no_such"):
        Traffic("http://127.0.0.1:1", no_such=1)
    with pytest.raises(ProcessError, match="The traffic ended with status 1"):
        Traffic("http://127.0.0.1:1", seed=[])
