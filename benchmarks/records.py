"""Records as dicts on one core: the manager of `lib` against the naive loop and the libraries that people use for it.

python benchmarks/run.py --only records [--quick]
"""

from __future__ import annotations

import io
import json
import operator
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import fastavro
import fastjsonschema
import jsonschema
import jsonschema_rs
import msgspec
import pydantic
from typing_extensions import TypedDict

from benchmarks.naive import (
    errors_with_timestamps,
    upgrade_copying_each_step,
    upgrade_copying_once,
    validate_schema,
)
from benchmarks.rows import Row, rows_of
from lib.benchmark import Comparison, compare
from lib.versioning import USERS, AddField, DataVersionManager, Field, Schema, SchemaHistory, make_users
from lib.versioning.avro import to_avro
from lib.versioning.records import migrator

DATE = operator.itemgetter("created_at")
#: The same work for all: three strings. (The timestamp of the real history is tested below, against a loop that tests it.)
PLAIN = SchemaHistory(
    "users", first=Schema(*(Field(name, "string") for name in ("id", "name", "created_at")))
)
JSON_SCHEMA = {
    "type": "object",
    "properties": {name: {"type": "string"} for name in ("id", "name", "created_at")},
    "required": ["id", "name", "created_at"],
}
BREAKS: tuple[Callable[[dict[str, Any]], Any], ...] = (
    lambda record: record.pop("id"),
    lambda record: record.update(id=4711),
    lambda record: record.update(name=None),
    lambda record: record.update(name=True),
    lambda record: record.update(created_at="not a date"),
    lambda record: record.update(created_at="2024-02-30"),
)


class UserDict(TypedDict):
    """What pydantic is given."""

    id: str
    name: str
    created_at: str


class UserStruct(msgspec.Struct):
    """What msgspec is given."""

    id: str
    name: str
    created_at: str


