"""Avro schemas in and out: nothing is lost on the way, and nothing is half-read."""

from __future__ import annotations

import json
import subprocess
import sys
from copy import deepcopy
from typing import Any

import avro.schema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.compatibility_oracle import pairs
from lib.versioning.schema import NO_DEFAULT, DeclarationError, Field, Schema
from lib.versioning.users import USERS

ALL_KINDS: dict[str, Any] = {
    "type": "record",
    "name": "users",
    "fields": [
        {"name": "id", "type": "string", "aliases": ["key", "uid"]},
        {"name": "name", "type": {"type": "string", "length": 255}},
        {"name": "created_at", "type": {"type": "string", "iso8601": True}, "default": "2024-01-01"},
        {"name": "email", "type": ["null", {"type": "string", "length": 255}], "default": None},
        {"name": "age", "type": ["null", "long"]},
        {"name": "score", "type": ["double", "null"], "default": 0.5},
        {"name": "active", "type": "boolean", "default": True},
    ],
}


def test_each_kind_of_field_has_one_form_in_avro() -> None:
    schema = Schema(
        Field("id", "string", aliases=("key", "uid")),
        Field("name", "string", length=255),
        Field("created_at", "timestamp", default="2024-01-01"),
        Field("email", "string", nullable=True, default=None, length=255),
        Field("age", "integer", nullable=True),
        Field("score", "float", nullable=True, default=0.5),
        Field("active", "boolean", default=True),
    )
    assert schema.to_avro("users") == ALL_KINDS
    assert Schema.from_avro(ALL_KINDS) == schema
    assert Schema.from_avro(json.dumps(ALL_KINDS)) == schema


@given(pairs())
@settings(max_examples=100)
def test_out_and_in_again_is_the_same_schema_and_avro_accepts_it(pair: tuple[Schema, Schema]) -> None:
    for schema in pair:
        written = json.dumps(schema.to_avro("org.example.things"), allow_nan=False)
        assert Schema.from_avro(written) == schema
        assert Schema.from_avro(json.loads(written)) == schema
        assert [field.name for field in avro.schema.parse(written).fields] == list(schema.names)


def test_both_orders_of_a_nullable_union_are_read() -> None:
    def read(kind: Any, **default: Any) -> Field:
        return Schema.from_avro(
            {"type": "record", "name": "r", "fields": [{"name": "a", "type": kind, **default}]}
        )["a"]

    assert read(["null", "long"]) == read(["long", "null"]) == Field("a", "integer", nullable=True)
    assert read([{"type": "null"}, {"type": "long"}]) == Field("a", "integer", nullable=True)
    assert read(["null", "long"], default=None).default is None
    assert read(["long", "null"], default=5).default == 5
    assert read(["long", "null"]).default is NO_DEFAULT


def test_a_whole_number_is_a_default_of_a_double_as_json_has_one_kind_of_number() -> None:
    source = {"type": "record", "name": "r", "fields": [{"name": "a", "type": "double", "default": 3}]}
    assert type(Schema.from_avro(source)["a"].default) is float


def test_name_namespace_and_documentation_of_a_record_are_left_out() -> None:
    more = {"namespace": "org.example", "doc": "People.", "aliases": ["persons"]}
    assert Schema.from_avro(ALL_KINDS | more) == Schema.from_avro(ALL_KINDS)
    documented = deepcopy(ALL_KINDS)
    documented["fields"][0]["doc"] = "The key."
    assert Schema.from_avro(documented) == Schema.from_avro(ALL_KINDS)


# ── What is refused ──────────────────────────────────────────────────────────────────────────────────────────────

NESTED = {"type": "record", "name": "inner", "fields": [{"name": "x", "type": "long"}]}


