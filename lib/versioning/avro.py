"""Flat record schemas of Avro, in and out, by the specification of Avro 1.12 and so that Avro 1.11 reads them too.

    string → string      integer → long      float → double      boolean → boolean
    timestamp → {"type": "string", "iso8601": true}        a length → {"type": "string", "length": 255}
    nullable → a union with null, its first branch the one that the default matches

What a `Schema` can't say is refused, with the place as a JSON path, and never half-read: 32-bit numbers, whose readers
would fail on a long; logical types; anything nested; attributes without a meaning here. Of the record itself a `Schema`
holds no more than the fields: its name, namespace, aliases and documentation are accepted and left out.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final

from lib.versioning.schema import NO_DEFAULT, DeclarationError, Field, Schema, check_name, describe

#: The Avro type of each type of field.
AVRO_TYPES: Final = {
    "string": "string",
    "integer": "long",
    "float": "double",
    "boolean": "boolean",
    "timestamp": "string",
}
_FIELD_TYPES: Final = {"string": "string", "long": "integer", "double": "float", "boolean": "boolean"}
_OUTSIDE: Final = {
    "int": "32 bits; the integers here are long",
    "float": "32 bits; the floats here are double",
    "null": "null alone; make it a union with a type",
    "bytes": "bytes are no text",
    **dict.fromkeys(("record", "error", "array", "map"), "nested; a flat schema holds one value in a field"),
    **dict.fromkeys(("enum", "fixed"), "a named type; use string"),
}


# ── Out ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def to_avro(schema: Schema, name: str) -> dict[str, Any]:
    """Return the record schema called `name` (which may begin with a namespace) as an object for `json.dumps`.

    Raises DeclarationError for a name that Avro does not take, and for a default that JSON can't write (NaN, infinity).
    """
    for part in str(name).split("."):
        check_name(part, f"part of the record name {name!r}")
    return {"type": "record", "name": name, "fields": [_field_to_avro(field) for field in schema]}


def _field_to_avro(field: Field) -> dict[str, Any]:
    value: Any = AVRO_TYPES[field.type]
    if field.type == "timestamp":
        value = {"type": value, "iso8601": True}
    elif field.length is not None:
        value = {"type": value, "length": field.length}
    if field.nullable:
        value = ["null", value] if field.default in (None, NO_DEFAULT) else [value, "null"]
    written: dict[str, Any] = {"name": field.name, "type": value}
    if field.default is not NO_DEFAULT:
        if type(field.default) is float and not math.isfinite(field.default):
            raise DeclarationError(f"field {field.name!r}: its default {field.default} has no form in JSON")
        written["default"] = field.default
    if field.aliases:
        written["aliases"] = list(field.aliases)
    return written


# ── In ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def from_avro(source: str | dict[str, Any]) -> Schema:
    """Read a record schema from JSON or from the object that JSON gives; raise DeclarationError for what is outside."""
    document = _parse(source) if isinstance(source, str) else source
    record = _attributes(document, "$", {"type", "name", "fields"}, {"namespace", "aliases", "doc"})
    if record["type"] != "record":
        raise DeclarationError(f"$.type: a record is needed (got {describe(record['type'])})")
    if not isinstance(record["fields"], list):
        raise DeclarationError(f"$.fields: an array is needed (got {describe(record['fields'])})")
    fields = [_field_from_avro(field, f"$.fields[{at}]") for at, field in enumerate(record["fields"])]
    return Schema(*fields)


def _parse(text: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError(f"an attribute stands twice among {', '.join(key for key, _ in pairs)}")
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise DeclarationError(f"$: not readable as JSON: {error}") from None


def _attributes(value: Any, path: str, needed: set[str], optional: set[str]) -> dict[str, Any]:
    """Return an object that has all attributes of `needed`, and beyond these at most those of `optional`."""
    if not isinstance(value, dict):
        raise DeclarationError(f"{path}: an object is needed (got {describe(value)})")
    if missing := sorted(needed - value.keys()):
        raise DeclarationError(f"{path}: without {', '.join(missing)}")
    if unknown := [name for name in value if name not in needed | optional]:
        raise DeclarationError(
            f"{path}.{unknown[0]}: an attribute without a meaning here; there are {', '.join(sorted(needed | optional))}"
        )
    return value


def _field_from_avro(source: Any, path: str) -> Field:
    found = _attributes(source, path, {"name", "type"}, {"default", "aliases", "doc"})
    kind, length, nullable, null_first = _type_from_avro(found["type"], f"{path}.type")
    default, aliases = found.get("default", NO_DEFAULT), found.get("aliases", [])
    if not isinstance(aliases, list):
        raise DeclarationError(f"{path}.aliases: an array is needed (got {describe(aliases)})")
    if kind == "float" and type(default) is int and abs(default) <= 2**53:
        default = float(default)
    if type(default) is float and not math.isfinite(default):
        raise DeclarationError(f"{path}.default: no number of JSON (got {describe(default)})")
    if nullable and default is not NO_DEFAULT and (default is None) != null_first:
        raise DeclarationError(
            f"{path}.default: matches the second branch of the union (got {describe(default)}); up to Avro 1.11 it must "
            "match the first, so put that branch first"
        )
    try:
        return Field(found["name"], kind, nullable, default, length, tuple(aliases))
    except DeclarationError as error:
        raise DeclarationError(f"{path}: {error}") from None


def _type_from_avro(source: Any, path: str) -> tuple[str, int | None, bool, bool]:
    """Return the type of field, its length, whether it is nullable, and whether null is the first branch."""
    if not isinstance(source, list):
        return *_primitive(source, path), False, False
    nulls = [branch in ("null", {"type": "null"}) for branch in source]
    if sorted(nulls) != [False, True]:
        raise DeclarationError(
            f"{path}: the only unions here are those of null and one type (got {describe(source)})"
        )
    at = nulls.index(False)
    return *_primitive(source[at], f"{path}[{at}]"), True, nulls[0]


def _primitive(source: Any, path: str) -> tuple[str, int | None]:
    found = {"type": source} if isinstance(source, str) else source
    name = found.get("type") if isinstance(found, dict) else None
    if not isinstance(name, str) or name not in _FIELD_TYPES:
        why = _OUTSIDE.get(name) if isinstance(name, str) else None
        got = f"{name}: {why}" if why else describe(source if name is None else name)
        raise DeclarationError(f"{path}: the types here are {', '.join(_FIELD_TYPES)} (got {got})")
    found = _attributes(found, path, {"type"}, {"iso8601", "length"} if name == "string" else set())
    if "iso8601" not in found:
        if "length" in found and type(found["length"]) is not int:
            raise DeclarationError(
                f"{path}.length: a whole number is needed (got {describe(found['length'])})"
            )
        return _FIELD_TYPES[name], found.get("length")
    if found["iso8601"] is not True or "length" in found:
        raise DeclarationError(f"{path}.iso8601: either true, and then without a length, or left out")
    return "timestamp", None