def users(count: int, bad: bool = False) -> list[dict[str, Any]]:
    """Users of version 1; with `bad`, one in a hundred is broken, in one of six ways that all candidates call an error."""
    records = list(make_users(count, seed=1))
    for at in range(50, count, 100) if bad else ():
        BREAKS[at // 100 % len(BREAKS)](records[at])
    return records


def _only_looks(records: list[dict[str, Any]]) -> int:
    """The least that a loop must do for each record, with nothing said about the bad ones: Python does not go below this."""
    isascii, found = str.isascii, 0
    for record in records:
        if (
            type(record) is dict
            and "schema_version" not in record
            and (isascii(record["id"]), isascii(record["name"]), isascii(record["created_at"]))
        ):
            found += 1
    return found


def types(count: int, rounds: int) -> Iterator[Row]:
    """Validation of types only, on valid records; every candidate says how many passed."""
    records = users(count)
    manager, adapter = DataVersionManager(PLAIN), pydantic.TypeAdapter(list[UserDict])
    fast = fastjsonschema.compile(JSON_SCHEMA)
    slow, rust = jsonschema.Draft202012Validator(JSON_SCHEMA), jsonschema_rs.validator_for(JSON_SCHEMA)
    candidates = {
        "naive loop": lambda: sum(validate_schema(record)["valid"] for record in records),
        "lib, validate_many": lambda: len(manager.validate_many(records).records),
        "msgspec, to Struct": lambda: len(msgspec.convert(records, list[UserStruct])),
        "pydantic, TypedDict": lambda: len(adapter.validate_python(records)),
        "fastjsonschema": lambda: sum(1 for record in records if fast(record) is record),
        "jsonschema-rs": lambda: sum(map(rust.is_valid, records)),
        "floor: a loop that only looks": lambda: _only_looks(records),
    }
    compared = compare(candidates, baseline="naive loop", rounds=rounds, control=True)
    yield from rows_of("records", "types", count, compared, goals={"lib, validate_many": 4.5})
    for peer, goal in (("msgspec, to Struct", 0.9), ("pydantic, TypedDict", 3.5)):
        against = Comparison(
            peer,
            {name: compared.timings[name] for name in (peer, "lib, validate_many")},
            compared.environment,
        )
        case = f"types, against {peer.partition(',')[0]}"
        yield from rows_of("records", case, count, against, goals={"lib, validate_many": goal})
    few = records[: max(100, count // 100)]  # it takes a hundred times as long
    candidates = {
        "naive loop": lambda: sum(validate_schema(record)["valid"] for record in few),
        "jsonschema": lambda: sum(slow.is_valid(record) for record in few),
    }
    yield from rows_of(
        "records", "types, few", len(few), compare(candidates, baseline="naive loop", rounds=rounds)
    )


def timestamps(count: int, rounds: int, bad: bool) -> Iterator[Row]:
    """Validation of types and timestamps, every error; every candidate says where the bad ones are."""
    records = users(count, bad)
    manager = DataVersionManager()
    candidates = {
        "naive loop": lambda: [at for at, record in enumerate(records, 1) if errors_with_timestamps(record)],
        "lib, validate_many": lambda: [entry["line"] for entry in manager.validate_many(records).quarantined],
        "lib, one at a time": lambda: [
            at for at, r in enumerate(records, 1) if not manager.validate_schema(r)["valid"]
        ],
    }
    if not bad:
        candidates["floor: only looks, and reads the dates"] = lambda: (
            [] if _only_looks(records) == len(list(map(datetime.fromisoformat, map(DATE, records)))) else None
        )
    case, goal = ("types and timestamps, 1 % bad", 2.9) if bad else ("types and timestamps", 4.5)
    yield from rows_of("records", case, count, compare(candidates, baseline="naive loop", rounds=rounds, control=True),
                       goals={"lib, validate_many": goal})  # fmt: skip


def upgrades(count: int, rounds: int) -> Iterator[Row]:
    """Upgrade of valid records from version 1 to 3 without changing them; the results are the same dicts."""
    records = users(count)
    migrate, note = migrator(USERS, 1, 3), [].append
    manager = DataVersionManager()
    candidates = {
        "naive, a copy each step": lambda: [upgrade_copying_each_step(record) for record in records],
        "naive, one copy": lambda: [upgrade_copying_once(record) for record in records],
        "lib, generated function": lambda: [migrate(record, note, note, note) for record in records],
    }
    compared = compare(candidates, baseline="naive, a copy each step", rounds=rounds, control=True)
    yield from rows_of("records", "upgrade", count, compared, goals={"lib, generated function": 1.5})

    def naive() -> list[dict[str, Any]]:
        return [upgrade_copying_each_step(record) for record in records if not errors_with_timestamps(record)]

    candidates = {"naive loops": naive, "lib, upgrade_many": lambda: manager.upgrade_many(records, 3).records}
    compared = compare(candidates, baseline="naive loops", rounds=rounds, equal=operator.eq, control=True)
    yield from rows_of("records", "validate and upgrade", count, compared, goals={"lib, upgrade_many": 1.8})


def reading(count: int, rounds: int) -> Iterator[Row]:
    """Records that version 1 wrote, read at a version with two more optional fields: from bytes to dicts.

    Avro does it by resolving the writer's schema with the reader's. (Version 2 of the users can't be read so: `updated_at` has no
    default that is the same for all.) Each reads its own format, and all return the same dicts.
    """
    nullable = {name: AddField(name, "string", nullable=True) for name in ("email", "phone")}
    history = SchemaHistory("users", first=PLAIN.schema(1), steps={2: [*nullable.values()]})
    old, new = (fastavro.parse_schema(to_avro(history.schema(version), "users")) for version in (1, 2))
    records, written, migrate = users(count), io.BytesIO(), migrator(history, 1, 2)
    for record in records:
        fastavro.schemaless_writer(written, old, record)
    avro, note = written.getvalue(), [].append
    lines = [json.dumps(record, ensure_ascii=False).encode() for record in records]
    blank = dict.fromkeys(nullable)

    def by_avro() -> list[dict[str, Any]]:
        source = io.BytesIO(avro)
        return [fastavro.schemaless_reader(source, old, new) for _ in range(count)]

    def by_lib() -> list[dict[str, Any]]:
        decode = msgspec.json.Decoder(dict[str, Any]).decode
        return [migrate(record, note, note, note) for record in map(decode, lines)]

    candidates = {
        "naive json loop": lambda: [{**json.loads(line), **blank} for line in lines],
        "fastavro, schema resolution": by_avro,
        "lib on msgspec": by_lib,
    }

    def equal(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> bool:
        return len(one) == len(other) and all(
            a == {n: b[n] for n in a} for a, b in zip(one, other, strict=True)
        )

    compared = compare(candidates, baseline="naive json loop", rounds=rounds, equal=equal, control=True)
    yield from rows_of("records", "read at a later version, from bytes", count, compared)


def rows(quick: bool = False) -> Iterator[Row]:
    """All cases; a quick run shows that it works, not how fast."""
    count, rounds = (2_000, 3) if quick else (100_000, 7)
    yield from types(count, rounds)
    yield from timestamps(count, rounds, bad=False)
    yield from timestamps(count, rounds, bad=True)
    yield from upgrades(count, rounds)
    yield from reading(count, rounds)
