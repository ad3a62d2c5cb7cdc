"""Scraped by HTTP: what comes, what does not, and what is kept."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest
from endpoints import http_server
from waiting import until

from lib.deployment.replicas import answers
from lib.stage.ports import free_port
from lib.stage.scraping import Scraper, Target, fetch, parse

PAGE = """
# TYPE answers_total counter
answers_total{code="200"} %d
# TYPE answers_created gauge
answers_created{code="200"} 1.7e+09
"""


@pytest.fixture
def asked() -> list[str]:
    """The paths that were asked for, in order."""
    return []


@pytest.fixture
def address(asked: list[str]) -> Iterator[str]:
    """A path other than /metrics is broken in its own way."""

    def answer(request: BaseHTTPRequestHandler, _: str) -> tuple[int, str]:
        asked.append(request.path)
        bodies = {"/metrics": PAGE % len(asked), "/words": "these are no metrics"}
        return (200, bodies[request.path]) if request.path in bodies else (500, "")

    with http_server(answer) as url:
        yield url


def test_what_runs_here_is_asked_without_a_proxy(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(OSError, match="refused"):
        urllib.request.build_opener().open(f"{address}/metrics", timeout=5)  # the proxy that nobody runs
    assert parse(fetch(f"{address}/metrics"))
    assert answers(int(address.rpartition(":")[2]), "/metrics")


def test_rounds_are_kept_and_one_comes_after_the_end(address: str, asked: list[str]) -> None:
    with Scraper(lambda: {"a": Target("job", f"{address}/metrics")}, every=0.05) as scraper:
        until(lambda: len(asked) >= 5)
        before = len(asked)
    frame = scraper.read("answers_total")
    assert list(frame.columns) == ["at", "job", "instance", "code", "value"]
    assert len(frame) >= 5 and frame["at"].is_monotonic_increasing
    assert frame["value"].diff().iloc[1:].eq(1).all()
    assert frame["value"].iloc[-1] > before
    scraper.stop()
    assert len(scraper.read("answers_total")) == len(frame)
    with pytest.raises(KeyError, match=r"no sample of 'x'.*answers_total, up"):
        scraper.read("x")


def test_who_answers_wrongly_is_down_and_the_others_go_on(address: str, asked: list[str]) -> None:
    targets = {name: Target("job", f"{address}/{name}") for name in ("metrics", "words", "error")}
    targets["nobody"] = Target("job", "http://127.0.0.1:1/metrics")
    with Scraper(lambda: targets, every=0.05) as scraper:
        until(lambda: len(asked) >= 9)  # three answer in each round
    up = scraper.read("up")
    for name in targets:
        assert set(up.loc[up["instance"] == name, "value"]) == {float(name == "metrics")}
    assert up.groupby("at").size().eq(4).all(), "a round has one moment"


def test_targets_are_discovered_anew_for_each_round(address: str) -> None:
    targets: dict[str, Target] = {}
    rounds = []
    with Scraper(lambda: rounds.append(len(targets)) or targets, every=0.05) as scraper:
        assert rounds, "The first round is over before anything else happens."
        targets = {"late": Target("job", f"{address}/metrics")}
        until(lambda: rounds[-1] == 1)
    assert set(scraper.read("answers_total")["instance"]) == {"late"}
