"""Verdicts on schemas: held against Avro's own package, against the migration, and against what readers really get."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import histories, records

from benchmarks.compatibility_oracle import avro_checks, avro_reads, cases, compare
from lib.versioning.compatibility import MODES, Reading, check, judge, with_aliases
from lib.versioning.history import SchemaHistory, UnknownVersionError
from lib.versioning.operations import AddField, ConvertField, DropField, Operation, RenameField, SplitField
from lib.versioning.records import migrate_record, validator
from lib.versioning.resolution import Difference, Kind, differences, readable, resolver
from lib.versioning.schema import NO_DEFAULT, DeclarationError, Field, Schema
from lib.versioning.users import USERS


def one_step(field: Field, *operations: Operation) -> SchemaHistory:
    """A history of two versions that starts with a key and the field given."""
    return SchemaHistory("things", first=Schema(Field("id", "string"), field), steps={2: operations})


def matrix(history: SchemaHistory, *, aliases: bool = False) -> dict[tuple[int, int], Reading]:
    """The readings of all pairs (writer, reader) of versions."""
    pairs = product(history.versions, repeat=2)
    return {(writer, reader): judge(history, writer, reader, aliases=aliases) for writer, reader in pairs}


def kinds(found: tuple[Difference, ...]) -> list[tuple[str, Kind]]:
    return [(difference.path, difference.kind) for difference in found]


# ── The users ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("mode", "pairs", "compatible"),
    [
        ("BACKWARD", [(2, 3)], True),
        ("FORWARD", [(3, 2)], True),
        ("FULL", [(2, 3), (3, 2)], True),
        ("BACKWARD_TRANSITIVE", [(1, 3), (2, 3)], False),
        ("FORWARD_TRANSITIVE", [(3, 1), (3, 2)], True),
        ("FULL_TRANSITIVE", [(1, 3), (2, 3), (3, 1), (3, 2)], False),
    ],
)
def test_a_mode_names_who_reads_whom(mode: Any, pairs: list[tuple[int, int]], compatible: bool) -> None:
    verdict = check(USERS, 3, mode)
    assert [(reading.writer, reading.reader) for reading in verdict.readings] == pairs
    assert (verdict.compatible, verdict.through_migration) == (compatible, True)
    breaking = [difference for reading in verdict.readings for difference in reading.breaking]
    assert kinds(tuple(breaking)) == ([] if compatible else [("updated_at", Kind.MISSING_DEFAULT)])


def test_nothing_is_said_of_a_migration_where_there_is_none() -> None:
    schema = USERS.schema(1)
    assert [str(check(USERS, 1, mode)) for mode in MODES] == [f"version 1, {m}: compatible" for m in MODES]
    assert str(check(SchemaHistory("one", first=schema), 1, "FULL")) == "version 1, FULL: compatible"
    with pytest.raises(TypeError, match=r"a SchemaHistory, got \w+: .*differences\(reader, writer\)"):
        check([schema, schema], 2, "FULL")  # type: ignore[arg-type]


def test_unknown_modes_and_versions_are_refused() -> None:
    with pytest.raises(ValueError, match="mode 'backward': choose one of BACKWARD, FORWARD"):
        check(USERS, 3, "backward")  # type: ignore[arg-type]
    with pytest.raises(UnknownVersionError, match="known: 1, 2, 3"):
        check(USERS, 4, "FULL")


# ── One reader, one writer ───────────────────────────────────────────────────────────────────────────────────────

FIELD = Field("a", "string")


@pytest.mark.parametrize(
    ("wanted", "written", "kind"),
    [
        (FIELD, Field("a", "string", nullable=True), Kind.NULL),
        (Field("a", "integer", default=5), Field("a", "string"), Kind.TYPE_MISMATCH),
        (Field("a", "string"), Field("a", "timestamp"), None),
        (Field("a", "string", length=32), Field("a", "timestamp"), None),
        (Field("a", "string", length=31), Field("a", "timestamp"), Kind.LENGTH),
        (Field("a", "timestamp"), FIELD, Kind.FORMAT),
        (Field("a", "string", length=4), Field("a", "string", length=5), Kind.LENGTH),
        (Field("a", "string", length=4), FIELD, Kind.LENGTH),
        (Field("a", "string", aliases=("b",)), Field("b", "string"), None),
    ],
)
def test_what_a_field_meets(wanted: Field, written: Field, kind: Kind | None) -> None:
    found = differences(Schema(wanted), Schema(written))
    assert kinds(found) == ([("a", kind)] if kind else [])
    assert all(difference.reason and difference.remedy for difference in found)
    assert readable(Schema(wanted), Schema(written)) is (kind is None)


def test_reading_what_can_not_be_read_is_refused_with_every_reason() -> None:
    with pytest.raises(ValueError, match=r"a: type mismatch .*; b: reader field missing"):
        resolver(Schema(Field("a", "integer"), Field("b", "string")), Schema(FIELD))


# ── Avro's own package ───────────────────────────────────────────────────────────────────────────────────────────


@given(cases())
@settings(max_examples=150)
def test_no_disagreement_with_avro(case: tuple[Schema, Schema, list[dict[str, Any]]]) -> None:
    compare(*case)


def test_a_known_departure_of_avros_static_checker() -> None:
    # Field `a` of the reader is both `a` and `b` of the writer: Avro for Java refuses, the checker takes the first.
    reader, writer = Schema(Field("a", "string", aliases=("b",))), Schema(FIELD, Field("b", "string"))
    assert avro_checks(reader, writer) is True
    assert avro_reads(reader, writer, [{"a": "x", "b": "y"}]) is None
    assert kinds(differences(reader, writer)) == [("a", Kind.AMBIGUOUS)] and not readable(reader, writer)


# ── Renames, splits and namesakes ────────────────────────────────────────────────────────────────────────────────


def test_a_rename_without_alias_breaks_both_ways() -> None:
    history = one_step(FIELD, RenameField("a", "b"))
    for writer, reader in ((1, 2), (2, 1)):
        here = "b" if reader == 2 else "a"
        breaking = kinds(judge(history, writer, reader).breaking)
        assert breaking == [(here, Kind.MISSING_DEFAULT), (here, Kind.MOVED)]
        assert judge(history, writer, reader).through_migration


def test_swapped_names_break_though_avro_sees_nothing() -> None:
    turns = [RenameField("a", "t"), RenameField("b", "a"), RenameField("t", "b")]
    other = SchemaHistory("things", first=Schema(FIELD, Field("b", "string")), steps={2: turns})
    assert other.schema(1).names == ("a", "b") and sorted(other.schema(2).names) == ["a", "b"]
    assert readable(other.schema(1), other.schema(2)) and readable(other.schema(2), other.schema(1))
    for writer, reader in ((1, 2), (2, 1)):
        assert sorted(kinds(judge(other, writer, reader).breaking)) == [("a", Kind.MOVED), ("b", Kind.MOVED)]
    assert with_aliases(other, 2) == other.schema(2), "a name that is another field's can't be an alias"


def test_a_half_under_the_name_of_the_whole_breaks() -> None:
    steps = [SplitField("a", ("b", "c"), "-"), RenameField("b", "a"), DropField("c", default="")]
    history = one_step(FIELD, *steps)
    assert history.schema(1) == history.schema(2)
    for writer, reader in ((1, 2), (2, 1)):
        assert kinds(judge(history, writer, reader).breaking) == [("a", Kind.MOVED)]
    assert with_aliases(history, 2) == history.schema(2)


def test_former_names_through_several_versions_become_aliases() -> None:
    history = SchemaHistory(
        "things",
        first=Schema(Field("a", "string", aliases=("z",)), Field("x", "string")),
        steps={
            2: [RenameField("a", "b"), SplitField("x", ("x1", "x2"), " ")],
            3: [RenameField("b", "c"), RenameField("c", "d")],
        },
    )
    aliases = {field.name: field.aliases for field in with_aliases(history, 3)}
    assert aliases == {"d": ("z", "a", "b"), "x1": (), "x2": ()}
    assert with_aliases(history, 1) == history.schema(1)


# ── The migration ────────────────────────────────────────────────────────────────────────────────────────────────

NULLABLE = Field("a", "string", nullable=True)


@pytest.mark.parametrize(
    ("field", "operation", "way", "change", "reason"),
    [
        (FIELD, ConvertField("a", "integer"), (1, 2), {}, "a: no 64-bit integer in canonical form"),
        (Field("a", "integer"), ConvertField("a", "string", 2), (1, 2), {"a": 123}, "a: longer than 2"),
        (Field("a", "integer"), ConvertField("a", "string"), (2, 1), {}, "a: no 64-bit integer"),
        (Field("a", "integer"), ConvertField("a", "float"), (1, 2), {"a": 2**53 + 1}, "a: no exact float"),
        (Field("a", "integer"), ConvertField("a", "float"), (2, 1), {"a": 0.5}, "a: no exact 64-bit integer"),
        (FIELD, SplitField("a", ("b", "c"), "-"), (1, 2), {}, "a: no separator"),
        (NULLABLE, SplitField("a", ("b", "c"), "-"), (2, 1), {"b": None}, "b: cannot be joined with c"),
        (Field("a", "string", length=3), SplitField("a", ("b", "c"), "-"), (2, 1), {"b": "xy", "c": "z"}, "a: longer than 3"),
    ],
)  # fmt: skip
def test_what_a_migration_may_do_it_really_does(
    field: Field, operation: Operation, way: tuple[int, int], change: dict[str, Any], reason: str
) -> None:
    history = one_step(field, operation)
    told = judge(history, *way).may_fail
    assert [note for note in told if note.startswith(reason)]
    record = dict.fromkeys(history.schema(way[0]).names, "w") | change
    assert validator(history.schema(way[0]))(record) == []
    migrated = migrate_record(history, record, *way)
    assert migrated.failed and not judge(history, *way).through_migration


def test_what_can_not_fail_is_not_said_to() -> None:
    first = Schema(FIELD, Field("t", "timestamp"), Field("n", "integer"))
    longest = len(str(-(2**63)))
    steps = [ConvertField("t", "timestamp"), RenameField("a", "b"), ConvertField("n", "string", longest)]
    history = SchemaHistory("things", first=first, steps={2: steps})
    assert judge(history, 1, 2).may_fail == ()
    assert judge(history, 2, 1).may_fail == ("n: no 64-bit integer in canonical form",)


@given(st.data())
def test_nothing_fails_that_was_not_told(data: st.DataObject) -> None:
    history = data.draw(histories())
    start, end = data.draw(st.sampled_from(history.versions)), data.draw(st.sampled_from(history.versions))
    told = judge(history, start, end).may_fail
    migrated = migrate_record(history, data.draw(records(history, start)), start, end)
    assert not migrated.failed or told, migrated.failed


# ── Compatible means: the reader gets the values that the migration would give it ────────────────────────────────


@st.composite
def tangles(draw: st.DrawFn) -> SchemaHistory:
    """A history of strings with few names, so that names are given up, taken again and swapped."""
    names = ["a", "b", "c", "d", "e"]
    nullable = draw(st.booleans())
    field = {"nullable": nullable, "default": None if nullable else "new"}
    schema = first = Schema(*(Field(name, "string", **field) for name in names[: draw(st.integers(1, 3))]))
    steps: dict[int, list[Operation]] = {}
    for version in range(2, draw(st.integers(2, 4)) + 1):
        steps[version] = []
        for _ in range(draw(st.integers(1, 4))):
            free = [name for name in draw(st.permutations(names)) if name not in schema]
            name = draw(st.sampled_from(schema.names))
            possible: list[Operation] = [AddField(free[0], "string", **field)] if free else []
            possible += [RenameField(name, free[0])] * 2 if free else []
            possible += [SplitField(name, (free[0], free[1]), "-")] if len(free) > 1 else []
            if len(schema) > 1 and schema[name].default is not NO_DEFAULT:
                possible.append(DropField(name))
            if possible:
                steps[version].append(draw(st.sampled_from(possible)))
                schema = steps[version][-1].apply(schema)
        assume(steps[version])
    return SchemaHistory("tangles", first=first, steps=steps)


@given(tangles(), st.booleans())
def test_readers_get_what_the_history_says(history: SchemaHistory, aliases: bool) -> None:
    for (start, end), reading in matrix(history, aliases=aliases).items():
        if not reading.compatible:
            continue
        wanted = with_aliases(history, end) if aliases else history.schema(end)
        record = {name: f"{name}1-{name}2-{name}3" for name in history.schema(start).names}
        direct = resolver(wanted, history.schema(start))(record)
        full = migrate_record(history, record, start, end).record
        migrated = {name: full[name] for name in wanted.names}
        for name in wanted.names:
            if migrated[name] in record.values():
                assert direct[name] == migrated[name], (start, end, name)
            if direct[name] in record.values() and direct[name] != migrated[name]:
                # A value that the migration would not put here: then it has dropped it everywhere, in part and in whole.
                assert not [v for v in migrated.values() if v and v in direct[name]], (start, end, name)
        assert validator(wanted)(direct) == []


@pytest.mark.parametrize(
    ("aliases", "words"),
    [
        (("b",), "declared twice: b"),
        (("c",), "declared twice: c"),
        (["d"], "give aliases as a tuple"),
        (("b c",), "field 'a': alias"),
    ],
)
def test_aliases_are_names_of_no_other_field(aliases: Any, words: str) -> None:
    with pytest.raises(DeclarationError, match=words):
        Schema(Field("a", "string", aliases=aliases), Field("b", "string", aliases=("c",)))
