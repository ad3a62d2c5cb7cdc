"""What a record looks like at one version: every value that is valid, and the words for every one that is not."""

from __future__ import annotations

import copy
import enum
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import oracle
import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st

from lib.versioning import DeclarationError, DropField, Field, Schema, SchemaHistory
from lib.versioning.schema import MISSING, describe, timestamp_problem

ROOT = Path(__file__).resolve().parents[2]

# ── Timestamps ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-01", "2000-02-29", "0001-01-01", "9999-12-31", "2024-01-01T23:59:59", "2024-01-01T10:00:00.1",
        "2024-01-01T10:00:00.123456", "2024-01-01T10:00:00Z", "2024-01-01T10:00:00-00:00", "2024-01-01T10:00:00+23:59",
        "2024-01-01T10:00:00.123456+05:30", "0001-01-01T00:00:00-00:01", "9999-12-31T23:59:59.999999+00:01",
    ],
)  # fmt: skip
def test_valid_timestamps(text: str) -> None:
    assert timestamp_problem(text) is None
    assert oracle.is_timestamp(text)


SHAPE, DAY, TIME = "not in the accepted form", "no such calendar day", "no such time of day or offset"
RANGE = "outside the years 0001 to 9999 in UTC"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", SHAPE), ("2024", SHAPE), ("20240101", SHAPE), ("2024-1-1", SHAPE), ("2024-W09-4", SHAPE), ("2024-060", SHAPE),
        ("2024-01-01T10:00", SHAPE), ("2024-01-01 10:00:00", SHAPE), ("2024-01-01t10:00:00", SHAPE), ("2024-01-01T10:00:00z", SHAPE),
        ("2024-01-01T10:00:00.", SHAPE), ("2024-01-01T10:00:00.1234567", SHAPE), ("2024-01-01T10:00:00,5", SHAPE),
        ("2024-01-01T10:00:00+01", SHAPE), ("2024-01-01T10:00:00\u221201:00", SHAPE), ("2024-01-01Z", SHAPE), (" 2024-01-01", SHAPE),
        ("2024-01-01\n", SHAPE), ("12024-01-01", SHAPE), ("٢٠٢٤-٠١-٠١", SHAPE), ("2024-01-01\x00", SHAPE),
        ("2024-02-30", DAY), ("1900-02-29", DAY), ("2024-13-01", DAY), ("0000-01-01", DAY), ("2023-02-29T10:00:00Z", DAY),
        ("2024-01-01T24:00:00", TIME), ("2024-01-01T10:60:00", TIME), ("2016-12-31T23:59:60Z", TIME), ("2024-01-01T10:00:00+24:00", TIME),
        ("2024-01-01T10:00:00+10:60", TIME), ("2024-01-01T10:00:00+23:60", TIME),
        ("0001-01-01T00:00:00+00:01", RANGE), ("9999-12-31T23:59:59-00:01", RANGE), ("9999-12-31T23:59:00.5-00:01", RANGE),
    ],
)  # fmt: skip
def test_what_is_no_timestamp_and_why(text: str, reason: str) -> None:
    problem = timestamp_problem(text)
    assert problem is not None and problem.startswith(f"{reason} (got {describe(text)}")
    assert not oracle.is_timestamp(text)


_PIECES = st.sampled_from([*"0123456789-:T.Z+ \n٣", "24", "60", ""])
_EDITS = st.lists(st.tuples(st.integers(0, 32), _PIECES, st.integers(0, 2)), max_size=3)


@given(strategies.timestamps(), _EDITS)
def test_edited_timestamps_are_judged_by_the_rule(text: str, edits: list[tuple[int, str, int]]) -> None:
    for at, put, cut in edits:
        text = text[:at] + put + text[at + cut :]
    assert (timestamp_problem(text) is None) == oracle.is_timestamp(text)


# ── Values ───────────────────────────────────────────────────────────────────────────────────────────────────────


class Colour(enum.StrEnum):
    RED = "red"


@given(st.data())
def test_a_field_takes_exactly_the_values_of_its_type(data: st.DataObject) -> None:
    field = data.draw(strategies.fields("f"))
    odd = st.sampled_from([value for value in strategies._ODD if value is not MISSING])
    value = data.draw(strategies.values(field) | odd)
    assert (field.problem(value) is None) == oracle.is_valid(field, value)


