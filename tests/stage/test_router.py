"""Real proxies: a switch is applied when it returns, nothing fails, nothing is forgotten; and what is done wrong does fail."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import HTTPError

import pytest
from endpoints import Bare, bare, fetch
from waiting import until

from lib.stage import router as routers
from lib.stage.haproxy import HAProxy
from lib.stage.nginx import NGINX_BINARY
from lib.stage.ports import run_on_free_port
from lib.stage.processes import Process, ProcessError
from lib.stage.router import COLOURS, Router, RouterError
from lib.stage.scraping import fetch as fetch_metrics
from lib.stage.scraping import parse
from lib.stage.servers import wheel_binary
from lib.stage.traffic import Traffic


@pytest.fixture
def blue() -> Iterator[Bare]:
    with bare("blue") as endpoint:
        yield endpoint


@pytest.fixture
def green() -> Iterator[Bare]:
    with bare("green") as endpoint:
        yield endpoint


@pytest.fixture(params=["haproxy", "nginx"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def router(kind: str, blue: Bare, green: Bare) -> Iterator[Router]:
    with routers.router({"blue": [blue.port], "green": [green.port]}, kind=kind) as router:
        yield router


def served(router: Router, requests: int = 1) -> Counter[str]:
    return Counter(fetch(router.url)[0] for _ in range(requests))


def test_switched_under_traffic_nothing_fails_and_nothing_is_served_by_the_old_colour(
    router: Router,
) -> None:
    switches = []
    with Traffic(router.url, rate=200, long=10) as traffic:
        for number in range(1, 7):
            time.sleep(0.7)
            colour, told = COLOURS[number % 2], time.monotonic()
            router.switch(colour)
            switches.append((colour, told, time.monotonic()))
        time.sleep(0.7)
    requests = traffic.requests()
    assert Counter(requests["outcome"]) == {"ok": len(requests)} and len(requests) > 800
    ends = [told for _, told, _ in switches[1:]] + [float("inf")]
    for (colour, _, returned), end in zip(switches, ends, strict=True):
        after = requests[(requests["sent"] > returned) & (requests["ended"] < end)]
        assert len(after) > 50 and after["served_by"].str.startswith(colour).all()


def test_the_old_colour_is_drained_and_stopped_and_nothing_fails(router: Router, blue: Bare) -> None:
    with Traffic(router.url, rate=100, long=10) as traffic:
        until(lambda: router.in_flight("blue") >= 10)
        router.switch("green")
        assert router.in_flight("blue") >= 5, "long requests are still under way"
        until(lambda: not router.in_flight("blue"))
        blue.process.kill()
        time.sleep(0.5)
        assert router.in_flight("green") >= 10
    requests = traffic.requests()
    assert Counter(requests["outcome"]) == {"ok": len(requests)}


def test_stopped_without_draining_it_does_fail(router: Router, blue: Bare) -> None:
    """The negative control of the test above, with answers that have begun: nobody else can end them."""
    with Traffic(router.url, rate=100, long=10, long_path="/?begun&seconds=1") as traffic:
        until(lambda: router.in_flight("blue") >= 10)
        router.switch("green")
        blue.process.kill()
        time.sleep(0.5)
    found = Counter(traffic.requests()["outcome"])
    assert found["reset"] >= 5 and found["ok"] >= 5


RELOADED = """
daemon off; pid nginx.pid; error_log stderr; worker_processes 1;
events {{ }}
http {{
    access_log off;
    server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{target}; }} }}
}}
"""


def test_reloaded_and_stopped_at_once_it_does_fail(blue: Bare, green: Bare) -> None:
    """As where a file is changed, nginx is told to read it, and the old colour is stopped: the command has returned."""
    with Process() as nginx:

        def run(port: int, target: Bare = blue) -> Process:
            file.write_text(RELOADED.format(port=port, target=target.port))
            return nginx.run(
                [wheel_binary(*NGINX_BINARY), "-p", file.parent, "-c", file.name, "-e", "stderr"]
            )

        def ready(port: int) -> bool:
            with contextlib.suppress(OSError):
                return fetch(f"http://127.0.0.1:{port}/")[0] == "blue"
            return False

        file = nginx.directory / "nginx.conf"
        (file.parent / "logs").mkdir()
        port = run_on_free_port(run, ready, name="nginx")
        with Traffic(f"http://127.0.0.1:{port}", rate=200, long=10) as traffic:
            time.sleep(1.5)
            file.write_text(RELOADED.format(port=port, target=green.port))
            nginx.signal(signal.SIGHUP)
            blue.process.kill()
            time.sleep(1.5)
    requests = traffic.requests()
    found = Counter(requests["outcome"])
    assert len(requests) - found["ok"] >= 5 and found["ok"] > 200, found
    last = requests[requests["due"] > requests["due"].max() - 0.3]
    assert (last["outcome"] == "ok").all(), "the reload itself has worked, only later"


def test_stop_and_start_on_one_port_is_an_outage(blue: Bare) -> None:
    """Without a proxy: the negative control of all of this."""
    with Traffic(f"http://127.0.0.1:{blue.port}", rate=200) as traffic:
        time.sleep(0.3)
        blue.process.kill()
        blue.start_again()
        time.sleep(0.3)
    found = Counter(traffic.requests()["outcome"])
    assert found["refused"] > 0 and found["ok"] > 50, found


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


def test_replicas_come_and_go(router: Router, blue: Bare) -> None:
    with bare("blue-2") as second:
        router.serve("blue", [blue.port, second.port])
        assert served(router, 20) == {"blue": 10, "blue-2": 10}
        router.serve("blue", [second.port])
        assert served(router, 20) == {"blue-2": 20}
        router.serve("blue", [blue.port, second.port])
        assert served(router, 20) == {"blue": 10, "blue-2": 10}
        router.kill()
        router.start()
        assert set(served(router, 20)) == {"blue", "blue-2"}


def test_killed_and_started_again_it_has_not_forgotten(router: Router) -> None:
    url = router.url
    router.switch("green")
    router.kill()
    with pytest.raises(OSError):
        fetch(router.url)
    router.start()
    assert (router.url, router.active, served(router, 10)) == (url, "green", {"green": 10})


def test_haproxy_counts_what_users_got_and_begins_anew_at_the_same_address(blue: Bare) -> None:
    with routers.router({"blue": [blue.port]}) as router:
        assert isinstance(router, HAProxy)

        def told(code: str) -> float:
            labels = {"proxy": "entry", "code": code}
            [value] = [
                one.value
                for one in parse(fetch_metrics(router.metrics_url))
                if one.name == "haproxy_frontend_http_responses_total" and one.labels == labels
            ]
            return value

        served(router, 5)
        assert (told("2xx"), told("5xx")) == (5, 0)
        router.serve("blue", [])
        with pytest.raises(HTTPError, match="503"):
            fetch(router.url)
        assert told("5xx") == 1, "that nobody was there is counted, too"
        url = router.metrics_url
        router.kill()
        router.start()
        assert router.metrics_url == url and told("2xx") == told("5xx") == 0


def test_killed_while_it_is_told_it_does_what_the_file_says(router: Router) -> None:
    router.kill()
    with pytest.raises(OSError):
        router.switch("green")
    router.start()
    assert (router.active, served(router, 10)) == ("green", {"green": 10})


def test_routes_in_a_directory_outlive_the_router(kind: str, blue: Bare, green: Bare, tmp_path: Path) -> None:
    replicas = {"blue": [blue.port], "green": [green.port]}
    with routers.router(replicas, kind=kind, directory=tmp_path) as router:
        router.switch("green")
    assert json.loads((tmp_path / "routes.json").read_text())["active"] == "green"
    with routers.router({"blue": [1]}, kind=kind, directory=tmp_path) as router:
        assert served(router, 10) == {"green": 10}


@pytest.mark.parametrize("late", [False, True], ids=["there from the start", "came later"])
def test_reads_under_way_on_one_that_dies_are_answered_by_the_warm_colour(
    late: bool, kind: str, blue: Bare, green: Bare
) -> None:
    """As far as their answers have not begun; a proxy may send a read again, and never a write."""
    with routers.router({} if late else {"blue": [blue.port], "green": [green.port]}, kind=kind) as router:  # type: ignore[arg-type]
        router.serve("blue", [blue.port])
        router.serve("green", [green.port])
        with Traffic(router.url, rate=50, long=10, timeout=20) as traffic:
            until(lambda: router.in_flight("blue") >= 10)
            blue.process.kill()
            time.sleep(0.5)
            router.switch("green")
    requests = traffic.requests()
    assert Counter(requests["outcome"])["ok"] > 0.95 * len(requests), Counter(requests["outcome"])


def test_the_warm_colour_steps_in_when_the_active_one_dies(router: Router, green: Bare) -> None:
    router.switch("green")
    with Traffic(router.url, rate=200) as traffic:
        time.sleep(0.5)
        green.process.kill()
        died = time.monotonic()
        time.sleep(1.5)
    requests = traffic.requests()
    second = requests[requests["due"].between(died, died + 1.0)]
    assert (second["outcome"] != "ok").sum() <= 0.01 * len(second) + 1
    after = requests[requests["due"] > died + 0.5]
    assert len(after) > 100 and after["served_by"].str.startswith("blue").all()


def test_two_routers_at_once_are_separate(kind: str, router: Router, blue: Bare, green: Bare) -> None:
    with routers.router({"blue": [blue.port], "green": [green.port]}, kind=kind) as other:
        other.switch("green")
        assert (served(router, 5), served(other, 5)) == ({"blue": 5}, {"green": 5})


def test_what_can_not_be_done_is_refused(router: Router) -> None:
    for wrong in ("red", "Blue", None):
        with pytest.raises(ValueError, match=f"colour {wrong!r}: choose one of blue, green"):
            router.switch(wrong)  # type: ignore[arg-type]
    for share in (-0.1, 1.1):
        with pytest.raises(ValueError, match="choose one from 0 to 1"):
            router.canary(share)
    assert (router.active, router.routes.share) == ("blue", 0.0)


def test_a_proxy_that_can_not_start_or_does_not_obey_is_explained(blue: Bare) -> None:
    for kind, name in (("haproxy", "HAProxy"), ("nginx", "nginx")):
        told = rf"(?s){name} ended with status 1.*Its log ends with:.*ddress (already )?in use.*Is another program"
        with pytest.raises(ProcessError, match=told):
            routers.router({}, kind=kind, port=blue.port)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="kind='apache': choose one of haproxy, nginx"):
        routers.router({"blue": [blue.port]}, kind="apache")  # type: ignore[arg-type]
    proxy = HAProxy(routers.Routes("blue"), None, 10)
    with proxy, pytest.raises(RouterError, match="HAProxy, told 'nonsense': Unknown command"):
        proxy._tell("nonsense")
