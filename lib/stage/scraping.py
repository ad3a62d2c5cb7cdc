"""Scrape metrics as Prometheus does: read them over HTTP repeatedly, and keep them with their time and instance.

    with Scraper(lambda: {"blue-8001": Target("service", "http://127.0.0.1:8001/metrics")}) as scraper:
        ...
    scraper.read("http_request_duration_seconds_count")

A scrape reads the current values of a process. Changes and rates are computed later, from several scrapes.
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
    """A process to scrape: its job, such as `service`, and its address."""

    job: str
    url: str


def parse(text: str) -> list[Sample]:
    """Return the samples of a text in Prometheus's format, without the `_created` times of series."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return [sample for sample in samples if not sample.name.endswith("_created")]


def fetch(url: str) -> str:
    """Return a target's response. Raises OSError if there is none within five seconds, or its status is not 200."""
    status, text = ask(url, timeout=5.0)
    if status != 200:
        raise OSError(f"{url} answers with status {status}")
    return text


class Scraper(Running):
    """Scrapes targets at once, then in a thread until `stop()` or the end of the `with` block, and once more at the end."""

    def __init__(self, discover: Callable[[], Mapping[str, Target]], *, every: float = 0.25) -> None:
        """discover: returns the targets of the next round, by name. every: seconds from one round to the next."""
        check_range(0.001, 3600, every=every)
        self._discover, self._every = discover, every
        self._rows: list[tuple[float, str, str, Sample]] = []
        self._ending = threading.Event()
        self._round()  # before this returns: what happens next is growth
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        due = time.monotonic() + self._every
        while not self._ending.wait(max(0.0, due - time.monotonic())):
            self._round()
            due = max(due + self._every, time.monotonic())

    def _round(self) -> None:
        at = time.monotonic()  # one time for the whole round, so that values of targets can be added up
        for instance, target in self._discover().items():
            samples, up = list[Sample](), 0.0
            with suppress(OSError, http.client.HTTPException, ValueError):  # ValueError: no metrics
                samples, up = parse(fetch(target.url)), 1.0
            samples.append(Sample("up", {}, up))
            self._rows += [(at, target.job, instance, sample) for sample in samples]

    def read(self, name: str) -> pd.DataFrame:
        """Return all samples with one name: at (seconds of `time.monotonic()`), job, instance, a column for each label, value.

        Besides the targets' own samples there is `up`: 1 if a target answered, 0 if not. Raises KeyError, with the known names,
        if there is no sample with this name.
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
        """Scrape once more, so that no change is missing, and stop. May be repeated."""
        if not self._ending.is_set():
            self._ending.set()
            self._thread.join()
            self._round()