def test_descriptions_are_short_and_safe_to_print_however_odd_the_value() -> None:
    many: list[object] = ["\n" * 10**6, "\ud83d" * 50, 10**5000, -(10**5000), [0] * 10**6, b"x" * 10**6]
    for value in [*many, {1: 2}, object, lambda: 0]:
        assert len(describe(value)) < 300
        assert describe(value).isprintable()


# ── Declarations ─────────────────────────────────────────────────────────────────────────────────────────────────

BAD_NAMES = [
    "", " ", "a b", "1a", "a-b", "año", "a.b", "a'b", 'a"b', "a\n", "\na", "a;b", "__import__('os')", "x): import os #",
    "a" * 64, "\uff41", "a\x00", None, 5, b"a", ["a"], Colour.RED, "schema_version",
]  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES, ids=lambda name: repr(name)[:20])
def test_a_name_that_is_none_is_refused(name: Any) -> None:
    with pytest.raises(DeclarationError, match="field name"):
        Field(name, "string")


def test_a_name_is_any_ascii_identifier() -> None:
    names = ("a", "_", "A1", "a" * 63, "class", "None", "select", "__class__")
    assert Schema(*(Field(name, "string") for name in names)).names == names


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"type": "text"}, "unknown type 'text': choose one of string, integer, float, boolean, timestamp"),
        ({"nullable": 1}, "field 'f': nullable must be a bool, not 1"),
        ({"length": 0}, "field 'f': length 0: give a positive whole number, for strings only"),
        ({"type": "integer", "length": 5}, "length 5: give a positive whole number, for strings only"),
        ({"default": None}, "field 'f': its default is invalid: null, but required"),
        ({"default": "abc", "length": 2}, "field 'f': its default is invalid: longer than 2"),
        ({"type": "integer", "default": True}, "its default is invalid: expected integer"),
        ({"default": "\ud83d"}, "its default is invalid: lone surrogate"),
    ],
)
def test_a_field_declared_without_sense_is_refused(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(DeclarationError) as refused:
        Field("f", **{"type": "string"} | arguments)
    assert words in str(refused.value)


def test_a_schema_declared_without_sense_is_refused() -> None:
    with pytest.raises(DeclarationError, match="at least one field"):
        Schema()
    with pytest.raises(DeclarationError, match="declared twice: a, b"):
        Schema(Field("a", "string"), Field("b", "string"), Field("a", "integer"), Field("b", "string"))
    with pytest.raises(DeclarationError, match=r"'id' is not a Field: give Field\(name, type\)"):
        Schema("id")  # type: ignore[arg-type]
    with pytest.raises(DeclarationError, match="there is no field 'c' here; choose one of a"):
        Schema(Field("a", "string"))["c"]


def test_schemas_are_values() -> None:
    a, b = Field("a", "string"), Field("b", "integer", default=5)
    assert hash(Schema(a, b)) == hash(Schema(a, Field("b", "integer", default=5)))
    assert Schema(a, b) != Schema(b, a)
    assert Schema(a, b) != (a, b)
    assert (len(Schema(a, b)), "a" in Schema(a, b), "c" in Schema(a, b)) == (2, True, False)
    assert Schema(a, b).replace("a", Field("x", "float"), Field("y", "float")).names == ("x", "y", "b")
    assert Schema(a, b).replace("b").names == ("a",)
    assert str(Field("a", "string", nullable=True, length=5)) == "a string(5), nullable"
    assert repr(Field("a", "float", default=5).default) == "5.0"


def test_a_history_and_its_schemas_come_through_pickle_and_copy_into_another_process() -> None:
    schema = Schema(Field("a", "string", nullable=True), Field("b", "integer", default=5))
    code = (
        "import pickle, sys; from lib.versioning.schema import *; history, missing = pickle.load(sys.stdin.buffer)\n"
        "schema = history.schema(1)\n"
        "same = Schema(Field('a', 'string', nullable=True), Field('b', 'integer', default=5))\n"
        "assert schema == same and hash(schema) == hash(same)\n"
        "assert schema['a'].default is NO_DEFAULT and missing is MISSING"
    )
    history = SchemaHistory("things", first=copy.deepcopy(schema), steps={2: [DropField("a")]})
    data = pickle.dumps((history, MISSING))
    subprocess.run([sys.executable, "-c", code], input=data, cwd=ROOT, check=True)
