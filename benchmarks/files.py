"""From bytes to bytes on one core: files of records, upgraded from version 1 to 3, with what is invalid put aside.

    python benchmarks/run.py --only files [--quick]

One record in fifty is broken. Every candidate writes the upgraded records, and for each of the others its line, its errors
and itself; all that is written is read again and compared. Files lie in memory, so that no disk is measured.
"""

from __future__ import annotations

import io
import json
import statistics
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Final

import msgspec
import polars as pl
import pyarrow as pa
from pyarrow import parquet

from benchmarks.naive import Record, upgrade_copying_once
from benchmarks.rows import Row, rows_of
from benchmarks.tables import make_records, split_by_polars, timestamp_reason
from lib.benchmark import compare, environment, interleave
from lib.versioning import DataVersionManager, make_users, reason_of
from lib.versioning.files import migrate_file
from lib.versioning.tables import upgrade_table

Written = tuple[bytes, bytes]
FIELDS: Final = ("id", "name", "created_at")


def errors_of(record: Record) -> list[str]:
    """Every error of a record of version 1, by the loop that the benchmark of tables has too, one record at a time."""
    errors = []
    for name in FIELDS:
        value = record.get(name)
        if value is None:
            errors.append(f"{name}: null, but required")
        elif not isinstance(value, str):
            errors.append(f"{name}: expected string")
        elif name == "name" and len(value) > 255:
            errors.append("name: longer than 255 characters")
        elif name == "created_at" and (reason := timestamp_reason(value)):
            errors.append(reason)
    return errors


def by_loop(
    source: bytes, decode: Callable[[bytes], Any] = json.loads, encode: Callable[[Any], bytes] | None = None
) -> Written:
    """Line by line, as everybody writes it first."""
    encode = encode or (lambda value: json.dumps(value, ensure_ascii=False).encode())
    out, aside = io.BytesIO(), io.BytesIO()
    for number, line in enumerate(io.BytesIO(source), start=1):
        record = decode(line)
        if errors := errors_of(record):
            text = line.decode().removesuffix("\n")
            aside.write(encode({"line": number, "version": 1, "errors": errors, "raw": text}) + b"\n")
        else:
            out.write(encode(upgrade_copying_once(record)) + b"\n")
    return out.getvalue(), aside.getvalue()


def by_lib(source: bytes) -> Written:
    """`migrate_file`, which also looks for keys that are there twice, and keeps numbers as they were written."""
    out, aside = io.BytesIO(), io.BytesIO()
    migrate_file(DataVersionManager(), io.BytesIO(source), out, aside, target=3)
    return out.getvalue(), aside.getvalue()


def by_polars(source: bytes) -> Written:
    """Polars' reader and writer of NDJSON; what it writes into the quarantine are the fields of a row, not its text."""
    types = dict.fromkeys(FIELDS, pl.String)
    good, bad = split_by_polars(pl.read_ndjson(io.BytesIO(source), schema=types))
    null, out, aside = pl.lit(None, pl.String), io.BytesIO(), io.BytesIO()
    version = pl.lit(3, pl.Int64)
    good.with_columns(
        email=null, updated_at=pl.col("created_at"), phone=null, schema_version=version
    ).write_ndjson(out)
    bad.write_ndjson(aside)
    return out.getvalue(), aside.getvalue()


class User(msgspec.Struct):
    """A line of version 1, and what version 3 adds."""

    id: str
    name: str
    created_at: str
    email: None = None
    updated_at: str | None = None
    phone: None = None
    schema_version: int = 3


def only_what_must_be(source: bytes) -> bytes:
    """Decode lines by their types, read the dates, encode: of valid lines only, and nothing is said about any."""
    users = list(map(msgspec.json.Decoder(User).decode, io.BytesIO(source)))
    for user in users:
        datetime.fromisoformat(user.created_at)
        user.updated_at = user.created_at
    return msgspec.json.Encoder().encode_lines(users)


def as_results(written: Written) -> tuple[list[Record], list[tuple[int, list[str]]]]:
    """The records, and line and reasons of those put aside, from what any candidate wrote."""
    good, bad = ([msgspec.json.decode(line) for line in part.splitlines()] for part in written)
    return good, [(entry["line"], list(map(reason_of, entry["errors"]))) for entry in bad]


