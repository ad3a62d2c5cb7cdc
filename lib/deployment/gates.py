"""The checks that a release must pass before and after it gets traffic: each returns a verdict with every reason against it.

Two releases, blue and green, run at the same time and share their data: green reads blue's records from the start, and after a
rollback blue reads green's records. An earlier release has no migration for the records of a later one.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lib.deployment.replicas import call
from lib.deployment.states import Release
from lib.stage.ranges import check_range
from lib.versioning.bulk import Report
from lib.versioning.compatibility import judge
from lib.versioning.history import SchemaHistory
from lib.versioning.resolution import differences, expanded

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Gate:
    """A verdict: passed if there is no reason against it."""

    name: str
    reasons: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.reasons

    def __str__(self) -> str:
        return "\n  ".join([f"{self.name}: {'passed' if self.passed else 'refused'}", *self.reasons])


def schema_gate(
    history: SchemaHistory, blue: Release, green: Release, *, evidence: Report | None = None
) -> Gate:
    """Can green read what blue wrote, and, after a rollback, blue what green wrote?

    evidence: the report of migrating all existing records from blue's version to green's.
        If it shows no failure, a migration passes that may fail on some valid record.
    Raises UnknownVersionError.
    """
    backward = [f"backward, green reads blue: {reason}" for reason in _unread(history, green, blue, evidence)]
    forward = [f"forward, blue reads green: {reason}" for reason in _unread(history, blue, green, None)]
    return Gate("schema", (*backward, *forward))


def _unread(
    history: SchemaHistory, reader: Release, writer: Release, evidence: Report | None
) -> Iterator[str]:
    """Yield the reasons why a release can't read the records of another."""
    reading = judge(history, writer.version, reader.version)
    if reading.compatible or reader.version == writer.version:
        return
    if reader.version > writer.version:  # the reader has the migration
        if not reading.through_migration and not (evidence and evidence.read and not evidence.quarantined):
            yield from (f"the migration may fail: {reason}; pass `evidence`" for reason in reading.may_fail)
    elif writer.writes_both:
        before, schema = writer.version - 1, history.schema(reader.version)
        both = expanded(history.schema(before), history.schema(writer.version))
        yield from map(str, judge(history, before, reader.version).breaking)
        yield from map(str, differences(schema, both))
    else:
        yield from map(str, reading.breaking)


def health_gate(
    probe: Callable[[], bool], *, successes: int = 3, failures: int = 5, interval: float = 0.2
) -> Gate:
    """Is a replica ready, several times in a row? A slow or failed probe restarts the count.

    probe: returns whether it is ready. The gate refuses after `failures` in a row.
    """
    check_range(1, successes=successes, failures=failures)
    check_range(0, interval=interval)
    good = bad = 0
    while good < successes and bad < failures:
        if good or bad:
            time.sleep(interval)
        good, bad = (good + 1, 0) if probe() else (0, bad + 1)
    return Gate("health", () if bad < failures else (f"not ready {bad} times in a row",))


def smoke_gate(port: int, user: dict[str, Any]) -> Gate:
    """Does a replica work? Create a user (two requests with one key must create only one), read it back, and remove it."""
    reasons, key = [], f"smoke-{uuid.uuid4()}"
    user = user | {"id": key}
    try:
        for attempt, expected in (("create", 201), ("create again", 200)):
            status, created = call(port, "/users", user, idempotency_key=key)
            if status != expected or not user.items() <= created.items():
                reasons.append(f"{attempt}: status {status}, {created}")
        status, found = call(port, f"/users/{key}")
        if status != 200 or not user.items() <= found.items():
            reasons.append(f"read back: status {status}, {found}")
        if (status := call(port, f"/users/{key}", method="DELETE")[0]) != 204:
            reasons.append(f"remove: status {status}")
    except OSError as error:
        reasons.append(f"no answer: {error}")
    return Gate("smoke tests", tuple(reasons))


def slo_gate(requests: pd.DataFrame, *, failed: float = 0.001, p99_s: float = 0.5, least: int = 100) -> Gate:
    """Do requests meet the service-level objective: at most a share `failed` of failures, and a p99 latency of at most `p99_s`?

    requests: rows of `Traffic.requests()`. Fewer than `least` prove nothing, so the gate refuses.
    """
    check_range(0, 1, failed=failed)
    check_range(0, p99_s=p99_s, least=least)
    if len(requests) < least:
        return Gate("service-level objective", (f"{len(requests)} requests prove nothing: wait for {least}",))
    reasons, share = [], (requests["outcome"] != "ok").mean()
    if share > failed:
        kinds = requests["outcome"].value_counts().drop("ok", errors="ignore").to_dict()
        reasons.append(f"{share:.2%} failed, allowed: {failed:.2%} ({kinds})")
    if (p99 := requests["latency"].quantile(0.99)) > p99_s:
        reasons.append(f"p99 latency {p99:.3f} s, allowed: {p99_s:g} s")
    return Gate("service-level objective", tuple(reasons))
