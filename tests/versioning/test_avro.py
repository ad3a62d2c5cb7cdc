"""Schemas as Avro's: one form for each kind of field, which Avro's own library accepts."""

from __future__ import annotations

import json

import avro.schema
from hypothesis import given, settings

from benchmarks.compatibility_oracle import pairs
from lib.versioning.avro import to_avro
from lib.versioning.schema import Field, Schema


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
    assert to_avro(schema, "users") == {
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


@given(pairs())
@settings(max_examples=100)
def test_avro_accepts_every_schema(pair: tuple[Schema, Schema]) -> None:
    for schema in pair:
        parsed = avro.schema.parse(json.dumps(to_avro(schema, "org.example.things"), allow_nan=False))
        assert [field.name for field in parsed.fields] == list(schema.names)
