"""Rules and dashboard ask for what workers, service, proxy and data set really tell: all of them run, are scraped, and are compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import promql_parser
import pytest
from queries import Query, Series, panels, problems, recorded, rules, selectors, selects

from lib.deployment.platforms.local import Local
from lib.deployment.replicas import call
from lib.deployment.states import Release
from lib.scaling import dataset_metrics
from lib.scaling.settings import LATE
from lib.scaling.workers import WorkerPool
from lib.stage.scraping import Target, fetch, parse
from lib.stage.servers import Server
from lib.stage.traffic import USER

#: Told by Prometheus itself.
OWN: list[Series] = [
    {"__name__": "up", "job": "any", "instance": "any"},
    {"__name__": "ALERTS", "alertname": "any", "severity": "any", "alertstate": "firing"},
]
#: Told by software that was not run with Prometheus here: redis_exporter, Airflow. From their documentation.
DOCUMENTED: list[Series] = [
    {"__name__": "airflow_executor_queued_tasks"},
    {"__name__": "airflow_executor_running_tasks"},
    {"__name__": "airflow_scheduler_heartbeat_total"},
    {"__name__": "redis_key_size", "key": "default"},
    {"__name__": "redis_up"},
]
QUERIES = [*rules(), *panels()]


@pytest.fixture(scope="module")
def served(new_database: Callable[[], Server], broker: Server) -> Iterator[list[Series]]:
    """Every series that service, proxy, workers and a data set tell after one of everything: an answer, a failure, a lost task."""
    with Local(new_database().url, faults=True) as platform:
        [port] = platform.create("blue", Release("v1.0.0", 1))
        user = {"name": "Ana", "created_at": "2024-01-01", "id": "ana"}
        assert call(platform.router.port, "/users", user)[0] == 201
        platform.replicas["blue"][0].fault("failing writes")
        assert call(platform.router.port, "/users", USER)[0] == 500
        with WorkerPool(1, broker=broker, metrics=True, delivery=LATE) as pool:
            pool.send("pause", [(0.0,), ("nonsense",)])
            assert pool.wait(30) == 0
            pool.send("pause", [(30.0,)])
            pool.kill(whole_worker=False)
            assert pool.wait(30) == 0
            targets = {"replica": Target("service", f"http://127.0.0.1:{port}/metrics")}
            targets |= {"router": Target("proxy", platform.router.metrics_url)}
            targets |= {name: Target("workers", url) for name, url in pool.metrics_urls.items()}
            dataset = dataset_metrics.serve(Path("users"))
            targets |= {"dataset": Target("data", f"http://127.0.0.1:{dataset.server_port}/metrics")}
            yield [
                {"__name__": name, "job": target.job, "instance": instance} | labels
                for instance, target in targets.items()
                for name, labels, *_ in parse(fetch(target.url))
            ]
            dataset.shutdown()
            dataset.server_close()


@pytest.fixture(scope="module")
def known(served: list[Series]) -> list[Series]:
    """What can be asked for: what is served, what rules record, and what others tell."""
    return served + OWN + DOCUMENTED + [recorded(query) for query in QUERIES if query.record]


def test_what_is_asked_for_is_told(known: list[Series]) -> None:
    assert [problem for query in QUERIES for problem in problems(query, known)] == []
    assert len(QUERIES) > 40


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("rate(http_requests_total[5m])", "nothing is selected by http_requests_total"),
        ('http_request_duration_seconds_bucket{le="0.3"}', "nothing is selected"),
        ("sum by (handler) (rate(http_request_duration_seconds_count[5m]))", "nothing has a label 'handler'"),
    ],
)
def test_what_nobody_tells_is_found(expression: str, told: str, known: list[Series]) -> None:
    assert told in str(problems(Query("here", expression), known))


def test_what_we_tell_is_asked_for(served: list[Series]) -> None:
    """Each metric of our own is used by a rule or a panel: else it costs, and nobody looks."""
    asked = [one for query in QUERIES for one in selectors(promql_parser.parse(query.expression))]
    ours = {
        one["__name__"]
        for one in served
        if one["__name__"].startswith(("http_", "service_", "celery_", "dataset_"))
    }
    families = {name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum") for name in ours}
    used = {one["__name__"] for one in served if any(selects(selector, one) for selector in asked)}
    unused = {name for name in families if not any(asked_for.startswith(name) for asked_for in used)}
    assert len(families) >= 10 and unused == set()
