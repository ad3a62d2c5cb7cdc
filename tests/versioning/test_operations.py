"""Each operation forward and backward, what it keeps and loses, what it refuses; and that data never becomes code."""

from __future__ import annotations

import enum
from typing import Any

import pytest

from lib.versioning import DataVersionManager, DeclarationError, Field, InvalidRecordError, Report, Schema
from lib.versioning.history import SchemaHistory
from lib.versioning.operations import AddField, ConvertField, DropField, Operation, RenameField, SplitField

Record = dict[str, Any]
NAN = float("nan")


def history(first: list[Field], *operations: Operation) -> SchemaHistory:
    return SchemaHistory("things", first=Schema(*first), steps={2: operations})


def copied_on(*operations: Operation) -> SchemaHistory:
    copy, first = AddField("renewed", "string", copy_from="id"), Schema(Field("id", "string"))
    return SchemaHistory("cards", first=first, steps={2: [copy], 3: operations})


def labelled(record: Record, version: int) -> Record:
    return record | {"schema_version": version}


def spelled(record: Record | None) -> dict[str, str]:
    """Values by their spelling, so that types must be the same, and NaN is itself."""
    return {name: repr(value) for name, value in (record or {}).items()}


class Outcome:
    """What becomes of a record, what is kept and lost, and every error."""

    def __init__(self, history: SchemaHistory, record: Record, target: int) -> None:
        vm, report = DataVersionManager(history), Report()
        up = record.get("schema_version", 1) < target
        self.errors: list[str] = []
        self.record: Record | None = None
        try:
            self.record = (vm.upgrade_data if up else vm.downgrade_data)(record, target, report)
        except InvalidRecordError as error:
            self.errors = error.errors
        self.kept, self.lost = dict(report.kept), dict(report.lost)

    def __eq__(self, other: object) -> bool:
        record, kept, lost = other if isinstance(other, tuple) else (other, {}, {})
        return (spelled(self.record), self.kept, self.lost) == (spelled(record), kept, lost)

    def __repr__(self) -> str:
        return f"({self.record}, {self.kept}, {self.lost}, {self.errors})"


# ── Forward and backward, with what is kept and lost ─────────────────────────────────────────────────────────────

ID, A, N = Field("id", "integer"), Field("a", "string"), Field("n", "integer")
ADD = history([ID], AddField("note", "string", default="none"))
COPY = history([ID, Field("a", "float")], AddField("b", "float", copy_from="a"))
DROP = history([ID, Field("note", "string")], DropField("note", default="none"))
NOTE = Field("note", "string", nullable=True, default="none")
DROP_NULLABLE_WITH_DEFAULT = history([ID, NOTE], DropField("note"))
RENAME = history([ID, Field("a", "string", nullable=True)], RenameField("a", "b"))
SPLIT = history([ID, Field("name", "string", nullable=True)], SplitField("name", ("first", "last"), " "))
FLOAT = history([ID, Field("n", "integer", nullable=True)], ConvertField("n", "float"))
TEXT = history([ID, Field("n", "integer")], ConvertField("n", "string", length=3))
NUMBER = history([ID, Field("n", "string", length=4)], ConvertField("n", "integer"))
SEEN = AddField("seen", "string", copy_from="renewed")
NOTHING: tuple[dict[str, int], dict[str, int]] = ({}, {})


