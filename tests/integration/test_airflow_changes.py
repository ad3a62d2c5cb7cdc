"""Airflow without containers: a DAG that is changed while it runs, in a plain folder and in a git repository, and backfills with a limit.

It takes five minutes: `make release-check ONLY=long`. `LONG=1 make test-integration RECORD=1` writes the runs to notebooks/data/, where
lesson 09 reads them.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from containers import ROOT
from test_airflow import version_of

from lib.stage import native_airflow
from lib.stage.airflow import Airflow
from lib.stage.ports import free_port
from lib.stage.waiting import wait_for

pytestmark = pytest.mark.long
TEXT = (ROOT / "compose" / "dags" / "daily_orders.py").read_text(encoding="utf-8")
STEPS, WORKERS, WAIT = ["extract", "transform", "load"], 3, 6.0
#: Where the DAG comes from, and Airflow's class for it.
BUNDLES = {
    "folder": "airflow.dag_processing.bundles.local.LocalDagBundle",
    "git": "airflow.providers.git.bundles.git.GitDagBundle",
}
#: Days of November 2026, the limit of runs, and whether the last day goes first.
BACKFILLS = {
    "one at a time": ([1, 2, 3], 1, False),
    "two": ([4, 5, 6], 2, False),
    "two, backwards": ([7, 8, 9], 2, True),
}


def git(folder: Path, *command: str) -> str:
    who = ["-c", "user.name=lessons", "-c", "user.email=lessons@localhost"]
    return subprocess.check_output(["git", *who, *command], cwd=folder, text=True).strip()


def write(folder: Path, code: int) -> None:
    """Put the DAG there, as version 1 or 2, with the folder's name in its own; commit it where that is a repository."""
    text = TEXT.replace("CODE = 1", f"CODE = {code}").replace("daily_orders", f"orders_{folder.name}")
    (folder / "dag.py").write_text(text, encoding="utf-8")
    if folder.name == "git":
        git(folder, "add", ".")
        git(folder, "commit", "--quiet", "--message", f"code {code}")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {name: tmp_path_factory.mktemp("bundles") / name for name in BUNDLES}
    for folder in folders.values():
        git(folder.parent, "init", "--quiet", "--initial-branch=main", folder.name)
        write(folder, code=1)
    return folders


@pytest.fixture(scope="module")
def airflow(folders: dict[str, Path]) -> Iterator[Airflow]:
    native_airflow.install()
    places = {"folder": {"path": str(folders["folder"])}}
    places["git"] = {"repo_url": str(folders["git"]), "tracking_ref": "main"}
    bundles = [
        {"name": name, "classpath": BUNDLES[name], "kwargs": {"refresh_interval": 1, **place}}
        for name, place in places.items()
    ]
    more = {
        "AIRFLOW__DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": "1",
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(bundles),
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH": str(folders["git"].with_name("versions")),
    }
    with native_airflow.running(WORKERS, free_port(), **more) as (url, password, _):
        yield Airflow(url, "admin", password)


def seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def tasks(airflow: Airflow, path: str) -> list[dict[str, Any]]:
    """The tasks of a run that have begun, with the code that each has noted itself."""
    noted = airflow._ask(f"{path}/taskInstances/~/xcomEntries?xcom_key=code")["xcom_entries"]
    rows = []
    for name in sorted((entry["task_id"] for entry in noted), key=STEPS.index):
        task = airflow._ask(f"{path}/taskInstances/{name}")
        code = airflow._ask(f"{path}/taskInstances/{name}/xcomEntries/code")["value"]
        times = {"start": seconds(task["start_date"]), "end": seconds(task["end_date"] or task["start_date"])}
        rows.append({"task": name, "code": code, "shown": task["dag_version"]["version_number"], **times})
    return rows


@pytest.fixture(scope="module")
def changes(airflow: Airflow, folders: dict[str, Path]) -> pd.DataFrame:
    """A row for each task of a run during whose first task the DAG is changed, and of the next run; a run to warm up goes before.

    `shown`: Airflow's own number for the version; `start`, `end` and `changed` in seconds since the first task of the bundle began.
    """
    rows = []
    for bundle, folder in folders.items():
        dag = f"/api/v2/dags/orders_{bundle}"
        warm_up = airflow.trigger(f"orders_{bundle}", {"wait": 0.0}, patience=180)
        airflow.wait(f"orders_{bundle}", warm_up, timeout=420)
        flying = airflow.trigger(f"orders_{bundle}", {"wait": WAIT})
        assert wait_for(lambda: tasks(airflow, f"{dag}/dagRuns/{flying}"), 180, pause=0.3), "none begun"  # noqa: B023
        write(folder, code=2)
        changed = time.time()
        head = git(folder, "rev-parse", "HEAD") if bundle == "git" else None
        assert wait_for(lambda: airflow._ask(dag)["bundle_version"] == head, 180, pause=0.5), "commit unseen"  # noqa: B023
        following = airflow.trigger(f"orders_{bundle}", {"wait": WAIT})
        for name, run in (("in flight", flying), ("next", following)):
            assert airflow.wait(f"orders_{bundle}", run, timeout=420) == "success"
            found = tasks(airflow, f"{dag}/dagRuns/{run}")
            rows += [{"bundle": bundle, "run": name, **row, "changed": changed} for row in found]
    table, times = pd.DataFrame(rows), ["start", "end", "changed"]
    zero = table.groupby("bundle")["start"].transform("min")
    table[times] = table[times].sub(zero, axis=0).round(2)
    return table


