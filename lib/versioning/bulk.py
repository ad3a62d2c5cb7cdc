"""Many records at once: what passes, what is put aside and why, and what changed, in counts.

`suspects` tests whole columns with functions that loop in C, and names the few records that need a closer look by the
functions of `lib.versioning.records`. It may suspect a valid record; it never misses an invalid one.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any, Literal, NamedTuple, Self, TypedDict

from lib.versioning.history import SchemaHistory
from lib.versioning.records import (
    Extra,
    Record,
    migrator,
    needs_recheck,
    record_version,
    validator,
)
from lib.versioning.schema import (
    DIGITS_TO_ZERO,
    MISSING,
    TIMESTAMP_SHAPES,
    TYPES,
    VERSION_KEY,
    Field,
    Schema,
    is_unicode,
)

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
CHUNK = 1000


def process(
    history: SchemaHistory,
    extra: Extra,
    records: list[Any],
    target: int | None,
    way: Way,
) -> Batch:
    """Validate all records at their own versions, and migrate those that are valid to `target` (None: leave them)."""
    whole = Batch([], [], report := Report())
    for start in range(0, len(records), CHUNK):
        part = _process_chunk(history, extra, records[start : start + CHUNK], target, way)
        for line in part.quarantined:
            line["line"] += start
        whole.records.extend(part.records)
        whole.quarantined.extend(part.quarantined)
        report += part.report
    return whole


def _process_chunk(
    history: SchemaHistory,
    extra: Extra,
    records: list[Any],
    target: int | None,
    way: Way,
) -> Batch:
    report = Report(read=len(records))
    aside: dict[int, tuple[int, list[str]]] = {}
    results: list[Any] = records[:]
    for version, places in _by_version(history, records, aside).items():
        group = records if len(places) == len(records) else [records[place] for place in places]
        validate = validator(history.schema(version), extra)
        bad = {
            at: errors
            for at in suspects(history.schema(version), extra, group)
            if (errors := validate(group[at]))
        }
        if target is not None and (version > target if way == "upgrade" else version < target):
            side = "above" if way == "upgrade" else "below"
            beyond = [f"{VERSION_KEY}: {side} the target version (got {version}, the target is {target})"]
            bad = {at: bad.get(at, beyond) for at in range(len(group))}
        elif target is not None:
            for place, record in zip(
                places,
                _migrate(history, extra, group, (version, target), bad, report),
                strict=True,
            ):
                results[place] = record
        aside |= {places[at]: (version, errors) for at, errors in bad.items()}
        report.versions[version] = len(places)
    return _batch(records, results, aside, report)


def _batch(
    records: list[Any],
    results: list[Any],
    aside: dict[int, tuple[int, list[str]]],
    report: Report,
) -> Batch:
    quarantined: list[Quarantined] = []
    for place in sorted(aside):
        version, errors = aside[place]
        quarantined.append(
            {
                "line": place + 1,
                "version": version,
                "errors": errors,
                "raw": records[place],
            }
        )
        report.reasons.update(map(reason_of, errors))
    passed = [record for place, record in enumerate(results) if place not in aside] if aside else results
    report.passed, report.quarantined = len(passed), len(quarantined)
    return Batch(passed, quarantined, report)


def _by_version(
    history: SchemaHistory, records: list[Any], aside: dict[int, tuple[int, list[str]]]
) -> dict[int, Sequence[int]]:
    """Return the places of the records of each version; put aside those whose version can't be told."""
    if set(map(type, records)) == {dict}:
        labels = [record.get(VERSION_KEY, 1) for record in records]
        if set(map(type, labels)) == {int} and len(set(labels)) == 1 and labels[0] in history.versions:
            return {labels[0]: range(len(records))}
    groups: dict[int, list[int]] = {version: [] for version in history.versions}
    for place, record in enumerate(records):
        version = record.get(VERSION_KEY, 1) if isinstance(record, dict) else None
        if type(version) is int and version in groups:
            groups[version].append(place)
        else:
            version, problem = record_version(history, record)
            aside[place] = (version, [str(problem)])
    return {version: places for version, places in groups.items() if places}