def ndjson(count: int, rounds: int) -> Iterator[Row]:
    """NDJSON in, NDJSON out."""
    source = b"".join(
        json.dumps(record, ensure_ascii=False).encode() + b"\n" for record in make_records(count)
    )
    candidates = {
        "naive json loop": lambda: by_loop(source),
        "naive loop with msgspec": lambda: by_loop(source, msgspec.json.decode, msgspec.json.encode),
        "polars": lambda: by_polars(source),
        "lib, migrate_file": lambda: by_lib(source),
    }
    compared = compare(
        candidates,
        baseline="naive json loop",
        rounds=rounds,
        control=True,
        equal=lambda a, b: as_results(a) == as_results(b),
    )
    case = "NDJSON to NDJSON"
    yield from rows_of("files", case, count, compared, goals={"lib, migrate_file": 9.0})
    valid = b"".join(msgspec.json.encode(user) + b"\n" for user in make_users(count, seed=1))
    [floor] = interleave({"floor": lambda: only_what_must_be(valid)}, rounds, min_seconds=0.02)
    speedup = compared.timings[compared.baseline].median / floor.median
    name, cpu = "floor: decode, read the dates, encode", statistics.median(floor.cpu)
    yield Row(
        "files",
        case,
        count,
        name,
        floor.median,
        floor.spread,
        cpu,
        rounds,
        speedup,
        None,
        None,
        environment(),
    )


def parquet_by_loop(source: bytes) -> Written:
    """Rows as dicts, and the same loop."""
    good, aside = [], io.BytesIO()
    for number, record in enumerate(parquet.read_table(io.BytesIO(source)).to_pylist(), start=1):
        if errors := errors_of(record):
            entry = {"line": number, "version": 1, "errors": errors, "raw": record}
            aside.write(json.dumps(entry).encode() + b"\n")
        else:
            good.append(upgrade_copying_once(record))
    names = [*FIELDS, "email", "updated_at", "phone"]
    return _parquet(
        pa.Table.from_pylist(good, schema=pa.schema([(name, pa.string()) for name in names]))
    ), aside.getvalue()


def parquet_by_lib(source: bytes) -> Written:
    """`upgrade_table` between Arrow's reader and writer, as the workers do it."""
    batch = upgrade_table(parquet.read_table(io.BytesIO(source)), 3)
    return _parquet(batch.table), msgspec.json.Encoder().encode_lines(batch.quarantined.to_pylist())


def parquet_by_polars(source: bytes) -> Written:
    """Polars' own reader and writer."""
    good, bad = split_by_polars(pl.read_parquet(io.BytesIO(source)))
    null, out, aside = pl.lit(None, pl.String), io.BytesIO(), io.BytesIO()
    good.with_columns(email=null, updated_at=pl.col("created_at"), phone=null).write_parquet(
        out, compression="snappy"
    )
    bad.write_ndjson(aside)
    return out.getvalue(), aside.getvalue()


def _parquet(table: pa.Table) -> bytes:
    out = io.BytesIO()
    parquet.write_table(table, out)
    return out.getvalue()


def same_parquet(one: Written, other: Written) -> bool:
    """Whether two results hold the same rows, whatever Parquet's options, and the same quarantine."""
    tables = [parquet.read_table(io.BytesIO(written[0])) for written in (one, other)]
    names = tables[0].column_names
    texts = pa.schema([(name, pa.string()) for name in names])
    equal = set(tables[1].column_names) == set(names) and tables[0].cast(texts).equals(
        tables[1].select(names).cast(texts)
    )
    return equal and as_results((b"", one[1])) == as_results((b"", other[1]))


def parquets(count: int, rounds: int) -> Iterator[Row]:
    """Parquet in, Parquet out."""
    source = _parquet(pa.Table.from_pylist(make_records(count)))
    candidates = {
        "naive loop": lambda: parquet_by_loop(source),
        "polars": lambda: parquet_by_polars(source),
        "lib, upgrade_table": lambda: parquet_by_lib(source),
    }
    compared = compare(candidates, baseline="naive loop", rounds=rounds, control=True, equal=same_parquet)
    yield from rows_of("files", "Parquet to Parquet", count, compared)


def rows(quick: bool = False) -> Iterator[Row]:
    """All cases; a quick run shows that it works, not how fast."""
    count, rounds = (2_000, 3) if quick else (100_000, 7)
    yield from ndjson(count, rounds)
    yield from parquets(count, rounds)
