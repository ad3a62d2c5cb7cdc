"""`lib.stage.airflow` against a small server with Airflow's answers; the real one is in tests/integration."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from endpoints import http_server

from lib.stage.airflow import Airflow, AirflowError

RUNS = "/api/v2/dags/d/dagRuns"
TASKS = f"{RUNS}/r/taskInstances"


def task(name: str, index: int, number: int, host: str, times: list[int], state: str) -> dict[str, Any]:
    """A try of a task. times: when it was queued, has begun and, maybe, has ended."""
    moments = [f"2026-01-01T00:00:{second:02}Z" for second in times] + [None]
    return {"task_id": name, "map_index": index, "try_number": number, "hostname": host, "state": state,
            "queued_when": moments[0], "start_date": moments[1], "end_date": moments[2]}  # fmt: skip


FIRST = task("upgrade", 1, 1, "a", [10, 11], "failed")
SECOND = task("upgrade", 1, 2, "b", [10, 41, 45], "success")
LISTED = task("list", -1, 1, "a", [10, 10, 12], "success")
ANSWERS: dict[str, Any] = {
    f"{RUNS}/r": {"state": "success"},
    # It gives less than was asked for.
    f"{TASKS}?limit=100&offset=0": {"task_instances": [SECOND], "total_entries": 2},
    f"{TASKS}?limit=100&offset=1": {"task_instances": [LISTED], "total_entries": 2},
    f"{TASKS}/upgrade/1/tries": {"task_instances": [FIRST, SECOND]},
}


@pytest.fixture
def asked() -> list[str]:
    """The paths at which runs were to be started."""
    return []


@pytest.fixture
def url(asked: list[str]) -> Iterator[str]:
    def answer(request: BaseHTTPRequestHandler, body: str) -> tuple[int, str]:
        if request.path == "/auth/token":
            right = json.loads(body) == {"username": "admin", "password": "right"}
            return (201, '{"access_token": "token"}') if right else (401, "no such user")
        if request.command == "POST":
            asked.append(request.path)
            return (200, '{"dag_run_id": "r"}') if asked.count(RUNS) > 1 else (404, "not read yet")
        known = request.path in ANSWERS and request.headers["Authorization"] == "Bearer token"
        return (200, json.dumps(ANSWERS[request.path])) if known else (404, "unknown")

    with http_server(answer) as address:
        yield address


def test_a_run_is_started_waited_for_and_read(url: str, asked: list[str]) -> None:
    airflow = Airflow(url, "admin", "right")
    assert airflow.trigger("d", {"x": 1}) == "r"
    assert asked == [RUNS] * 2  # the first time, the DAG was not known yet
    assert airflow.wait("d", "r", timeout=5) == "success"


def test_tries_have_a_row_each_and_seconds_since_the_first_task_was_queued(url: str) -> None:
    tries = Airflow(url, "admin", "right").tries("d", "r")
    rows = [["list", 1, "a", 0.0], ["upgrade[1]", 1, "a", 1.0], ["upgrade[1]", 2, "b", 31.0]]
    assert tries[["task", "try", "worker", "start"]].values.tolist() == rows
    assert tries["end"].tolist()[::2] == [2.0, 35.0] and math.isnan(tries["end"][1])


def test_a_refusal_says_what_and_why(url: str) -> None:
    with pytest.raises(AirflowError, match="/auth/token: 401 .*no"):
        Airflow(url, "admin", "wrong")
    with pytest.raises(AirflowError, match=r"dags/e/dagRuns: 404 .*not read yet"):
        Airflow(url, "admin", "right").trigger("e", {}, patience=0)
