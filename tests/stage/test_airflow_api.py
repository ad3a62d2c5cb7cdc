"""`lib.stage.airflow` against a small server with Airflow's answers; the real one is in tests/integration."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from lib.stage.airflow import Airflow, AirflowError

RUNS = "/api/v2/dags/d/dagRuns"
TASKS = f"{RUNS}/r/taskInstances"


def task(
    task: str, index: int, number: int, host: str, start: int, end: int | None, state: str
) -> dict[str, Any]:
    moments = [
        f"2026-01-01T00:00:{second:02}Z" if second is not None else None for second in (10, start, end)
    ]
    queued, begun, ended = moments
    return {"task_id": task, "map_index": index, "try_number": number, "hostname": host,
            "queued_when": queued, "start_date": begun, "end_date": ended, "state": state}  # fmt: skip


FIRST = task("upgrade", 1, 1, "a", 11, None, "failed")
SECOND = task("upgrade", 1, 2, "b", 41, 45, "success")
ANSWERS: dict[str, Any] = {
    f"{RUNS}/r": {"state": "success"},
    f"{TASKS}?limit=100&offset=0": {
        "task_instances": [SECOND],
        "total_entries": 2,
    },  # it gives less than asked for
    f"{TASKS}?limit=100&offset=1": {
        "task_instances": [task("list", -1, 1, "a", 10, 12, "success")],
        "total_entries": 2,
    },
    f"{TASKS}/upgrade/1/tries": {"task_instances": [FIRST, SECOND]},
}


class Handler(BaseHTTPRequestHandler):
    asked = 0

    def answer(self, status: int, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        known = self.path in ANSWERS and self.headers["Authorization"] == "Bearer token"
        self.answer(200 if known else 404, ANSWERS.get(self.path, {"detail": "unknown"}))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/auth/token":
            right = body == {"username": "admin", "password": "right"}
            return self.answer(*(201, {"access_token": "token"}) if right else (401, {"detail": "no"}))
        Handler.asked += 1
        late = self.path == RUNS and Handler.asked > 1
        self.answer(
            *(200, {"dag_run_id": "r", "conf": body["conf"]}) if late else (404, {"detail": "not read yet"})
        )

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    Handler.asked = 0
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_run_is_started_waited_for_and_read(url: str) -> None:
    airflow = Airflow(url, "admin", "right")
    assert airflow.trigger("d", {"x": 1}) == "r"
    assert Handler.asked == 2  # the first time, the DAG was not known yet
    assert airflow.wait("d", "r", timeout=5) == "success"


def test_tries_have_a_row_each_and_seconds_since_the_first_task_was_queued(url: str) -> None:
    tries = Airflow(url, "admin", "right").tries("d", "r")
    assert tries[["task", "try", "worker", "start"]].values.tolist() == [
        ["list", 1, "a", 0.0],
        ["upgrade[1]", 1, "a", 1.0],
        ["upgrade[1]", 2, "b", 31.0],
    ]
    assert tries["end"].tolist()[::2] == [2.0, 35.0] and math.isnan(tries["end"][1])


def test_a_refusal_says_what_and_why(url: str) -> None:
    with pytest.raises(AirflowError, match="/auth/token: 401 .*no"):
        Airflow(url, "admin", "wrong")
    with pytest.raises(AirflowError, match=r"dags/e/dagRuns: 404 .*not read yet"):
        Airflow(url, "admin", "right").trigger("e", {}, patience=0)
