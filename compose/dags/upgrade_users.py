"""Upgrade a data set of users, partition by partition, on as many workers as there are.

    partitions  ->  upgrade (one task for each partition)  ->  account

*partitions* lists the files of `<data set>`; a missing data set is created, with 5 % of its records broken. *upgrade* is
mapped over this list during the run: one task for each of up to 10,000 partitions. (Airflow's default limit is 1,024; our stack sets
AIRFLOW__CORE__MAX_MAP_LENGTH.) *account* counts the records in the files again, and fails if a record is neither upgraded nor in
quarantine.

A task may run twice, and several runs may work on one data set: `lib.scaling.partitions.upgrade_file` skips finished partitions, and
removes the unfinished files of a killed task. So if a worker dies, its task is simply tried again on another worker.

Parameters: `dataset` (a name), `version` to upgrade to, `partitions` and `records` (in each) of a new data set, `wait`
(seconds to wait for each partition, as for a distant store).
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import Param, dag, task

DATA = Path(os.environ.get("LESSONS_DATA", "/data"))
SEED, BROKEN = 2026, 0.05


@dag(
    schedule=None,
    max_active_runs=4,
    tags=["lessons"],
    doc_md=__doc__,
    params={
        "dataset": Param("users", type="string", pattern=r"^[a-z][a-z0-9_-]{0,40}$"),
        "version": Param(3, type="integer", minimum=2, maximum=3),
        "partitions": Param(20, type="integer", minimum=1, maximum=10_000),
        "records": Param(2000, type="integer", minimum=1, maximum=1_000_000),
        "wait": Param(2.0, type="number", minimum=0, maximum=3600),
    },
)
def upgrade_users() -> None:
    """See the text above, which Airflow shows beside the graph."""

    @task(retries=3, retry_delay=timedelta(seconds=2))
    def partitions(params: dict[str, Any] | None = None) -> list[str]:
        """Return the names of the partitions."""
        source, _ = folders(params)
        make_dataset(source, params["partitions"], params["records"])
        return sorted(path.name for path in source.glob("*.ndjson"))

    @task(retries=3, retry_delay=timedelta(seconds=2))
    def upgrade(partition: str, params: dict[str, Any] | None = None) -> dict[str, int]:
        """Upgrade one partition; return the counts in its manifest entry."""
        from lib.scaling.partitions import upgrade_file

        source, target = folders(params)
        time.sleep(params["wait"])
        entry = upgrade_file(source / partition, target, params["version"])
        return {"read": entry.read, "passed": entry.passed, "quarantined": entry.quarantined}

    @task(retries=3, retry_delay=timedelta(seconds=2))
    def account(names: list[str], params: dict[str, Any] | None = None) -> dict[str, int]:
        """Count the records of all files. Raises RuntimeError if some are missing, or if there are too many."""
        source, target = folders(params)
        totals = {"partitions": 0, "records": 0, "upgraded": 0, "quarantined": 0}
        for name in names:
            entry = json.loads((target / "manifest" / f"{name}.json").read_bytes())
            found = {"read": lines(source / name), "passed": lines(target / name),
                     "quarantined": lines(target / "quarantine" / name)}  # fmt: skip
            if (
                found != {key: entry[key] for key in found}
                or found["read"] != found["passed"] + found["quarantined"]
            ):
                raise RuntimeError(f"{name}: the files hold {found}, the manifest says {entry}")
            counts = (1, found["read"], found["passed"], found["quarantined"])
            totals = {key: total + count for (key, total), count in zip(totals.items(), counts, strict=True)}
        return totals

    names = partitions()
    upgrade.expand(partition=names) >> account(names)


def folders(params: dict[str, Any]) -> tuple[Path, Path]:
    """Return the folders of a data set and of its upgraded partitions."""
    name = params["dataset"]
    return DATA / name, DATA / f"{name}.v{params['version']}"


def make_dataset(source: Path, partitions: int, records: int) -> None:
    """Write a data set of version 1, unless it exists; it appears complete or not at all. Other runs that need it wait."""
    from lib.stage.locks import file_lock
    from lib.versioning import make_users

    part = source.with_name(f".{source.name}.part")
    with file_lock(source.with_name(f".{source.name}.lock"), wait=math.inf):  # a killed try holds no lock
        if source.exists():
            return
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        for number in range(partitions):
            with (part / f"part-{number:03}.ndjson").open("w", encoding="utf-8") as file:
                for record in make_users(records, seed=SEED + number, broken=BROKEN):
                    file.write(json.dumps(record) + "\n")
        part.rename(source)


def lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


upgrade_users()