@pytest.mark.parametrize(
    ("kind", "place", "words"),
    [
        ("int", "$.fields[0].type", "32 bits"),
        ("float", "$.fields[0].type", "32 bits"),
        ("bytes", "$.fields[0].type", "no text"),
        ("null", "$.fields[0].type", "null alone"),
        ("inner", "$.fields[0].type", "string 'inner'"),
        ({"type": "inner"}, "$.fields[0].type", "string 'inner'"),
        (NESTED, "$.fields[0].type", "nested"),
        ({"type": "array", "items": "string"}, "$.fields[0].type", "nested"),
        ({"type": "map", "values": "string"}, "$.fields[0].type", "nested"),
        ({"type": "enum", "name": "e", "symbols": ["A"]}, "$.fields[0].type", "named type"),
        ({"type": "fixed", "name": "f", "size": 4}, "$.fields[0].type", "named type"),
        ({"type": "string", "logicalType": "uuid"}, "$.fields[0].type.logicalType", "without a meaning"),
        ({"type": "long", "logicalType": "timestamp-micros"}, "$.fields[0].type.logicalType", "meaning"),
        ({"type": "long", "length": 5}, "$.fields[0].type.length", "without a meaning"),
        ({"type": "string", "length": 0}, "$.fields[0]", "positive number"),
        ({"type": "string", "length": None}, "$.fields[0].type.length", "null"),
        ({"type": "string", "length": True}, "$.fields[0].type.length", "boolean True"),
        ({"type": "string", "iso8601": False}, "$.fields[0].type.iso8601", "boolean False"),
        ({"type": "string", "iso8601": True, "length": 5}, "$.fields[0].type.length", "no iso8601 beside it"),
        ({"type": {"type": "string"}}, "$.fields[0].type", "object of 1"),
        ({}, "$.fields[0].type", "object of 0"),
        (5, "$.fields[0].type", "integer 5"),
        (["string"], "$.fields[0].type", "null and one type"),
        (["null"], "$.fields[0].type", "null and one type"),
        (["null", "null"], "$.fields[0].type", "null and one type"),
        (["long", "string"], "$.fields[0].type", "null and one type"),
        (["null", "long", "string"], "$.fields[0].type", "null and one type"),
        (["null", NESTED], "$.fields[0].type[1]", "nested"),
        (["int", "null"], "$.fields[0].type[0]", "32 bits"),
        (["null", ["null", "long"]], "$.fields[0].type[1]", "array of 2"),
    ],
)
def test_a_type_outside_is_refused_with_its_place(kind: Any, place: str, words: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        Schema.from_avro({"type": "record", "name": "r", "fields": [{"name": "a", "type": kind}]})
    assert str(caught.value).startswith(f"{place}: ") and words in str(caught.value)


@pytest.mark.parametrize(
    ("field", "place", "words"),
    [
        ({"name": "a"}, "$.fields[0]", "without type"),
        ({"type": "long"}, "$.fields[0]", "without name"),
        ({"name": "a", "type": "long", "order": "ignore"}, "$.fields[0].order", "without a meaning"),
        ({"name": "a b", "type": "long"}, "$.fields[0]", "field name"),
        ({"name": "schema_version", "type": "long"}, "$.fields[0]", "reserved"),
        ({"name": "a", "type": "long", "aliases": "b"}, "$.fields[0].aliases", "an array"),
        ({"name": "a", "type": "long", "aliases": [5]}, "$.fields[0]", "alias integer 5"),
        ({"name": "a", "type": "long", "default": "5"}, "$.fields[0]", "expected integer"),
        ({"name": "a", "type": "long", "default": 5.0}, "$.fields[0]", "expected integer"),
        ({"name": "a", "type": "long", "default": None}, "$.fields[0]", "null, but required"),
        ({"name": "a", "type": "double", "default": 2**53 + 1}, "$.fields[0]", "expected float"),
        ({"name": "a", "type": "double", "default": True}, "$.fields[0]", "expected float"),
        ({"name": "a", "type": "double", "default": float("nan")}, "$.fields[0].default", "no number"),
        ({"name": "a", "type": ["null", "long"], "default": 5}, "$.fields[0].default", "first branch"),
        ({"name": "a", "type": ["long", "null"], "default": None}, "$.fields[0].default", "first branch"),
        (["a", "long"], "$.fields[0]", "array of 2"),
        ("a", "$.fields[0]", "string 'a'"),
    ],
)
def test_a_field_outside_is_refused_with_its_place(field: Any, place: str, words: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        Schema.from_avro({"type": "record", "name": "r", "fields": [field]})
    assert str(caught.value).startswith(f"{place}: ") and words in str(caught.value)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{", "$: not readable as JSON"),
        ("[" * 100_000, "$: not readable as JSON"),
        ('"string"', "$: an object is needed"),
        ('{"type": "record", "name": "r", "name": "s", "fields": []}', "stands twice"),
        ({"type": "enum", "name": "r", "fields": []}, "$.type: a record is needed"),
        ({"type": "record", "name": "r"}, "$: without fields"),
        ({"type": "record", "name": "r", "fields": {}}, "$.fields: an array is needed"),
        ({"type": "record", "name": "r", "fields": []}, "at least one field"),
        ({"type": "record", "name": "r", "fields": [], "logicalType": "x"}, "$.logicalType"),
        (None, "$: an object is needed"),
        (b"{}", "$: an object is needed"),
    ],
)
def test_a_document_outside_is_refused(source: Any, words: str) -> None:
    with pytest.raises(DeclarationError, match=None) as caught:
        Schema.from_avro(source)
    assert words in str(caught.value)


@pytest.mark.parametrize("other", ["b", "a"])
def test_names_and_aliases_of_one_schema_are_all_different(other: str) -> None:
    fields = [{"name": "a", "type": "long"}, {"name": "b", "type": "long", "aliases": ["c", other]}]
    with pytest.raises(DeclarationError, match=f"declared twice: {other}"):
        Schema.from_avro({"type": "record", "name": "r", "fields": fields})


@pytest.mark.parametrize("default", [float("nan"), float("inf"), float("-inf")])
def test_a_default_without_a_form_in_json_is_refused(default: float) -> None:
    with pytest.raises(DeclarationError, match=r"'a': its default .* no form in JSON"):
        Schema(Field("a", "float", default=default)).to_avro("r")


@pytest.mark.parametrize("name", ["", "a b", ".a", "a..b", "5", "string", "org.example.long", None])
def test_a_record_name_that_avro_does_not_take_is_refused(name: Any) -> None:
    with pytest.raises(DeclarationError, match=r"^\$\.name: .*record name"):
        USERS.schema(1).to_avro(name)
    with pytest.raises(DeclarationError, match=r"^\$\.name: .*record name"):
        Schema.from_avro(ALL_KINDS | {"name": name})


# ── Never half-read ──────────────────────────────────────────────────────────────────────────────────────────────

JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-5, 5), st.floats(allow_nan=False), st.sampled_from(
            ["string", "long", "null", "int", "record", "users", "a", "", "2024-01-01", "array", "bytes", "double"]
        )
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["type", "name", "length", "iso8601", "items", "default", "fields", "logicalType"]), inner
    ),
    max_leaves=4,
)  # fmt: skip


