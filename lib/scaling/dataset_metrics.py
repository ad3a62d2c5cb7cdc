"""Metrics of a partitioned data set, for Prometheus: the time of its newest partition and the size of its smallest.

They are read from the manifest of `lib.scaling.partitions`. Serve them from another process than the job, because a job that
hangs reports nothing.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from wsgiref.simple_server import WSGIServer

import msgspec
import prometheus_client

from lib.scaling.partitions import Entry

#: How many partitions are watched, the last ones by name. A gap in one of them shows until it is filled.
LAST = 24


def serve(target: Path) -> WSGIServer:
    """Serve the metrics of the data set in the folder `target` until `.shutdown()`.

    They are served on a free port of 127.0.0.1 (`.server_port`). Before the first partition exists, all metrics are 0.
    """
    registry = prometheus_client.CollectorRegistry()
    for name, text, value in (
        ("newest_timestamp_seconds", "When it was written", lambda paths: paths[-1].stat().st_mtime),
        ("smallest_partition_records", "Fewest records that passed", lambda paths: min(_passed(paths))),
        ("median_partition_records", "Their median", lambda paths: statistics.median(_passed(paths))),
    ):
        gauge = prometheus_client.Gauge(f"dataset_{name}", text, ["dataset"], registry=registry)
        gauge.labels(target.name).set_function(partial(_now, target, value))
    return prometheus_client.start_http_server(0, "127.0.0.1", registry)[0]


def _now(target: Path, value: Callable[[list[Path]], float]) -> float:
    paths = sorted((target / "manifest").glob("*.json"))[-LAST:]
    return value(paths) if paths else 0


def _passed(paths: list[Path]) -> list[int]:
    return [msgspec.json.decode(path.read_bytes(), type=Entry).passed for path in paths]
