"""Can versions read each other's records: directly, by their schemas, or only through the migration? Two verdicts.

The modes are named as in Confluent's Schema Registry. BACKWARD: the proposed schema reads what was written with the
registered one. FORWARD: the registered schema reads what is written with the proposed one. FULL: both. These look at the
latest registered version, the TRANSITIVE modes at all.

Direct reading goes by `lib.versioning.resolution`, and by what the history knows: after a rename or a split, Avro may
take a default, or a namesake, for a value that stands under another name. That breaks here (`Kind.MOVED`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal, get_args

from lib.versioning.expressions import Computed, Copy
from lib.versioning.history import SchemaHistory
from lib.versioning.operations import Effect
from lib.versioning.resolution import Difference, Kind, differences, matches
from lib.versioning.schema import Field, Schema

Mode = Literal["BACKWARD", "FORWARD", "FULL", "BACKWARD_TRANSITIVE", "FORWARD_TRANSITIVE", "FULL_TRANSITIVE"]
MODES: Final[tuple[Mode, ...]] = get_args(Mode)
_LONGEST_INTEGER: Final = len(str(-(2**63)))


# ── Verdicts ─────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Reading:
    """What comes of it when version `reader` reads what version `writer` wrote.

    `breaking` stands in the way of direct reading. `may_fail` says where a valid record, without extra fields, may not
    get through the migration, which always exists; each entry begins with the name of a field.
    """

    writer: int
    reader: int
    breaking: tuple[Difference, ...]
    may_fail: tuple[str, ...]

    @property
    def compatible(self) -> bool:
        """Can the reader read directly?"""
        return not self.breaking

    @property
    def through_migration(self) -> bool:
        """Does every valid record get through the migration, run by someone who has the history?"""
        return not self.may_fail


@dataclass(frozen=True)
class Compatibility:
    """Two verdicts on a proposed version in one mode, not to be confused, and the readings that they rest on."""

    mode: Mode
    proposed: int
    readings: tuple[Reading, ...]

    @property
    def compatible(self) -> bool:
        """By the schemas alone: can every reader that the mode names read directly?"""
        return all(reading.compatible for reading in self.readings)

    @property
    def through_migration(self) -> bool:
        """Does every valid record get to every such reader through the migration?"""
        return all(reading.through_migration for reading in self.readings)

    def __str__(self) -> str:
        answer = {True: "compatible", False: "incompatible"}
        direct, migrated = [], []
        for reading in self.readings:
            place = f"  version {reading.reader} reads {reading.writer}: "
            direct += [f"{place}{difference}" for difference in reading.breaking]
            migrated += [f"{place}may fail: {note}" for note in reading.may_fail]
        head = f"version {self.proposed}, {self.mode}: {answer[self.compatible]}"
        if self.readings:  # else there is no migration to judge
            migrated.insert(0, f"through the migration: {answer[self.through_migration]}")
        return "\n".join([head, *direct, *migrated])


def check(history: SchemaHistory, proposed: int, mode: Mode) -> Compatibility:
    """Judge version `proposed` against those before it, which count as registered. The first is always compatible.

    Raises ValueError for an unknown mode, UnknownVersionError for an unknown version, TypeError for schemas without a history.
    """
    if not isinstance(history, SchemaHistory):
        raise TypeError(
            f"a SchemaHistory, not {type(history).__name__}: declare the steps between the schemas, "
            "or compare two with resolution.differences(reader, writer)"
        )
    if mode not in MODES:
        raise ValueError(f"mode {mode!r}: choose one of {', '.join(MODES)}")
    history.check_version(proposed)
    direction, _, transitive = mode.partition("_")
    registered = range(1 if transitive else max(1, proposed - 1), proposed)
    pairs = [(old, proposed) for old in registered if direction != "FORWARD"]
    pairs += [(proposed, old) for old in registered if direction != "BACKWARD"]
    return Compatibility(mode, proposed, tuple(judge(history, *pair) for pair in pairs))


def judge(history: SchemaHistory, writer: int, reader: int, *, aliases: bool = False) -> Reading:
    """Return what comes of it when version `reader` reads what version `writer` wrote; raises UnknownVersionError.

    With `aliases` the reader knows its fields' former names (`with_aliases`).
    """
    written = history.schema(writer)
    wanted = with_aliases(history, reader) if aliases else history.schema(reader)
    moved = _moved(wanted, written, _lineage(history, writer, reader))
    may_fail = [note for _, effect in history.effects(writer, reader) for note in _may_fail(effect)]
    return Reading(writer, reader, (*differences(wanted, written), *moved), tuple(may_fail))


# ── What the history knows of names ──────────────────────────────────────────────────────────────────────────────

#: (a field's name at the one version, its name at the other, whether its whole value goes there unsplit)
Lineage = set[tuple[str, str, bool]]


def _lineage(history: SchemaHistory, start: int, end: int) -> Lineage:
    low, high = sorted((start, end))
    lineage = {(name, name, True) for name in history.schema(low).names}
    for step in history.steps(low, high):
        gone, values = step.forward.gone, step.forward.values
        lineage = {(old, here, whole) for old, here, whole in lineage if here not in gone} | {
            (old, to, whole and isinstance(value, Copy))
            for old, here, whole in lineage
            if here in gone
            for to, value in values.items()
            if here in value.sources
        }
    return lineage if start <= end else {(new, old, whole) for old, new, whole in lineage}


def _moved(reader: Schema, writer: Schema, lineage: Lineage) -> Iterator[Difference]:
    """Find the fields that meet another field than the one that holds their value; pairs go from writer to reader.

    A field that was dropped and declared again under its name counts as the same.
    """
    for field in reader:
        names = matches(field, writer)
        sources = {old: whole for old, new, whole in lineage if new == field.name}
        targets = sorted(new for old, new, _ in lineage if [old] == names)
        if sources and not any(sources.get(name) for name in names):
            reason = f"its value stands in the writer's {' and '.join(sorted(sources))}"
        elif targets and field.name not in targets:
            reason = f"the writer's {names[0]} holds the value of {' and '.join(targets)}"
        else:
            continue
        remedy = "migrate what was written, or write both forms as long as both versions run (expand phase)"
        yield Difference(Kind.MOVED, field.name, reason, remedy)


def with_aliases(history: SchemaHistory, version: int) -> Schema:
    """Return the schema of a version, each field with the names that it had in earlier versions as aliases.

    A reader with it finds renamed fields in older records; no reader knows names that are given later. A former name that
    two fields could claim is no alias.
    """
    schema, former = history.schema(version), Counter[tuple[str, str]]()
    for earlier in range(1, version):
        pairs = _lineage(history, earlier, version)
        former.update((new, old) for old, new, whole in sorted(pairs) if whole and old != new)
    claimed = Counter(name for field in schema for name in (field.name, *field.aliases))
    claimed.update(old for _, old in former)

    def named(field: Field) -> Field:
        found = [old for new, old in former if new == field.name and claimed[old] == 1]
        return replace(field, aliases=(*field.aliases, *found))

    return Schema(*map(named, schema))


# ── What the migration may do ────────────────────────────────────────────────────────────────────────────────────


def _may_fail(effect: Effect) -> Iterator[str]:
    for value in effect.may_fail.values():
        several = len(value.sources) > 1  # which fail only where one of them is null
        if not several or any(effect.before[source].nullable for source in value.sources):
            yield f"{value.sources[0]}: {value.reason}"
    for name, value in effect.values.items():
        sources = [effect.before[source] for source in value.sources]
        limits = [_LONGEST_INTEGER if source.type == "integer" else source.length for source in sources]
        most = effect.after[name].length
        if isinstance(value, Computed) and most and (len(limits) > 1 or (limits[0] or most + 1) > most):
            yield f"{name}: longer than {most} characters"