@pytest.fixture(scope="module")
def backfills(airflow: Airflow, changes: pd.DataFrame) -> pd.DataFrame:
    """A row for each day's run, in the order of their starts; `start` and `end` in seconds since the first of its backfill."""
    rows = []
    for name, (days, limit, backwards) in BACKFILLS.items():
        dates = [f"2026-11-{day:02}T00:00:00Z" for day in days]
        ask = {"dag_id": "orders_git", "from_date": dates[0], "to_date": dates[-1], "max_active_runs": limit}
        ask |= {"run_backwards": backwards, "dag_run_conf": {"wait": WAIT / 2}}
        path = f"/api/v2/backfills/{airflow._ask('/api/v2/backfills', ask)['id']}"
        assert wait_for(lambda: airflow._ask(path)["completed_at"], 420, pause=1), name  # noqa: B023
        for run in airflow._ask("/api/v2/dags/orders_git/dagRuns?limit=100")["dag_runs"]:
            if run["logical_date"] in dates:
                times = {key: seconds(run[f"{key}_date"]) for key in ("start", "end")}
                rows.append({"backfill": name, "limit": limit, "day": run["logical_date"][:10], **times})
    table = pd.DataFrame(rows).sort_values("start", ignore_index=True)
    zero = table.groupby("backfill")["start"].transform("min")
    table[["start", "end"]] = table[["start", "end"]].sub(zero, axis=0).round(2)
    return table


def test_a_run_in_flight_keeps_its_code_only_in_a_bundle_with_versions(changes: pd.DataFrame) -> None:
    codes = {name: list(rows["code"]) for name, rows in changes.groupby(["bundle", "run"])}
    folder = {("folder", "in flight"): [1, 2, 2], ("folder", "next"): [2, 2, 2]}
    assert codes == folder | {("git", "in flight"): [1, 1, 1], ("git", "next"): [2, 2, 2]}
    assert list(changes["task"]) == STEPS * 4
    first = changes[(changes["run"] == "in flight") & (changes["task"] == STEPS[0])]
    assert (first["changed"] < first["end"]).all(), "the change came after the first task"
    assert set(changes["shown"]) == {1}, "Airflow compares tasks and settings, not functions"


def test_a_backfill_keeps_its_own_limit_of_runs_not_that_of_the_dag(backfills: pd.DataFrame) -> None:
    assert "max_active_runs=1" in TEXT
    for name, runs in backfills.groupby("backfill"):
        days, limit, backwards = BACKFILLS[name]
        at_once = [((runs["start"] <= start) & (start < runs["end"])).sum() for start in runs["start"]]
        assert max(at_once) == limit, runs.to_string()
        order = [f"2026-11-{day:02}" for day in (days[::-1] if backwards else days)]
        assert {*runs["day"][:limit]} == {*order[:limit]} and {*runs["day"]} == {*order}, runs.to_string()


@pytest.mark.skipif("INTEGRATION_RECORD" not in os.environ, reason="RECORD=1 writes what lesson 09 reads")
def test_the_record_is_written(changes: pd.DataFrame, backfills: pd.DataFrame) -> None:
    record = {
        "what": "each task of two runs of compose/dags/daily_orders.py from a folder and two from a git repository, the file changed "
        "in the first task of the first; and each run of three backfills, whose DAG says max_active_runs=1; times in seconds",
        "command": "make test-integration RECORD=1",
        "recorded": time.strftime("%Y-%m-%d", time.gmtime()),
        "stack": f"lib.stage.native_airflow with {WORKERS} workers",
        "airflow": version_of("apache-airflow"),
        "git bundle": version_of("apache-airflow-providers-git"),
        "cores": os.cpu_count(),
        "tasks": json.loads(changes.to_json(orient="records")),
        "backfills": json.loads(backfills.to_json(orient="records")),
    }
    path = ROOT / "notebooks" / "data" / "airflow_changes.json"
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
