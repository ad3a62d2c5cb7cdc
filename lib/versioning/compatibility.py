"""Judge whether versions can read each other's records: directly, by their schemas, or only through the migration.

The modes are named as in Confluent's Schema Registry. BACKWARD: the proposed schema reads records written with the registered
one. FORWARD: the registered schema reads records written with the proposed one. FULL: both. These modes compare with the latest
registered version, the TRANSITIVE modes with all.

Direct reading follows the rules of `lib.versioning.resolution`, and the history: after a rename or a split, Avro may read a
default, or another field of the same name, instead of the value that has a new name. Here, that counts as breaking
(`Kind.MOVED`).
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
    """The verdict on version `reader` reading records of version `writer`.

    `breaking` lists what prevents direct reading. `may_fail` lists where the migration, which always exists, may fail on a
    valid record without extra fields; each entry begins with the name of a field.
    """

    writer: int
    reader: int
    breaking: tuple[Difference, ...]
    may_fail: tuple[str, ...]

    @property
    def compatible(self) -> bool:
        """Whether the reader can read directly."""
        return not self.breaking

    @property
    def through_migration(self) -> bool:
        """Whether the migration of every valid record succeeds, if the reader has the history."""
        return not self.may_fail


@dataclass(frozen=True)
class Compatibility:
    """Two separate verdicts on a proposed version in one mode, and the readings on which they are based."""

    mode: Mode
    proposed: int
    readings: tuple[Reading, ...]

    @property
    def compatible(self) -> bool:
        """Whether every reader of the mode can read directly, by the schemas alone."""
        return all(reading.compatible for reading in self.readings)

    @property
    def through_migration(self) -> bool:
        """Whether the migration of every valid record succeeds for every such reader."""
        return all(reading.through_migration for reading in self.readings)

    def __str__(self) -> str:
        answer = {True: "compatible", False: "incompatible"}
        direct, migrated = [], []
        for reading in self.readings:
            place = f"  version {reading.reader} reads {reading.writer}: "
            direct += [f"{place}{difference}" for difference in reading.breaking]
            migrated += [f"{place}may fail: {note}" for note in reading.may_fail]
        head = f"version {self.proposed}, {self.mode}: {answer[self.compatible]}"
        if self.readings:  # otherwise there is no migration to judge
            migrated.insert(0, f"through the migration: {answer[self.through_migration]}")
        return "\n".join([head, *direct, *migrated])


def check(history: SchemaHistory, proposed: int, mode: Mode) -> Compatibility:
    """Judge version `proposed` against the earlier versions, which count as registered. Version 1 is always compatible.

    Raises ValueError for an unknown mode, UnknownVersionError for an unknown version, TypeError for schemas without a history.
    """
    if not isinstance(history, SchemaHistory):
        raise TypeError(
            f"expected a SchemaHistory, got {type(history).__name__}: declare the steps between the schemas, "
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
    """Judge whether version `reader` can read records of version `writer`; raises UnknownVersionError.

    With `aliases` the reader knows its fields' former names (`with_aliases`).
    """
    written = history.schema(writer)
    wanted = with_aliases(history, reader) if aliases else history.schema(reader)
    moved = _moved(wanted, written, _lineage(history, writer, reader))
    may_fail = [note for _, effect in history.effects(writer, reader) for note in _may_fail(effect)]
    return Reading(writer, reader, (*differences(wanted, written), *moved), tuple(may_fail))


# ── The names of a field over time ───────────────────────────────────────────────────────────────────────────────

#: (a field's name at one version, its name at the other, whether its whole value moves there unsplit)
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
    """Find the reader's fields that match a field other than the one that holds their value; pairs go from writer to reader.

    A field that was dropped and declared again under the same name counts as the same field.
    """
    for field in reader:
        names = matches(field, writer)
        sources = {old: whole for old, new, whole in lineage if new == field.name}
        targets = sorted(new for old, new, _ in lineage if [old] == names)
        if sources and not any(sources.get(name) for name in names):
            reason = f"the writer has its value in {' and '.join(sorted(sources))}"
        elif targets and field.name not in targets:
            reason = f"the writer's {names[0]} holds the value of {' and '.join(targets)}"
        else:
            continue
        remedy = "migrate the writer's records, or write both forms while both versions run (expand phase)"
        yield Difference(Kind.MOVED, field.name, reason, remedy)


def with_aliases(history: SchemaHistory, version: int) -> Schema:
    """Return the schema of a version, with the earlier names of each field as its aliases.

    A reader with this schema finds renamed fields in older records; no reader knows names given later. A former name that would
    fit two fields is not an alias.
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
        several = len(value.sources) > 1  # they fail only if just one of them is null
        if not several or any(effect.before[source].nullable for source in value.sources):
            yield f"{value.sources[0]}: {value.reason}"
    for name, value in effect.values.items():
        sources = [effect.before[source] for source in value.sources]
        limits = [_LONGEST_INTEGER if source.type == "integer" else source.length for source in sources]
        most = effect.after[name].length
        if isinstance(value, Computed) and most and (len(limits) > 1 or (limits[0] or most + 1) > most):
            yield f"{name}: longer than {most} characters"
