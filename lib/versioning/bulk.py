"""Many records at once: what passes, what is put aside and why, and what changed, in counts.

Records are worked on in chunks of one version. `lib.versioning.suspects` names the few that need a closer look, and the
functions of `lib.versioning.records` take that look; the others are known to be valid.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from operator import itemgetter
from typing import Any, Final, Literal, NamedTuple, Self, TypedDict

from lib.versioning.history import SchemaHistory
from lib.versioning.records import (
    Extra,
    Record,
    migrator,
    needs_recheck,
    plain_migrator,
    record_version,
    validator,
)
from lib.versioning.schema import VERSION_KEY, Schema
from lib.versioning.suspects import drop_positions, suspects

Way = Literal["upgrade", "downgrade"]


class Quarantined(TypedDict):
    """A record that was put aside: its place in the input (from 1), its version, every error, and itself, untouched."""

    line: int
    version: int
    errors: list[str]
    raw: Any


@dataclass
class Report:
    """What happened to records, in counts. Reports of parts add up with `+=`.

    `versions` counts what was read by version; `kept` counts, by field, filled values that a migration left as they
    were; `lost` those that the opposite way would not restore; `reasons` counts errors without their details.
    """

    read: int = 0
    passed: int = 0
    quarantined: int = 0
    versions: Counter[int] = dataclasses.field(default_factory=Counter)
    kept: Counter[str] = dataclasses.field(default_factory=Counter)
    lost: Counter[str] = dataclasses.field(default_factory=Counter)
    reasons: Counter[str] = dataclasses.field(default_factory=Counter)

    def __iadd__(self, other: Report) -> Self:
        self.read += other.read
        self.passed += other.passed
        self.quarantined += other.quarantined
        for name in ("versions", "kept", "lost", "reasons"):
            getattr(self, name).update(getattr(other, name))
        return self


class Batch(NamedTuple):
    """Records that passed, in their order; those put aside, in theirs; and the counts."""

    records: list[Record]
    quarantined: list[Quarantined]
    report: Report


def reason_of(error: str) -> str:
    """Cut the details off an error: `id: expected string (got integer 5)` has the reason `id: expected string`."""
    return error.partition(" (")[0]


def count(notes: Iterable[tuple[str, Any]]) -> Counter[str]:
    """Count notes (field, value) by field."""
    return Counter(map(itemgetter(0), notes))


#: So many records at a time are worked on, so that all passes over them find them in the processor's cache.
CHUNK: Final = 1000

#: Records that are put aside: by their place in a list the version and every error.
Aside = dict[int, tuple[int, list[str]]]


@dataclass(frozen=True)
class _Task:
    """What `process` is to do with each record."""

    history: SchemaHistory
    extra: Extra
    target: int | None
    way: Way
    doubtful: bool

    def beyond(self, version: int) -> list[str]:
        """Say so if a version lies on the wrong side of the target."""
        if self.target is None or (
            version <= self.target if self.way == "upgrade" else version >= self.target
        ):
            return []
        side = "above" if self.way == "upgrade" else "below"
        return [f"{VERSION_KEY}: {side} the target version (got {version}, the target is {self.target})"]


def process(
    history: SchemaHistory,
    extra: Extra,
    records: list[Any],
    target: int | None,
    way: Way,
    *,
    doubtful: bool = False,
) -> Batch:
    """Validate all records at their own versions, and migrate those that are valid to `target` (None: leave them).

    If they are all `doubtful`, each gets a closer look at once.
    """
    task, whole = _Task(history, extra, target, way, doubtful), Batch([], [], Report(read=len(records)))
    for start in range(0, len(records), CHUNK):
        _process_chunk(task, records[start : start + CHUNK], start, whole)
    whole.report.passed, whole.report.quarantined = len(whole.records), len(whole.quarantined)
    return whole


def _process_chunk(task: _Task, records: list[Any], start: int, whole: Batch) -> None:
    """Add to `whole` what becomes of some records, of which the first has the place `start` in the input.

    All that have the same version as the first are done together, then all that have the same as the first that is left.
    """
    aside: Aside = {}
    done: dict[int, Record] = {}
    places: Sequence[int] = range(len(records))
    while places:
        group = records if len(places) == len(records) else [records[place] for place in places]
        results, bad, others = _process_version(task, group, whole.report)
        aside.update((places[at], what) for at, what in bad.items())
        if not others and not done:
            whole.records.extend(results)
            break
        done.update(zip(drop_positions(places, others | bad.keys()), results, strict=True))
        places = [places[at] for at in sorted(others)]
    whole.records.extend(done[place] for place in sorted(done))
    reasons: list[str] = []
    for place in sorted(aside):
        version, errors = aside[place]
        whole.quarantined.append(
            {"line": start + place + 1, "version": version, "errors": errors, "raw": records[place]}
        )
        reasons += map(reason_of, errors)
    whole.report.reasons.update(reasons)


def _process_version(task: _Task, records: list[Any], report: Report) -> tuple[list[Record], Aside, set[int]]:
    """Process the records that have the same version as the first (or version 1, if the first has none that is known).

    Return the results of those that pass, those that are put aside, and the places of records of other versions.
    """
    version, unknown = record_version(task.history, records[0])
    label = None if unknown or VERSION_KEY not in records[0] else version
    version = 1 if unknown else version
    aside, others = _put_aside(task, version, label, records)
    if number := len(records) - len(others) - sum(own != version for own, _ in aside.values()):
        report.versions[version] += number
    places: Sequence[int] = range(len(records))
    if aside or others:
        gone = others | aside.keys()
        places, records = drop_positions(places, gone), drop_positions(records, gone)
    if beyond := task.beyond(version):
        aside.update((at, (version, beyond)) for at in places)
        return [], aside, others
    if task.target is None:
        return records, aside, others
    results, failed = _migrate(task, version, task.target, records, report)
    aside.update((places[at], (version, errors)) for at, errors in failed.items())
    return results, aside, others


def _put_aside(task: _Task, version: int, label: int | None, records: list[Any]) -> tuple[Aside, set[int]]:
    """Return the invalid records, and the places of those of other versions."""
    schema = task.history.schema(version)
    validate = validator(schema, task.extra)
    aside: Aside = {}
    others: set[int] = set()
    doubtful = range(len(records)) if task.doubtful else suspects(schema, task.extra, records, label)
    for at in doubtful:
        own, unknown = record_version(task.history, records[at])
        if unknown:
            aside[at] = own, [unknown]
        elif own != version:
            others.add(at)
        elif errors := validate(records[at]):
            aside[at] = own, errors
    return aside, others


def _migrate(
    task: _Task, version: int, target: int, records: list[Record], report: Report
) -> tuple[list[Record], dict[int, list[str]]]:
    """Migrate valid records of one version. Return those that come out, and by place what is wrong with the others."""
    migrate_all = plain_migrator(task.history, version, target)
    if migrate_all and _are_plain(task.history.schema(version), records):
        return migrate_all(records), {}
    migrate = migrator(task.history, version, target, task.extra)
    recheck = needs_recheck(task.history, version, target)
    check = validator(task.history.schema(target), task.extra)
    results: list[Record] = []
    bad: dict[int, list[str]] = {}
    for at, record in enumerate(records):
        kept, lost, failed = [], [], []
        result = migrate(record, kept.append, lost.append, failed.append)
        if recheck and not failed:
            failed = check(result)
        if failed:
            bad[at] = failed
            continue
        results.append(result)
        if kept or lost:
            report.kept.update(count(kept))
            report.lost.update(count(lost))
    return results, bad


def _are_plain(schema: Schema, records: list[Record]) -> bool:
    """Tell whether valid records have no field that is not declared: each has all that are, so that numbers tell."""
    more = sum(map(len, records)) - len(schema) * len(records)
    return more == 0 or more == sum(map(dict.__contains__, records, repeat(VERSION_KEY)))
