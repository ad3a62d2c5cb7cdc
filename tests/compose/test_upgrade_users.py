"""The DAG's own functions, without Airflow: runs that make the same data set at once, a try that was killed, and many partitions."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
import yaml

from lib import versioning

COMPOSE = Path(__file__).resolve().parents[2] / "compose"
PARAMETERS = {"dataset": "users", "version": 3, "partitions": 6, "records": 50, "wait": 0}


#: The functions below `@task`, by name, each with what the decorator got.
Tasks = dict[str, tuple[Callable[..., Any], dict[str, Any]]]


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Tasks:
    found: Tasks = {}

    def task(**options: Any) -> Callable[[Any], MagicMock]:
        return lambda function: found.update({function.__name__: (function, options)}) or MagicMock()

    airflow = SimpleNamespace(Param=MagicMock(), dag=lambda **_: lambda function: function, task=task)
    monkeypatch.setitem(sys.modules, "airflow", MagicMock())
    monkeypatch.setitem(sys.modules, "airflow.sdk", airflow)
    monkeypatch.setenv("LESSONS_DATA", str(tmp_path))
    runpy.run_path(str(COMPOSE / "dags" / "upgrade_users.py"))
    return found


def run(tasks: Tasks, **parameters: Any) -> dict[str, int]:
    """A whole run, as Airflow does it."""
    partitions, upgrade, account = (tasks[name][0] for name in ("partitions", "upgrade", "account"))
    names = partitions(params=PARAMETERS | parameters)
    for name in names:
        upgrade(name, params=PARAMETERS | parameters)
    return account(names, params=PARAMETERS | parameters)


def test_runs_that_begin_on_a_new_data_set_at_once_all_do_the_same_one(tasks: Tasks, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as threads:
        totals = list(threads.map(lambda number: run(tasks, partitions=4 + number), range(4)))
    assert totals[0]["records"] == 50 * totals[0]["partitions"] and totals == [totals[0]] * 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["users", "users.v3"]


def test_leftovers_are_not_published(tasks: Tasks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a killed try has left stays where it is."""

    def killed(*_: Any, **__: Any) -> Iterator[Any]:
        yield from good(10, seed=1)
        if len(list(tmp_path.glob(".*/*"))) == 5:
            raise KeyboardInterrupt

    good = versioning.make_users
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(versioning, "make_users", killed)
        run(tasks)
    assert len(list(tmp_path.glob(".*/*"))) == 5
    totals = run(tasks, partitions=2)
    assert (totals["partitions"], totals["records"]) == (2, 100)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["users", "users.v3"]


def test_each_task_is_tried_again_when_its_worker_is_lost(tasks: Tasks) -> None:
    assert [options["retries"] for _, options in tasks.values()] == [3, 3, 3]


def test_the_stack_takes_as_many_partitions_as_the_dag_promises() -> None:
    """Airflow itself refuses to map a task over more than 1,024."""
    stack = yaml.safe_load((COMPOSE / "docker-compose.scale.yml").read_text(encoding="utf-8"))
    limit = int(stack["x-environment"]["AIRFLOW__CORE__MAX_MAP_LENGTH"])
    text = (COMPOSE / "dags" / "upgrade_users.py").read_text(encoding="utf-8")
    assert re.findall(r"up to ([\d,]+) partitions", text) == [f"{limit:,}"] and limit > 2000
