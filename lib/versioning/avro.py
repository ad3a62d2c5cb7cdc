"""Convert a schema to an Avro record schema, by the specification of Avro 1.12, readable by Avro 1.11 too.

    string → string      integer → long      float → double      boolean → boolean
    timestamp → {"type": "string", "iso8601": true}        a length → {"type": "string", "length": 255}
    nullable → a union with null, its first branch the one that the default matches

Avro ignores attributes that it does not know, such as `iso8601` and `length`.
"""

from __future__ import annotations

from typing import Any, Final

from lib.versioning.schema import NO_DEFAULT, Field, Schema

#: Avro's names for types, if they differ from ours.
_TYPES: Final = {"integer": "long", "float": "double", "timestamp": "string"}


def to_avro(schema: Schema, name: str) -> dict[str, Any]:
    """Return the record schema called `name` (which may begin with a namespace) as an object for `json.dumps`."""
    return {"type": "record", "name": name, "fields": [_field_to_avro(field) for field in schema]}


def _field_to_avro(field: Field) -> dict[str, Any]:
    kind: Any = _TYPES.get(field.type, field.type)
    if field.type == "timestamp":
        kind = {"type": kind, "iso8601": True}
    elif field.length is not None:
        kind = {"type": kind, "length": field.length}
    if field.nullable:
        kind = ["null", kind] if field.default in (None, NO_DEFAULT) else [kind, "null"]
    written: dict[str, Any] = {"name": field.name, "type": kind}
    if field.default is not NO_DEFAULT:
        written["default"] = field.default
    return written | ({"aliases": list(field.aliases)} if field.aliases else {})
