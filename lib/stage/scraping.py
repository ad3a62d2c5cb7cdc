"""Metrics as Prometheus gets them: read over HTTP, again and again, and kept with the moment and the place.

    with Scraper(lambda: {"blue-8001": Target("service", "http://127.0.0.1:8001/metrics")}) as scraper:
        ...
    scraper.read("http_request_duration_seconds_count")

A scrape reads what a process says about itself now. That a series has changed, and how fast, is for the reader to find out.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from lib.stage.ports import ask
from lib.stage.programs import Running
from lib.stage.ranges import check_range

#: The rules and the dashboard for these metrics.
MONITORING = Path(__file__).parents[2] / "compose" / "monitoring"


@dataclass(frozen=True)
class Target:
    """What is scraped: the job that it does, such as `service`, and its address."""

    job: str
    url: str


def parse(text: str) -> list[Sample]:
    """The samples in Prometheus's text format; the moments at which series were created are left out."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return [sample for sample in samples if not sample.name.endswith("_created")]


def fetch(url: str) -> str:
    """What a target answers. Raises OSError where it does not, or not with 200, within five seconds."""
    status, text = ask(url, timeout=5.0)
    if status != 200:
        raise OSError(f"{url} answers with status {status}")
    return text


class Scraper(Running):
    """Scrapes targets in a thread, until `stop()` or the end of the `with` block; then once more."""

    def __init__(self, discover: Callable[[], Mapping[str, Target]], *, every: float = 0.25) -> None:
        """discover: returns the targets of the next round, by name. every: seconds from one round to the next."""
        check_range(0.001, 3600, every=every)
        self._discover, self._every = discover, every
        self._rows: list[tuple[float, str, str, Sample]] = []
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._ending.wait(max(0.0, due - time.monotonic())):
            self._round()
            due = max(due + self._every, time.monotonic())

    def _round(self) -> None:
        at = time.monotonic()  # one moment for the whole round, so that targets can be added up
        for instance, target in self._discover().items():
            samples, up = list[Sample](), 0.0
            with suppress(OSError, http.client.HTTPException, ValueError):  # the last: no metrics came
                samples, up = parse(fetch(target.url)), 1.0
            samples.append(Sample("up", {}, up))
            self._rows += [(at, target.job, instance, sample) for sample in samples]

    def read(self, name: str) -> pd.DataFrame:
        """All samples of one name: at (seconds of `time.monotonic()`), job, instance, a column for each label, value.

        Besides the targets' own samples there is `up`: 1 if a target answered, 0 if not. Raises KeyError, with the names
        that there are, when there is none of this name.
        """
        rows = list(self._rows)
        found = [
            {"at": at, "job": job, "instance": instance} | sample.labels | {"value": sample.value}
            for at, job, instance, sample in rows
            if sample.name == name
        ]
        if not found:
            known = ", ".join(sorted({sample.name for *_, sample in rows}))
            raise KeyError(f"no sample of {name!r} in {len(rows)}; there are {known or 'none'}")
        return pd.DataFrame(found)

    def stop(self) -> None:
        """Scrape once more, so that nothing that has happened is missing, and end. May be repeated."""
        if not self._ending.is_set():
            self._ending.set()
            self._thread.join()
            self._round()
