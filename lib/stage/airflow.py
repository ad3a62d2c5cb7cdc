"""Runs of a DAG, started and read through Airflow's public REST API (version 2, of Airflow 3).

airflow = Airflow("http://127.0.0.1:8080", "admin", password)
run = airflow.trigger("upgrade_users", {"dataset": "spain"})
airflow.wait("upgrade_users", run, timeout=600)
airflow.tries("upgrade_users", run)
"""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from lib.stage.ports import ask
from lib.stage.waiting import wait_for

#: What a table of tries shows, by Airflow's names.
COLUMNS = {"task": "task", "try_number": "try", "hostname": "worker"}
COLUMNS |= {"queued_when": "queued", "start_date": "start", "end_date": "end", "state": "state"}
TIMES = ["queued_when", "start_date", "end_date"]
OVER = {"success", "failed"}
PAGE = 100  # rows that Airflow gives at once, unless `[api] maximum_page_limit` says otherwise
PATIENCE = 60.0  # seconds that an Airflow just started gets to read its DAGs


class AirflowError(RuntimeError):
    """Airflow refuses a request; the message has the status of HTTP, and the reason."""


class Airflow:
    """An API server of Airflow, as one of its users. Raises OSError wherever it can't be reached, and AirflowError."""

    def __init__(self, url: str, user: str, password: str) -> None:
        """url: such as `http://127.0.0.1:8080`."""
        self.url, self._headers = url.rstrip("/"), dict[str, str]()
        token = self._ask("/auth/token", {"username": user, "password": password})["access_token"]
        self._headers = {"Authorization": f"Bearer {token}"}

    def _ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        status, text = ask(self.url + path, body, timeout=60, **self._headers)
        if status >= 400:
            raise AirflowError(f"{path}: {status} {text[:500]}")
        return json.loads(text)

    def trigger(self, dag: str, parameters: dict[str, Any]) -> str:
        """Start a run of a DAG, once Airflow has read it, and return the id of the run."""
        runs = f"/api/v2/dags/{dag}/dagRuns"
        wait_for(lambda: ask(self.url + runs, **self._headers)[0] != 404, PATIENCE, pause=1.0)
        return self._ask(runs, {"logical_date": None, "conf": parameters})["dag_run_id"]

    def wait(self, dag: str, run: str, *, timeout: float) -> str:
        """Wait until a run has ended, and return `success` or `failed`. TimeoutError after so many seconds."""

        def state() -> str:
            return self._ask(f"/api/v2/dags/{dag}/dagRuns/{run}")["state"]

        if not wait_for(lambda: state() in OVER, timeout, pause=0.5):
            raise TimeoutError(f"the run {run} of {dag} is still {state()} after {timeout:g} s")
        return state()

    def tries(self, dag: str, run: str) -> pd.DataFrame:
        """Every try of every task of a run, in the order of their starts.

        One row each: `task` (`upgrade[7]` for the seventh mapped one, from 0), `try` (from 1), `worker` (its host), `queued`, `start`
        and `end` (seconds since the first task of the run was queued; NaN where it was not), `state`.
        """
        path = f"/api/v2/dags/{dag}/dagRuns/{run}/taskInstances"
        tasks, rows = list[dict[str, Any]](), []
        while page := self._ask(f"{path}?limit={PAGE}&offset={len(tasks)}")["task_instances"]:
            tasks += page
        for task in tasks:
            name, index = task["task_id"], task["map_index"]
            place, task_name = (f"{name}/{index}", f"{name}[{index}]") if index >= 0 else (name, name)
            tries = self._ask(f"{path}/{place}/tries")["task_instances"]
            rows += [one | {"task": task_name} for one in tries]
        table = pd.DataFrame(rows)
        moments = table[TIMES].apply(pd.to_datetime, utc=True, format="ISO8601")
        table[TIMES] = (moments - moments["queued_when"].min()) / pd.Timedelta(seconds=1)
        return table.rename(columns=COLUMNS)[[*COLUMNS.values()]].sort_values(
            ["start", "task"], ignore_index=True
        )