@pytest.mark.parametrize(
    ("target", "history", "before", "after", "kept", "lost"),
    [
        (2, ADD, {"id": 1, "note": "x"}, {"id": 1, "note": "x"}, {"note": 1}, {}),
        (1, COPY, {"id": 1, "a": NAN, "b": float("nan")}, {"id": 1, "a": NAN}, *NOTHING),
        (1, COPY, {"id": 1, "a": NAN, "b": 1.0}, {"id": 1, "a": NAN}, {}, {"b": 1}),
        (2, DROP_NULLABLE_WITH_DEFAULT, {"id": 1, "note": None}, {"id": 1}, {}, {"note": 1}),
        (1, DROP_NULLABLE_WITH_DEFAULT, {"id": 1}, {"id": 1, "note": "none"}, *NOTHING),
        (2, RENAME, {"id": 1, "a": "x", "b": "y"}, {"id": 1, "b": "y"}, {"b": 1}, {"a": 1}),
        (2, RENAME, {"id": 1, "a": None, "b": "y"}, {"id": 1, "b": "y"}, {"b": 1}, {}),
        (2, SPLIT, {"id": 1, "name": "A B", "last": "C"}, {"id": 1, "first": "A", "last": "C"}, {"last": 1}, {"name": 1}),
        (1, SPLIT, {"id": 1, "first": "Ana", "last": "López Gil"}, {"id": 1, "name": "Ana López Gil"}, *NOTHING),
        (1, SPLIT, {"id": 1, "first": "Ana Sol", "last": "Gil"}, {"id": 1, "name": "Ana Sol Gil"}, {}, {"first": 1, "last": 1}),
        (1, SPLIT, {"id": 1, "first": "A", "last": "B", "name": "N"}, {"id": 1, "name": "N"}, {"name": 1}, {"first": 1, "last": 1}),
        (1, copied_on(SEEN), {"id": "a", "renewed": "b", "seen": "b"}, {"id": "a"}, {}, {"renewed": 1, "seen": 1}),
        (1, copied_on(SEEN), {"id": "a", "renewed": "b", "seen": "a"}, {"id": "a"}, {}, {"renewed": 1}),
        (1, copied_on(SEEN, ConvertField("seen", "integer")), {"id": "1", "renewed": "2", "seen": 1}, {"id": "1"}, {}, {"renewed": 1}),
        (1, copied_on(SplitField("renewed", ("x", "y"), "-")), {"id": "1-2", "x": "1", "y": "3"}, {"id": "1-2"}, {}, {"y": 1}),
        (1, copied_on(SEEN, RenameField("renewed", "r")), {"id": "a", "r": "b", "seen": "b"}, {"id": "a"}, {}, {"r": 1, "seen": 1}),
    ],
)  # fmt: skip
def test_there_and_back(
    target: int, history: SchemaHistory, before: Record, after: Record, kept: Any, lost: Any
) -> None:
    got = Outcome(history, labelled(before, history.latest if target == 1 else 1), target)
    assert got == (labelled(after, target), kept, lost)


@pytest.mark.parametrize(
    ("history", "record", "target", "errors"),
    [
        (SPLIT, {"id": 1, "name": "Ana"}, 2, ["name: no separator to split at (the separator is ' ', got string 'Ana')"]),
        (SPLIT, {"id": 1, "first": None, "last": "Gil"}, 1,
         ["first: cannot be joined with last, because only one of them is null (got null and string 'Gil')"]),
        (FLOAT, {"id": 1, "n": 2**63 - 1}, 2, ["n: no exact float (got integer 9223372036854775807)"]),
        (TEXT, {"id": 1, "n": 1234}, 2, ["n: longer than 3 characters (got 4)"]),
        (NUMBER, {"id": 1, "n": "05"}, 2, ["n: no 64-bit integer in canonical form (got string '05')"]),
        (NUMBER, {"id": 1, "n": 12345}, 1, ["n: longer than 4 characters (got 5)"]),
        # A filled field of a later version is checked before any step works on it.
        (ADD, {"id": 1, "note": 5}, 2, ["note: expected string (got integer 5)"]),
        (RENAME, {"id": 1, "a": "x", "b": 5}, 2, ["b: expected string (got integer 5)"]),
        (SPLIT, {"id": 1, "name": "A B", "first": 5, "last": []}, 2,
         ["first: expected string (got integer 5)", "last: expected string (got array of 0)"]),
        (DROP, {"id": 1, "note": 5, "schema_version": 2}, 1, ["note: expected string (got integer 5)"]),
    ],
)  # fmt: skip
def test_impossible_migration(history: SchemaHistory, record: Record, target: int, errors: list[str]) -> None:
    """It is reported, and nothing is migrated."""
    got = Outcome(history, labelled(record, 3 - target), target)
    assert (got.record, got.errors) == (None, errors)
    assert (got.kept, got.lost) == NOTHING, "nothing is counted for a record that is put aside"


def test_all_failures_of_a_record_are_reported() -> None:
    splits = [SplitField(name, (f"{name}1", f"{name}2"), "-") for name in ("a", "b")]
    things = history([A, Field("b", "string"), N], *splits, ConvertField("n", "float"))
    got = Outcome(things, {"a": "x", "b": "y", "n": 2**62 + 1}, 2)
    expected = ["a: no separator to split at", "b: no separator to split at", "n: no exact float"]
    assert [error.partition(" (")[0] for error in got.errors] == expected


# ── Declarations that make no sense ──────────────────────────────────────────────────────────────────────────────


class Colour(enum.StrEnum):
    RED = "red"
    A = "a"