@st.composite
def mutilated(draw: st.DrawFn) -> dict[str, Any]:
    """A good Avro schema in which one to three nodes were replaced, added or taken away."""
    document = deepcopy(ALL_KINDS)
    for _ in range(draw(st.integers(1, 3))):
        node: Any = document
        for _ in range(draw(st.integers(0, 5))):
            inner = [
                value
                for value in (node.values() if isinstance(node, dict) else node)
                if isinstance(value, dict | list)
            ]
            if not inner:
                break
            node = draw(st.sampled_from(inner))
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if keys and draw(st.booleans()):
            del node[draw(st.sampled_from(keys))]
        elif isinstance(node, dict):
            more = ["default", "length", "iso8601", "logicalType", "aliases", "order", "items"]
            node[draw(st.sampled_from([*keys, *more]))] = draw(JSON)
        elif keys:
            node[draw(st.sampled_from(keys))] = draw(JSON)
        else:
            node.append(draw(JSON))
    return document


def _normal(document: dict[str, Any]) -> list[Any]:
    """What an Avro schema says about data: spelled as `to_avro` does, null being the first branch where it may."""
    fields = []
    for field in document["fields"]:
        kinds = field["type"] if isinstance(field["type"], list) else [field["type"]]
        kinds = [kind if isinstance(kind, dict) else {"type": kind} for kind in kinds]
        if "default" not in field:
            kinds.sort(key=lambda kind: kind["type"] != "null")
        default = field.get("default", "none given")
        fields.append(
            (
                field["name"],
                kinds,
                float(default) if type(default) is int else default,
                field.get("aliases", []),
            )
        )
    return fields


@given(mutilated())
@settings(max_examples=400)
def test_what_is_not_refused_is_read_to_the_last_attribute(document: dict[str, Any]) -> None:
    try:
        schema = Schema.from_avro(document)
    except DeclarationError:
        return
    assert _normal(schema.to_avro("users")) == _normal(document)


def test_importing_takes_neither_avro_nor_tables() -> None:
    code = (
        "import sys; from lib.versioning import avro, compatibility\n"
        "print({'avro', 'pandas', 'pyarrow'} & set(sys.modules))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "set()\n"
