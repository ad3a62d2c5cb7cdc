"""The shipped Airflow stack, on stand-ins: five workers against one, and a worker that is killed in the middle of a task.

With INTEGRATION_RECORD set (`make test-integration RECORD=1`), the runs are written to notebooks/data/, where lesson 09 reads them.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import make_env
import pandas as pd
import pytest
from containers import ROOT, Engine, Stack

from lib.stage.airflow import Airflow

COMPOSE = ROOT / "compose" / "docker-compose.scale.yml"
DAG = "upgrade_users"
BASES = ["python:3.11.14-slim-bookworm", "postgres:17.6-bookworm", "valkey/valkey:8.1.4"]
PARTITIONS, RECORDS, WAIT, WORKERS = 20, 2000, 5.0, 5
#: Partitions of the run with one worker. It takes two minutes for all, so that they are only done when a lesson shows them.
ALONE = PARTITIONS if "INTEGRATION_RECORD" in os.environ else 5


@dataclass(frozen=True)
class Run:
    """A run that was watched. `tries`: a row for each try of a task; `totals`: what the last task has counted."""

    name: str
    workers: int
    tries: pd.DataFrame
    totals: dict[str, int]

    @property
    def upgrades(self) -> pd.DataFrame:
        return self.tries[self.tries["task"].str.startswith("upgrade[")]

    @property
    def rate(self) -> float:
        """Partitions a second, from the moment when the first one was queued until the last one was done."""
        return self.upgrades["task"].nunique() / (self.upgrades["end"].max() - self.upgrades["queued"].min())


@pytest.fixture(scope="module")
def secrets() -> dict[str, str]:
    return {name: make_env.secret() for name in make_env.required(COMPOSE.parent)}


@pytest.fixture(scope="module")
def stack(engine: Engine, compose: Callable[..., Stack], secrets: dict[str, str]) -> Stack:
    """The stack with five workers."""
    engine.provide(*BASES)
    stack = compose(COMPOSE, env={**secrets, "VERSION": "test", "AIRFLOW_PORT": "0", "COMPOSE_BAKE": "false"})
    stack("build", "migrate")
    stack.up("--scale", f"worker={WORKERS}", timeout=300)
    return stack


@pytest.fixture(scope="module")
def airflow(stack: Stack, secrets: dict[str, str]) -> Airflow:
    return Airflow(f"http://127.0.0.1:{stack.port('api-server', 8080)}", "admin", secrets["ADMIN_PASSWORD"])


def watch(airflow: Airflow, name: str, workers: int, run: str) -> Run:
    """Wait for a run to end and read what became of it."""
    state = airflow.wait(DAG, run, timeout=420)
    tries = airflow.tries(DAG, run)
    assert state == "success", f"{name}:\n{tries.to_string()}"
    task = f"/api/v2/dags/{DAG}/dagRuns/{run}/taskInstances/account"
    account = airflow._ask(f"{task}/xcomEntries/return_value")["value"]
    return Run(name, workers, tries, account)


def start(airflow: Airflow, dataset: str, partitions: int = PARTITIONS, wait: float = WAIT) -> str:
    parameters = {"dataset": dataset, "partitions": partitions, "records": RECORDS, "wait": wait}
    return airflow.trigger(DAG, parameters)


def kill_one_at_work(airflow: Airflow, engine: Engine, run: str) -> str:
    """Kill the container of a worker that has just begun a partition, not its first; return its host name."""
    deadline, earlier = time.monotonic() + 120, set[str]()
    while time.monotonic() < deadline:
        upgrades = airflow.tries(DAG, run).query("task.str.startswith('upgrade[')")
        running = upgrades[upgrades["state"] == "running"]
        begun = running[~running["task"].isin(earlier)]
        if (upgrades["state"] == "success").sum() >= 3 and len(begun):
            worker = begun["worker"].iloc[-1]
            engine.docker("kill", worker)
            return worker
        earlier = set(running["task"])
        time.sleep(0.3)
    raise AssertionError(f"nobody was at work on {run}:\n{upgrades.to_string()}")


@pytest.fixture(scope="module")
def runs(engine: Engine, stack: Stack, airflow: Airflow) -> dict[str, Run]:
    """The same work three times: five workers, five of which one is killed, one worker (on a part of it).

    A small run goes before, and is not counted: the first run on a stack is slower than all others.
    """
    watch(airflow, "warm-up", WORKERS, start(airflow, "warm", partitions=2 * WORKERS, wait=0.0))
    five = watch(airflow, "five workers", WORKERS, start(airflow, "five"))
    run = start(airflow, "killed")
    kill_one_at_work(airflow, engine, run)
    killed = watch(airflow, "one of five killed", WORKERS, run)
    stack.up("--scale", "worker=1", "--no-recreate")
    one = watch(airflow, "one worker", 1, start(airflow, "one", partitions=ALONE))
    found = {run.name: run for run in (five, killed, one)}
    if "INTEGRATION_RECORD" in os.environ:
        record(found, engine)
    return found


def record(runs: dict[str, Run], engine: Engine) -> None:
    """Write the runs for lesson 09, and beside them what they were made with."""
    folder = ROOT / "notebooks" / "data"
    folder.mkdir(exist_ok=True)
    tables = []
    for run in runs.values():
        hosts = run.tries[
            "worker"
        ].unique()  # in the order in which they began: names that say nothing of this machine
        names = {host: f"worker-{number}" for number, host in enumerate(hosts, start=1)}
        table = run.tries.assign(worker=run.tries["worker"].map(names), run=run.name, workers=run.workers)
        tables.append(table[["run", "workers", *run.tries.columns]])
    pd.concat(tables).to_csv(folder / "airflow_runs.csv", index=False)
    provenance: dict[str, Any] = {
        "what": "each try of each task of three runs of compose/dags/upgrade_users.py, after one to warm up; "
        "times in seconds since the first task was queued",
        "command": "make test-integration RECORD=1",
        "recorded": time.strftime("%Y-%m-%d", time.gmtime()),
        "stack": "compose/docker-compose.scale.yml",
        "base images": "stand-ins made of the distribution's packages" if engine.private else "official",
        "parameters": {"partitions": PARTITIONS, "records": RECORDS, "wait": WAIT},
        "airflow": version_of("apache-airflow"),
        "celery": version_of("celery"),
        "engine": engine.docker("version", "--format", "{{.Server.Version}}").strip(),
        "cores": os.cpu_count(),
        "machine": f"{platform.system()} {platform.machine()}",
        "accounted for": {run.name: run.totals for run in runs.values()},
    }
    text = json.dumps(provenance, indent=2, ensure_ascii=False) + "\n"
    (folder / "airflow_runs.json").write_text(text, encoding="utf-8")


def version_of(package: str) -> str:
    lock = (ROOT / "compose" / "airflow" / "requirements.lock").read_text(encoding="utf-8")
    [line] = [line for line in lock.splitlines() if line.startswith(f"{package}==")]
    return line.removeprefix(f"{package}==").rstrip(" \\")


# ── The stack ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_nobody_runs_as_root_and_ports_are_on_loopback(
    engine: Engine, stack: Stack, runs: dict[str, Run]
) -> None:
    numbers = stack("ps", "--quiet").split()
    assert len(numbers) >= 7
    for number in numbers:
        [about] = json.loads(engine.docker("inspect", number))
        users = {line.split()[0] for line in engine.docker("top", number, "-o", "uid,pid").splitlines()[1:]}
        assert "0" not in users, about["Name"]
        published = [port or [] for port in about["NetworkSettings"]["Ports"].values()]
        assert {one["HostIp"] for port in published for one in port} <= {"127.0.0.1"}, about["Name"]
        assert about["HostConfig"]["Memory"] > 0 and about["HostConfig"]["CapDrop"] == ["ALL"], about["Name"]


def test_the_stack_refuses_to_start_without_its_secrets(compose: Callable[..., Stack], stack: Stack) -> None:
    refused = compose(COMPOSE).run("--env-file", "/dev/null", "config", "--quiet", check=False)
    assert refused.returncode != 0
    assert "run python compose/make_env.py" in refused.stderr


# ── The runs ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_five_workers_share_the_partitions_and_are_faster_than_one(runs: dict[str, Run]) -> None:
    upgrades = runs["five workers"].upgrades
    assert (len(upgrades), upgrades["worker"].nunique()) == (PARTITIONS, WORKERS)
    assert set(upgrades["state"]) == {"success"}
    assert set(runs["one worker"].upgrades["worker"].value_counts()) == {ALONE}
    ratio = runs["five workers"].rate / runs["one worker"].rate
    assert ratio >= 2.5, f"{ratio:.2f} times faster"


def test_a_killed_worker_costs_a_second_try_and_no_record(runs: dict[str, Run]) -> None:
    upgrades = runs["one of five killed"].upgrades
    [again] = upgrades.loc[upgrades["try"] > 1, "task"].unique()
    first, *later = upgrades[upgrades["task"] == again].sort_values("try").itertuples()
    assert first.state == "failed" or first.state == "up_for_retry", upgrades.to_string()
    assert later[-1].state == "success"
    assert later[-1].worker != first.worker
    assert set(upgrades.groupby("task")["state"].last()) == {"success"}


def test_every_record_is_accounted_for(runs: dict[str, Run]) -> None:
    assert runs["five workers"].totals == runs["one of five killed"].totals
    for run, partitions in zip(runs.values(), (PARTITIONS, PARTITIONS, ALONE), strict=True):
        assert run.totals["partitions"] == partitions
        assert run.totals["records"] == partitions * RECORDS
        assert run.totals["records"] == run.totals["upgraded"] + run.totals["quarantined"]
        assert 0 < run.totals["quarantined"] < run.totals["records"] / 10