def _migrate(
    history: SchemaHistory,
    extra: Extra,
    group: list[Record],
    way: tuple[int, int],
    bad: dict[int, list[str]],
    report: Report,
) -> list[Record]:
    """Migrate the records of one version that are not in `bad`, which gets those that fail on the way."""
    migrate, lost = migrator(history, *way, extra), []
    recheck, size = needs_recheck(history, *way), len(history.schema(way[0]))
    check = validator(history.schema(way[1]), extra)
    kept: list[tuple[str, Any]] = []
    failed: list[str] = []
    # A record without extra fields keeps nothing, so that after steps that can't fail it needs no second look.
    plain = [] if recheck else [len(record) - (VERSION_KEY in record) == size for record in group]
    if not recheck and not bad and all(plain):
        results = [migrate(record, kept.append, lost.append, failed.append) for record in group]
        report.lost.update(count(lost))
        return results
    results = group[:]
    for at, record in enumerate(group):
        if at in bad:
            continue
        kept_here, lost_here = len(kept), len(lost)
        results[at] = migrate(record, kept.append, lost.append, failed.append)
        if failed or (recheck and (failed := check(results[at]))):
            bad[at] = failed
            del kept[kept_here:], lost[lost_here:]
            failed = []
    report.kept.update(count(kept))
    report.lost.update(count(lost))
    return results


# ── Finding the records that need a closer look ─────────────────────────────────────────────────────────────────────────────────────────


def suspects(schema: Schema, extra: Extra, records: list[Record]) -> set[int]:
    """Return the positions of all invalid records, and perhaps of a few valid ones."""
    found: set[int] = set()
    if extra == "forbid":
        found.update(at for at, size in enumerate(map(len, records)) if size > len(schema))
    plain = {dict}.issuperset(map(type, records))
    for field in schema:
        found.update(_suspects_in(field, _column(field.name, records, plain)))
    return found


def _column(name: str, records: list[Record], plain: bool) -> list[Any]:
    """The values of one field. Only plain dicts are asked by their key: a defaultdict would make a value up."""
    if plain:
        try:
            return list(map(itemgetter(name), records))
        except KeyError:
            pass
    return [record.get(name, MISSING) for record in records]


def _suspects_in(field: Field, column: list[Any]) -> set[int]:
    """Positions in one column. Each test passes over the column in C; only where it fails, a loop finds the places."""
    places: Sequence[int] = range(len(column))
    if field.nullable and type(None) in map(
        type, column
    ):  # `None in column` would compare values of any kind
        places = [at for at, value in enumerate(column) if value is not None]
        column = [column[at] for at in places]
    if TYPES[field.type] is not str:
        return _suspect_numbers(field, column, places)
    try:
        joined = "\n".join(column)
    except TypeError:
        found = {at for at, value in zip(places, column, strict=True) if not isinstance(value, str)}
        places = [at for at in places if at not in found]
        column = [value for value in column if isinstance(value, str)]
        joined = "\n".join(column)
    else:
        found = set()
    bad = (
        _bad_timestamps(column, joined)
        if field.type == "timestamp"
        else _bad_texts(column, joined, field.length)
    )
    return found.union(places[at] for at in bad) if bad else found


def _suspect_numbers(field: Field, column: list[Any], places: Sequence[int]) -> set[int]:
    expected = TYPES[field.type]
    if {expected}.issuperset(map(type, column)) and (
        field.type != "integer" or not column or (min(column) >= -(2**63) and max(column) < 2**63)
    ):
        return set()
    return {at for at, value in zip(places, column, strict=True) if field.problem(value)}


def _bad_texts(values: list[str], joined: str, length: int | None) -> list[int]:
    bad = []
    if not joined.isascii() and not is_unicode(joined):
        bad += [at for at, value in enumerate(values) if not is_unicode(value)]
    if length is not None and max(map(len, values), default=0) > length:
        bad += [at for at, value in enumerate(values) if len(value) > length]
    return bad


def _bad_timestamps(values: list[str], joined: str) -> list[int]:
    shapes = joined.translate(DIGITS_TO_ZERO).split("\n")
    if len(shapes) != len(values):  # a value holds a line break
        shapes = [value.translate(DIGITS_TO_ZERO) for value in values]
    bad = []
    if not _PLAIN_SHAPES.issuperset(shapes):
        bad += [at for at, shape in enumerate(shapes) if shape not in _PLAIN_SHAPES]
    if "T24" in joined:
        bad += [at for at, value in enumerate(values) if "T24" in value]
    parse = datetime.fromisoformat
    for at, value in enumerate(values):
        try:
            parse(value)
        except ValueError:
            bad.append(at)
    return bad


#: Shapes for which `datetime.fromisoformat` decides all but 24:00; offsets are left to the closer look.
_PLAIN_SHAPES = frozenset(
    shape for shape in TIMESTAMP_SHAPES if shape[-6:-5] not in ("+", "-") or len(shape) == 10
)
