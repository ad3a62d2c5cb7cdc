"""Runs of a DAG, started and read through Airflow's public REST API (version 2, of Airflow 3).

airflow = Airflow("http://127.0.0.1:8080", "admin", password)
run = airflow.trigger("upgrade_users", {"dataset": "spain"})
airflow.wait("upgrade_users", run, timeout=600)
airflow.tries("upgrade_users", run)
"""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import Any

import pandas as pd

from lib.stage.ports import ask
from lib.stage.waiting import wait_for

COLUMNS = ["task", "try", "worker", "queued", "start", "end", "state"]
OVER = {"success", "failed"}
PAGE = 100  # rows in one response of Airflow, unless `[api] maximum_page_limit` sets another limit


class AirflowError(RuntimeError):
    """Airflow refused a request. The message gives the reason, `status` the HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Airflow:
    """A client of an Airflow API server. Its methods raise OSError if the server can't be reached, and AirflowError."""

    def __init__(self, url: str, user: str, password: str) -> None:
        """url: such as `http://127.0.0.1:8080`."""
        self.url, self._headers = url.rstrip("/"), dict[str, str]()
        token = self._ask("/auth/token", {"username": user, "password": password})["access_token"]
        self._headers = {"Authorization": f"Bearer {token}"}

    def _ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        status, text = ask(self.url + path, body, timeout=60, **self._headers)
        if status >= 400:
            raise AirflowError(f"{path}: {status} {text[:500]}", status)
        return json.loads(text)

    def trigger(self, dag: str, parameters: dict[str, Any], *, patience: float = 60.0) -> str:
        """Start a run of a DAG and return its id. A new Airflow has not read its DAGs yet: retry for `patience` seconds."""
        deadline = time.monotonic() + patience
        body = {"logical_date": None, "conf": parameters}
        while True:
            try:
                return self._ask(f"/api/v2/dags/{dag}/dagRuns", body)["dag_run_id"]
            except AirflowError as error:
                if error.status != 404 or time.monotonic() > deadline:
                    raise
            time.sleep(1)

    def wait(self, dag: str, run: str, *, timeout: float) -> str:
        """Wait until a run has ended; return `success` or `failed`. Raises TimeoutError after `timeout` seconds."""

        def state() -> str:
            return self._ask(f"/api/v2/dags/{dag}/dagRuns/{run}")["state"]

        if not wait_for(lambda: state() in OVER, timeout, pause=0.5):
            raise TimeoutError(f"the run {run} of {dag} is still {state()} after {timeout:g} s")
        return state()

    def tries(self, dag: str, run: str) -> pd.DataFrame:
        """Return every try of every task of a run, ordered by start.

        One row a try: `task` (mapped tasks are numbered from 0: `upgrade[7]`), `try` (from 1), `worker` (its host), `queued`,
        `start` and `end` (seconds since the first task of the run was queued; NaN if that did not happen), `state`.
        """
        path = f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances"
        tasks, rows = list[dict[str, Any]](), []
        while True:
            page = self._ask(f"{path}?limit={PAGE}&offset={len(tasks)}")
            tasks += page["task_instances"]
            if len(tasks) >= page["total_entries"] or not page["task_instances"]:
                break
        for task in tasks:
            tries = [task]
            if task["try_number"] > 1:
                mapped = f"/{task['map_index']}" if task["map_index"] >= 0 else ""
                tries = self._ask(f"{path}/{task['task_id']}{mapped}/tries")["task_instances"]
            rows += map(_row, tries)
        table = pd.DataFrame(rows, columns=COLUMNS)
        times = ["queued", "start", "end"]
        table[times] = (table[times] - table["queued"].min()).astype(float).round(3)
        return table.sort_values(["start", "task"], ignore_index=True)


def _row(task: dict[str, Any]) -> tuple[Any, ...]:
    name = f"{task['task_id']}[{task['map_index']}]" if task["map_index"] >= 0 else task["task_id"]
    times = (_seconds(task[key]) for key in ("queued_when", "start_date", "end_date"))
    return (name, task["try_number"], task["hostname"], *times, task["state"])


def _seconds(moment: str | None) -> float:
    return datetime.fromisoformat(moment).timestamp() if moment else float("nan")
