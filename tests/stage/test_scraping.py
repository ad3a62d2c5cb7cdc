"""Scraped by HTTP: what comes, what does not, and what is kept."""

from __future__ import annotations

import http.server
import threading
import urllib.request
from collections.abc import Iterator

import pytest
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


class Page(http.server.BaseHTTPRequestHandler):
    """Counts who asks. A path other than /metrics is broken in its own way."""

    asked = 0

    def do_GET(self) -> None:
        Page.asked += 1
        body = {"/metrics": PAGE % Page.asked, "/words": "these are no metrics"}.get(self.path, "")
        self.send_response(200 if body else 500)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def address() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_samples_have_name_labels_and_value() -> None:
    [sample] = parse(PAGE % 7)
    assert sample[:3] == ("answers_total", {"code": "200"}, 7.0)


def test_what_runs_here_is_asked_directly_whatever_proxy_is_set(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(OSError, match="refused"):
        urllib.request.build_opener().open(f"{address}/metrics", timeout=5)  # the proxy that nobody runs
    assert parse(fetch(f"{address}/metrics"))
    assert answers(int(address.rpartition(":")[2]), "/metrics")


def test_rounds_are_kept_and_one_comes_after_the_end(address: str) -> None:
    with Scraper(lambda: {"a": Target("job", f"{address}/metrics")}, every=0.05) as scraper:
        first = Page.asked
        until(lambda: Page.asked >= first + 5)
        before = Page.asked
    frame = scraper.read("answers_total")
    assert list(frame.columns) == ["at", "job", "instance", "code", "value"]
    assert (
        len(frame) >= 5 and frame["at"].is_monotonic_increasing and frame["value"].diff().iloc[1:].eq(1).all()
    )
    assert frame["value"].iloc[-1] > before
    scraper.stop()
    assert len(scraper.read("answers_total")) == len(frame)
    with pytest.raises(KeyError, match=r"no sample of 'x'.*answers_total, up"):
        scraper.read("x")


def test_who_does_not_answer_as_he_should_is_down_and_the_others_go_on(address: str) -> None:
    targets = {name: Target("job", f"{address}/{name}") for name in ("metrics", "words", "error")}
    targets["nobody"] = Target("job", "http://127.0.0.1:1/metrics")
    with Scraper(lambda: targets, every=0.05) as scraper:
        asked = Page.asked
        until(lambda: Page.asked >= asked + 9)  # three answer in each round
    up = scraper.read("up")
    assert up.groupby("instance")["value"].agg(["min", "max"]).T.to_dict() == {
        name: {"min": float(name == "metrics"), "max": float(name == "metrics")} for name in targets
    }
    assert up.groupby("at").size().eq(4).all(), "a round has one moment"


def test_targets_are_discovered_anew_for_each_round(address: str) -> None:
    targets: dict[str, Target] = {}
    rounds = []
    with Scraper(lambda: rounds.append(len(targets)) or targets, every=0.05) as scraper:
        until(lambda: len(rounds) >= 2)
        targets = {"late": Target("job", f"{address}/metrics")}
        until(lambda: rounds[-1] == 1)
    assert set(scraper.read("answers_total")["instance"]) == {"late"}
