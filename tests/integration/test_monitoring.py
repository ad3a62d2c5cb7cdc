"""The shipped rules by their unit tests, and by a real Prometheus that scrapes a real service, its proxy and real workers."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib.deployment.platforms.local import Local
from lib.deployment.replicas import answers, call
from lib.deployment.states import Release
from lib.scaling import dataset_metrics
from lib.scaling.workers import WorkerPool
from lib.stage.files import replace_file
from lib.stage.ports import run_on_free_port
from lib.stage.processes import Process
from lib.stage.servers import postgres
from lib.stage.traffic import Traffic
from lib.stage.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "compose" / "monitoring"
sys.path.insert(0, str(ROOT / "tests" / "monitoring"))
from queries import panels  # noqa: E402

pytestmark = pytest.mark.skipif(
    not (shutil.which("promtool") and shutil.which("prometheus")),
    reason="promtool and prometheus are missing: apt-get install --no-install-recommends prometheus",
)


def promtool(*arguments: str) -> str:
    command = ["promtool", *arguments]
    done = subprocess.run(command, cwd=MONITORING, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_configuration_is_valid() -> None:
    assert "4 rule files found" in promtool("check", "config", "prometheus.yml")


def test_the_rules_pass_their_tests() -> None:
    assert "SUCCESS" in promtool(
        "test", "rules", *(f"tests/{name}.yml" for name in ("slo", "others", "data"))
    )


class Prometheus:
    """A Prometheus server on a port of 127.0.0.1, with the shipped configuration and a clock that runs faster."""

    def __init__(self, process: Process) -> None:
        self.process, self.folder = process, process.directory / "monitoring"
        shutil.copytree(MONITORING, self.folder)
        path = self.folder / "prometheus.yml"
        text = path.read_text(encoding="utf-8").replace("interval: 15s", "interval: 1s").replace("30s", "1s")
        path.write_text(text, encoding="utf-8")
        self.port = run_on_free_port(self._run, self._ready, name="Prometheus")

    def _run(self, port: int) -> Process:
        command = ["prometheus", "--config.file", self.folder / "prometheus.yml"]
        command += [f"--storage.tsdb.path={self.folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}"]
        return self.process.run(command, cwd=self.folder)

    def _ready(self, port: int) -> bool:
        return answers(port, "/-/ready")

    def ask(self, query: str) -> list[dict[str, str]]:
        """The labels of what a query finds, and its value."""
        text = urllib.parse.urlencode({"query": query})
        status, answer = call(self.port, f"/api/v1/query?{text}", timeout=30)
        assert status == 200, f"{query}: {answer}"
        return [one["metric"] | {"value": one["value"][1]} for one in answer["data"]["result"]]

    def until(self, query: str, seconds: float = 60.0) -> list[dict[str, str]]:
        assert wait_for(lambda: self.ask(query), seconds, pause=0.5), f"nothing is found by {query}"
        return self.ask(query)


@pytest.fixture(scope="module")
def prometheus() -> Iterator[Prometheus]:
    with Process() as process:
        yield Prometheus(process)


FIRES = 'ALERTS{alertname="ErrorBudgetBurn", severity="page", alertstate="firing"}'


def test_a_real_prometheus_sees_a_bad_release_and_names_it(prometheus: Prometheus) -> None:
    with (
        postgres() as database,
        Local(database.url, faults=True) as platform,
        WorkerPool(2, metrics=True) as pool,
    ):
        ports = platform.create("blue", Release("v1.0.0", 1)) + platform.create("green", Release("v2.0.0", 2))
        targets = [("service", f"http://127.0.0.1:{port}/metrics") for port in ports]
        targets += [("proxy", platform.router.metrics_url)]
        targets += [("workers", url) for url in pool.metrics_urls.values()]
        dataset = dataset_metrics.serve(prometheus.folder / "users")  # has no partition, so it is stale
        targets += [("data", f"http://127.0.0.1:{dataset.server_port}/metrics")]
        hosts = [(job, urllib.parse.urlsplit(url).netloc) for job, url in targets]
        groups = [{"targets": [host], "labels": {"job": job}} for job, host in hosts]
        replace_file(prometheus.folder / "targets" / "test.json", json.dumps(groups))
        with Traffic(platform.router.url, rate=50, writes=0.5) as traffic:
            prometheus.until(f"sum(up) == {len(targets)}")
            pool.send("pause", [(0.1,)] * 20 + [("nonsense",)])
            platform.canary(0.5)
            prometheus.until("sum(increase(haproxy_frontend_http_responses_total[1m])) > 500")
            assert prometheus.ask(f"{FIRES} or slo:error_budget_burn:ratio_rate1h > 5") == []
            platform.replicas["green"][0].fault("failing writes")
            [alert] = prometheus.until(FIRES)[:1]
            assert alert["slo"] == "availability"
            [bad] = prometheus.until('ALERTS{alertname="ReleaseFails"}')
            assert bad["release"] == "v2.0.0"
            [stale, *_] = prometheus.until('ALERTS{alertname="DataBudgetBurn", severity="page"}')
            assert (stale["slo"], stale["dataset"]) == ("freshness", "users")
            releases = [one["release"] for one in prometheus.ask("release:http_requests:rate5m")]
            assert set(releases) == {"v1.0.0", "v2.0.0"}
            for query in panels():
                if not any(name in query.expression for name in ("airflow_", "redis_")):
                    assert prometheus.ask(query.expression), f"{query.place}: an empty panel"
            traffic.stop()
            sent = len(traffic.requests())
            prometheus.until(f'sum(haproxy_frontend_http_responses_total{{proxy="entry"}}) == {sent}', 10)
        dataset.shutdown()
        dataset.server_close()
