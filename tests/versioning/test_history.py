"""Versions declared once: what is refused, what is derived, and that the way there and back loses only what is told."""

from __future__ import annotations

from typing import Any

import pytest

from lib.versioning import DeclarationError, Field, Schema
from lib.versioning.history import SchemaHistory, UnknownVersionError
from lib.versioning.operations import AddField, DropField, RenameField
from lib.versioning.users import USERS

FIRST = Schema(Field("id", "string"))


def adds(name: str) -> list[AddField]:
    return [AddField(name, "string", nullable=True)]


# ── Declarations ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ({2: adds("a"), 4: adds("b")}, "version 4 can't follow 2; the next is 3"),
        ({2.0: adds("a")}, "version 2.0 can't follow 1; the next is 2"),
        ({2: []}, "step to version 2: give a list of one or more operations"),
        ({2: AddField("a", "string", nullable=True)}, "step to version 2: give a list of one or more operations"),
        ({2: ["add a"]}, "step to version 2, operation 1: 'add a' is not an operation such as AddField"),
        ({2: adds("a"), 3: adds("a")}, "step to version 3, operation 1: AddField string 'a': the field exists already"),
    ],
)  # fmt: skip
def test_nonsense_is_refused_when_declared_and_the_place_named(steps: Any, words: str) -> None:
    with pytest.raises(DeclarationError) as refused:
        SchemaHistory("things", first=FIRST, steps=steps)
    assert str(refused.value).startswith("things")
    assert words in str(refused.value)


@pytest.mark.parametrize("name", ["", "my things", "things; DROP TABLE users", 5, None, "1st"])
def test_the_name_must_be_an_identifier(name: Any) -> None:
    with pytest.raises(DeclarationError, match="name of a history"):
        SchemaHistory(name, first=FIRST)


@pytest.mark.parametrize("first", [None, {}, [Field("id", "string")], Field("id", "string")])
def test_the_first_schema_must_be_one(first: Any) -> None:
    with pytest.raises(DeclarationError, match="things: first must be the Schema of version 1, not "):
        SchemaHistory("things", first=first)


# ── What is derived ──────────────────────────────────────────────────────────────────────────────────────────────


def test_schemas_and_steps_are_derived() -> None:
    steps = {2: [*adds("a"), RenameField("a", "b")], 3: iter([DropField("b")])}
    things = SchemaHistory("things", first=FIRST, steps=steps)
    assert (things.versions, things.latest) == ((1, 2, 3), 3)
    assert [things.schema(version).names for version in things.versions] == [("id",), ("id", "b"), ("id",)]
    there = things.steps(1, 3)
    assert [(step.version, step.operation.name) for step in there] == [(2, "a"), (2, "a"), (3, "b")]
    assert [step.before.names for step in there] == [("id",), ("id", "a"), ("id", "b")]
    assert [step.after.names for step in there] == [("id", "a"), ("id", "b"), ("id",)]
    assert things.steps(3, 1) == there[::-1]
    assert things.steps(2, 3) == there[2:]
    assert things.steps(2, 2) == ()
    assert repr(things) == "<SchemaHistory things: versions 1 to 3>"


@pytest.mark.parametrize("version", [0, 4, -1, 99, 2**70, True, "1", 1.0, None, [1], {}])
def test_an_unknown_version_is_told_with_those_that_are_known(version: Any) -> None:
    calls = [(USERS.schema, [version]), (USERS.steps, [version, 1]), (USERS.steps, [1, version])]
    for call, arguments in calls:
        with pytest.raises(UnknownVersionError, match=r"^users: ") as error:
            call(*arguments)
        assert ("known: 1, 2, 3" in str(error.value)) == (type(version) is int)
