"""Validate and migrate many records together: return those that pass, quarantine the others, and count what changed.

Records are processed in chunks. `lib.versioning.suspects` finds the few that need a full check, by the functions of
`lib.versioning.records`; the others are known to be valid.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from itertools import repeat
from typing import Any, Final, Literal, NamedTuple, Self, TypedDict

from lib.versioning.history import SchemaHistory
from lib.versioning.records import (
    Record,
    migrate_record,
    plain_migrator,
    record_version,
    validator,
)
from lib.versioning.schema import VERSION_KEY
from lib.versioning.suspects import drop_positions, suspects

Way = Literal["upgrade", "downgrade"]


class Quarantined(TypedDict):
    """A quarantined record: its place in the input (from 1), its version, every error, and the unchanged record."""

    line: int
    version: int
    errors: list[str]
    raw: Any


@dataclass
class Report:
    """Counts of what happened to records. Add up the reports of parts with `+=`.

    `versions` counts the records read, by version. `kept` counts, by field, filled values that a migration left unchanged.
    `lost` counts the values that the opposite migration would not restore. `reasons` counts errors without their details.
    """

    read: int = 0
    passed: int = 0
    quarantined: int = 0
    versions: Counter[int] = dataclasses.field(default_factory=Counter)
    kept: Counter[str] = dataclasses.field(default_factory=Counter)
    lost: Counter[str] = dataclasses.field(default_factory=Counter)
    reasons: Counter[str] = dataclasses.field(default_factory=Counter)

    def __iadd__(self, other: Report) -> Self:
        for name, count in vars(other).items():
            setattr(self, name, getattr(self, name) + count)
        return self


class Batch(NamedTuple):
    """The records that passed, in order; the quarantined records, in order; and the counts."""

    records: list[Record]
    quarantined: list[Quarantined]
    report: Report


def reason_of(error: str) -> str:
    """Cut the details off an error: `id: expected string (got integer 5)` has the reason `id: expected string`."""
    return error.partition(" (")[0]


#: How many records are processed at a time: few enough that they stay in the processor's cache for all passes.
CHUNK: Final = 1000


@dataclass(frozen=True)
class Task:
    """What `process` must do with each record."""

    history: SchemaHistory
    target: int | None
    way: Way
    doubtful: bool = False

    def beyond(self, version: int) -> list[str]:
        """Return an error if a version is on the wrong side of the target."""
        if self.target is None or (
            version <= self.target if self.way == "upgrade" else version >= self.target
        ):
            return []
        side = "above" if self.way == "upgrade" else "below"
        return [f"{VERSION_KEY}: {side} the target version (got {version}, the target is {self.target})"]


def process(
    history: SchemaHistory, records: list[Any], target: int | None, way: Way, *, doubtful: bool = False
) -> Batch:
    """Validate all records at their own versions, and migrate the valid ones to `target` (None: leave them).

    `doubtful`: most of them are probably invalid, so each one gets the full check at once.
    """
    task, whole = Task(history, target, way, doubtful), Batch([], [], Report(read=len(records)))
    for start in range(0, len(records), CHUNK):
        _process_chunk(task, records[start : start + CHUNK], start, whole)
    whole.report.passed, whole.report.quarantined = len(whole.records), len(whole.quarantined)
    return whole


def _process_chunk(task: Task, records: list[Any], start: int, whole: Batch) -> None:
    """Process a chunk of records and add the results to `whole`; `start` is the first record's place in the input.

    Records that are certainly valid at the version of the first one are processed together if possible, all others one by one.
    """
    version, unknown = record_version(task.history, records[0])
    label = None if unknown or VERSION_KEY not in records[0] else version
    version = 1 if unknown else version
    schema = task.history.schema(version)
    doubtful = set(range(len(records))) if task.doubtful else suspects(schema, records, label)
    sure = drop_positions(records, doubtful) if doubtful else records
    together = _process_together(task, version, sure)
    if together is not None and sure:
        whole.report.versions[version] += len(sure)
    done: dict[int, Record] = {}
    reasons: list[str] = []
    for at in range(len(records)) if together is None else sorted(doubtful):
        own, errors, result = process_one(task, records[at], whole.report, at not in doubtful)
        if errors:
            line: Quarantined = {"line": start + at + 1, "version": own, "errors": errors, "raw": records[at]}
            whole.quarantined.append(line)
            reasons += map(reason_of, errors)
        else:
            done[at] = result
    whole.report.reasons.update(reasons)
    if done and together:
        done.update(zip(drop_positions(range(len(records)), doubtful), together, strict=True))
    whole.records.extend((done[at] for at in sorted(done)) if done else together or ())


def _process_together(task: Task, version: int, records: list[Record]) -> list[Record] | None:
    """Process valid records of one version together; return None if they must be processed one by one."""
    if task.target is None:
        return records
    migrate_all = None if task.beyond(version) else plain_migrator(task.history, version, task.target)
    # Each record has all declared fields, so the number of its keys shows whether it has others.
    more = sum(map(len, records)) - len(task.history.schema(version)) * len(records)
    if migrate_all is None or (more and more != sum(map(dict.__contains__, records, repeat(VERSION_KEY)))):
        return None
    return migrate_all(records)


def process_one(
    task: Task, record: Any, report: Report, valid: bool = False
) -> tuple[int, list[str], Record]:
    """Return a record's version, every error, and the result; count it in `report`. `valid`: it is known to be valid."""
    version, unknown = record_version(task.history, record)
    if unknown:
        return version, [unknown], record
    report.versions[version] += 1
    errors = [] if valid else validator(task.history.schema(version))(record)
    errors = errors or task.beyond(version)
    if errors or task.target is None:
        return version, errors, record
    migrated = migrate_record(task.history, record, version, task.target)
    if not migrated.failed:
        report.kept.update(name for name, _ in migrated.kept)
        report.lost.update(name for name, _ in migrated.lost)
    return version, migrated.failed, migrated.record
