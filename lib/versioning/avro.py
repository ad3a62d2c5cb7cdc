"""Flat record schemas of Avro, in and out, by the specification of Avro 1.12 and such that Avro 1.11 reads them too.

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
from typing import Any, Final, NoReturn

from lib.versioning.schema import NO_DEFAULT, DeclarationError, Field, Schema, check_name, describe

_TYPES: Final = {"string": "string", "long": "integer", "double": "float", "boolean": "boolean"}
_AVRO: Final = {ours: theirs for theirs, ours in _TYPES.items()} | {"timestamp": "string"}
_OUTSIDE: Final = {
    "int": "32 bits; an integer is a long here",
    "float": "32 bits; a float is a double here",
    "null": "null alone; make it a union with a type",
    "bytes": "bytes are no text",
    **dict.fromkeys(("record", "error", "array", "map"), "nested; a flat schema has one value in a field"),
    **dict.fromkeys(("enum", "fixed"), "a named type; use string"),
}


def _refuse(path: str, why: str) -> NoReturn:
    raise DeclarationError(f"{path}: {why}") from None


def _check_record_name(path: str, name: Any) -> None:
    parts = name.split(".") if isinstance(name, str) else [name]
    for part in parts:
        check_name(part, f"{path}: part of the record name")
    if parts[-1] in (*_TYPES, "int", "float", "null", "bytes"):
        _refuse(path, f"record name {name!r}: reserved for a type")


# ── Out ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def to_avro(schema: Schema, name: str) -> dict[str, Any]:
    """Return the record schema called `name` (which may begin with a namespace) as an object for `json.dumps`.

    Raises DeclarationError for a name that Avro does not take, and for a default that JSON can't write (NaN, infinity).
    """
    _check_record_name("$.name", name)
    return {"type": "record", "name": name, "fields": [_field_to_avro(field) for field in schema]}


def _field_to_avro(field: Field) -> dict[str, Any]:
    kind: Any = _AVRO[field.type]
    if field.type == "timestamp":
        kind = {"type": kind, "iso8601": True}
    elif field.length is not None:
        kind = {"type": kind, "length": field.length}
    if field.nullable:
        kind = ["null", kind] if field.default in (None, NO_DEFAULT) else [kind, "null"]
    written: dict[str, Any] = {"name": field.name, "type": kind}
    if field.default is not NO_DEFAULT:
        if type(field.default) is float and not math.isfinite(field.default):
            _refuse(f"field {field.name!r}", f"its default {field.default} has no form in JSON")
        written["default"] = field.default
    return written | ({"aliases": list(field.aliases)} if field.aliases else {})


# ── In ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def from_avro(source: str | dict[str, Any]) -> Schema:
    """Read a record schema from JSON or from the object that JSON gives; raise DeclarationError for what is outside."""
    document = _parse(source) if isinstance(source, str) else source
    record = _attributes(document, "$", {"type", "name", "fields"}, {"namespace", "aliases", "doc"})
    if record["type"] != "record":
        _refuse("$.type", f"a record is needed (got {describe(record['type'])})")
    _check_record_name("$.name", record["name"])
    fields = _array(record["fields"], "$.fields")
    return Schema(*(_field_from_avro(field, f"$.fields[{at}]") for at, field in enumerate(fields)))


def _parse(text: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError(f"an attribute stands twice among {', '.join(key for key, _ in pairs)}")
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        _refuse("$", f"not readable as JSON: {error}")


def _array(value: Any, path: str) -> list[Any]:
    return value if isinstance(value, list) else _refuse(path, f"an array is needed (got {describe(value)})")


def _attributes(value: Any, path: str, needed: set[str], optional: set[str]) -> dict[str, Any]:
    """Return an object that has all attributes of `needed`, and beyond these at most those of `optional`."""
    if not isinstance(value, dict):
        _refuse(path, f"an object is needed (got {describe(value)})")
    if missing := sorted(needed - value.keys()):
        _refuse(path, f"without {', '.join(missing)}")
    if unknown := [name for name in value if name not in needed | optional]:
        meant = ", ".join(sorted(needed | optional))
        _refuse(f"{path}.{unknown[0]}", f"an attribute without a meaning here; there are {meant}")
    return value


def _field_from_avro(source: Any, path: str) -> Field:
    found = _attributes(source, path, {"name", "type"}, {"default", "aliases", "doc"})
    kind, length, null_at = _type_from_avro(found["type"], f"{path}.type")
    default, aliases = found.get("default", NO_DEFAULT), _array(found.get("aliases", []), f"{path}.aliases")
    if kind == "float" and type(default) is int and abs(default) <= 2**53:
        default = float(default)  # JSON has one kind of number
    if type(default) is float and not math.isfinite(default):
        _refuse(f"{path}.default", f"no number of JSON (got {describe(default)})")
    if null_at is not None and default is not NO_DEFAULT and (default is None) != (null_at == 0):
        why = "up to Avro 1.11 a default must match the first branch of the union, so put its branch first"
        _refuse(f"{path}.default", f"{why} (got {describe(default)})")
    try:
        return Field(found["name"], kind, null_at is not None, default, length, tuple(aliases))
    except DeclarationError as error:
        _refuse(path, str(error))


def _type_from_avro(source: Any, path: str) -> tuple[str, int | None, int | None]:
    """Return the type of field, its length, and which branch of a union is null (None if it is no union)."""
    if not isinstance(source, list):
        return *_primitive(source, path), None
    nulls = [branch in ("null", {"type": "null"}) for branch in source]
    if sorted(nulls) != [False, True]:
        _refuse(path, f"the only unions here are those of null and one type (got {describe(source)})")
    return *_primitive(source[nulls.index(False)], f"{path}[{nulls.index(False)}]"), nulls.index(True)


def _primitive(source: Any, path: str) -> tuple[str, int | None]:
    found = {"type": source} if isinstance(source, str) else source
    name = found.get("type") if isinstance(found, dict) else None
    if not isinstance(name, str) or name not in _TYPES:
        got = (
            f"{name}: {_OUTSIDE[name]}"
            if isinstance(name, str) and name in _OUTSIDE
            else describe(name or source)
        )
        _refuse(path, f"the types here are {', '.join(_TYPES)} (got {got})")
    found = _attributes(found, path, {"type"}, {"iso8601", "length"} if name == "string" else set())
    if "length" in found and ("iso8601" in found or type(found["length"]) is not int):
        why = "a whole number is needed, and no iso8601 beside it"
        _refuse(f"{path}.length", f"{why} (got {describe(found['length'])})")
    if found.get("iso8601", True) is not True:
        _refuse(f"{path}.iso8601", f"true, or left out (got {describe(found['iso8601'])})")
    return "timestamp" if "iso8601" in found else _TYPES[name], found.get("length")