class Shade(str, enum.Enum):  # noqa: UP042 - unlike a StrEnum, it is formatted as `Shade.DARK`
    DARK = "dark"


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        (AddField("b", "string"), "existing records have no value for it"),
        (AddField("a", "string", nullable=True), "the field exists already"),
        (AddField("b", "string", default="x", copy_from="a"), "give default or copy_from, not both"),
        (AddField("b", "string", copy_from="c"), "there is no field 'c' here; choose one of a, n, d"),
        (AddField("b", "integer", copy_from="a"), "b can't be a copy of a: type, length or nullability differ"),
        (AddField("b", "string", copy_from=Colour.A), "field name Colour: use"),
        (AddField("schema_version", "integer", default=1), "reserved for the version of the record"),
        (DropField("c"), "there is no field 'c' here; choose one of a, n, d"),
        (DropField("a"), "it is required and has no default"),
        (RenameField("a", "r[']}; __import__('os').abort() #"), "use 1 to 63 of the letters"),
        (ConvertField("a", "float"), "can't convert string to float; choose one of integer to float"),
        (ConvertField("n", ["float"]), "can't convert integer to ['float']"),
        (ConvertField("d", "integer"), "its default 'x' can't be converted: no 64-bit integer"),
        (SplitField("n", ("x", "y"), " "), "only a string can be split, not integer"),
        (SplitField("a", ["x", "y"], " "), "into must be a pair of names, not ['x', 'y']"),
        (SplitField("a", ("x", "n"), " "), "a field 'n' exists already"),
        (SplitField("a", ("x", "y"), ""), "separator must be Unicode text of at least one character, not ''"),
        (SplitField("a", ("x", "y"), Colour.RED), "separator must be Unicode text"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_when_declared(operation: Operation, words: str) -> None:
    with pytest.raises(DeclarationError) as refused:
        first = Schema(A, N, Field("d", "string", default="x"))
        turns = [RenameField("n", "m"), RenameField("m", "n"), operation]
        SchemaHistory("things", first=first, steps={2: turns})
    message = str(refused.value)
    assert message.startswith(f"things, step to version 2, operation 3: {type(operation).__name__} ")
    assert words in message


def test_derived_schemas() -> None:
    first = [Field("a", "string", True, None, 9, ("old",)), Field("n", "integer", default=3, aliases=("m",))]
    split = history(first, SplitField("a", ("x", "y"), "-"), ConvertField("n", "string", 5)).schema(2)
    halves = [Field(name, "string", True, None, 9) for name in "xy"]
    assert split.fields == (*halves, Field("n", "string", False, "3", 5, ("m",)))
    renamed = history(first, RenameField("a", "b"), DropField("n")).schema(2)
    assert renamed.fields == (Field("b", "string", True, None, 9, ("old",)),)
    added = history(first, AddField("b", "string", True), AddField("c", "integer", copy_from="n")).schema(2)
    assert added["b"] == Field("b", "string", True, None)
    assert added["c"] == Field("c", "integer"), "a copied field has no static default"


# ── Data never becomes code ──────────────────────────────────────────────────────────────────────────────────────

NASTY = [
    "'", '"', "'''", '"""', "\\", "\\'", "\n", "\r\n", "\u2028", "\0", "{}", "{r}", "%s", "#", "')); raise SystemExit #",
    "\n    raise SystemExit\n", '"); raise SystemExit; ("', "\\x27); raise SystemExit #", "${x}", "é🙂", "f'{1/0}'",
]  # fmt: skip


@pytest.mark.parametrize("text", NASTY)
def test_separators_and_defaults_are_data_whatever_they_hold(text: str) -> None:
    steps = (
        SplitField("a", ("x", "y"), text),
        AddField("c", "string", default=text),
        DropField("b", default=text),
    )
    things = history([Field("a", "string"), Field("b", "string")], *steps)
    up = Outcome(things, {"a": f"1{text}2", "b": text}, 2)
    assert up == {"x": "1", "y": "2", "c": text, "schema_version": 2}
    assert up.record is not None
    assert Outcome(things, up.record, 1).record == {"a": f"1{text}2", "b": text, "schema_version": 1}
    assert Outcome(things, {"a": "", "b": text}, 2).errors[0].startswith("a: no separator to split at")


def test_members_of_enums_and_other_kinds_of_string_are_data_too() -> None:
    class Hostile(str):
        def __repr__(self) -> str:
            return "exit('the data was run')"

    for half in (Colour.RED, Shade.DARK, Hostile("red")):
        whole = Outcome(SPLIT, {"id": 1, "first": half, "last": half, "schema_version": 2}, 1)
        assert whole.record == {"id": 1, "name": " ".join([str.__str__(half)] * 2), "schema_version": 1}
    for default in (Colour.RED, Hostile("red")):
        things = history([ID], AddField("c", "string", default=default))
        assert Outcome(things, {"id": 1}, 2).record == {"id": 1, "c": "red", "schema_version": 2}
        things = history([ID, Field("c", "string")], DropField("c", default=default))
        assert Outcome(things, labelled({"id": 1}, 2), 1).record == labelled({"id": 1, "c": "red"}, 1)
