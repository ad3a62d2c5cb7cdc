"""Three tasks in a row; each records the code that it was loaded with. Lesson 09 shows recorded runs of this DAG.

In one of them this file was changed during the run; others are backfills. It never starts by itself, because its `end_date` has
passed.
"""

import time
from datetime import datetime
from typing import Any

from airflow.sdk import chain, dag, task

CODE = 1
STEPS = ["extract", "transform", "load"]


def step(ti: Any = None, params: dict[str, Any] | None = None) -> None:
    """Record which code was loaded, then work for a while."""
    ti.xcom_push("code", CODE)
    time.sleep(params["wait"])


@dag(
    schedule="@daily",
    start_date=datetime(2026, 11, 1),
    end_date=datetime(2026, 11, 9),
    max_active_runs=1,
    params={"wait": 1.0},
    tags=["lessons"],
)
def daily_orders() -> None:
    chain(*(task(task_id=name)(step)() for name in STEPS))


daily_orders()
