"""Arrow tables on one core: the split of a table into good and quarantined rows, and the upgrade of a valid one.

    python benchmarks/run.py --only tables [--quick]

The unit is the naive loop over records, for which the list of dicts is there already. Polars and DuckDB do the same work on
data that is already theirs. The loop and the peers give the reason of each error, but without its details, which spares them
some work; nobody but `lib` checks that names are UTF-8.
"""

from __future__ import annotations

import os

os.environ["POLARS_MAX_THREADS"] = "1"  # Polars reads it when it is imported

import random
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Final

import duckdb
import polars as pl
import pyarrow as pa

from benchmarks.naive import upgrade_copying_once
from benchmarks.rows import Row, rows_of
from lib.benchmark import Comparison, compare
from lib.versioning import make_users, reason_of
from lib.versioning.schema import VERSION_KEY
from lib.versioning.tables import TableBatch, upgrade_table, validate_table

Record = dict[str, Any]

NULL: Final = "null, but required"
LONG: Final = "name: longer than 255 characters"
SHAPE: Final = "created_at: not in the accepted form"
DAY: Final = "created_at: no such calendar day"
TIME: Final = "created_at: no such time of day or offset"
#: A timestamp by its digits only, and with times of day and offsets in their range.
DIGITS: Final = r"\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}:\d{2}(\.\d{1,6})?(Z|[+-]\d{2}:\d{2})?)?"
IN_RANGE: Final = (
    r"\d{4}-\d{2}-\d{2}(T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)?)?"
)


def make_records(count: int, seed: int = 7) -> list[Record]:
    """User records of version 1, of which 1 % have no name and 1 % no valid date, each wrong in a way of its own."""
    rng, records = random.Random(seed), list(make_users(count, seed=seed))
    for record in records:
        share = rng.random()
        if share < 0.01:
            record["name"] = None
        elif share < 0.02:
            year, day, number = rng.randint(2000, 2024), rng.randint(1, 28), rng.randint(13, 99)
            record["created_at"] = rng.choice(
                (f"{year}-02-30", f"{year}-{number}-{day:02}", f"{year}-11-31T10:00:{day:02}", f"{day:02}/12/{year}",
                 f"{year}-03-{day:02}T24:00:00", f"{year}-03-{day:02} 10:00:00", f"on day {day} of {year}", "")
            )  # fmt: skip
    return records


# ── Quarantine ───────────────────────────────────────────────────────────────────────────────────────────────────

_has_digits = re.compile(DIGITS, re.ASCII).fullmatch
_is_in_range = re.compile(IN_RANGE, re.ASCII).fullmatch


def split_by_loop(records: list[Record]) -> tuple[list[Record], list[tuple[int, list[str]]]]:
    """The obvious loop, with a reason for everything that is wrong."""
    good, bad = [], []
    for line, record in enumerate(records, start=1):
        errors = []
        for name in ("id", "name", "created_at"):
            value = record.get(name)
            if value is None:
                errors.append(f"{name}: {NULL}")
            elif not isinstance(value, str):
                errors.append(f"{name}: expected string")
            elif name == "name" and len(value) > 255:
                errors.append(LONG)
            elif name == "created_at" and (reason := timestamp_reason(value)):
                errors.append(reason)
        if errors:
            bad.append((line, errors))
        else:
            good.append(record)
    return good, bad


def timestamp_reason(text: str) -> str | None:
    """`datetime.fromisoformat` alone would let week dates, 24:00 and many other spellings pass."""
    if not _has_digits(text):
        return SHAPE
    try:
        datetime.fromisoformat(text[:10])
    except ValueError:
        return DAY
    return None if _is_in_range(text) else TIME


def split_by_polars(frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """One mask, and reasons for the bad rows only, as the table form does it."""
    number, name, created = pl.col("id"), pl.col("name"), pl.col("created_at")
    day = created.str.slice(0, 10).str.to_date("%Y-%m-%d", strict=False)
    in_range, digits = created.str.contains(f"^(?-u:{IN_RANGE})$"), created.str.contains(f"^(?-u:{DIGITS})$")
    fine = (
        number.is_not_null()
        & name.is_not_null()
        & (name.str.len_chars() <= 255)
        & in_range
        & day.is_not_null()
    )
    reasons = pl.concat_list(
        pl.when(number.is_null()).then(pl.lit(f"id: {NULL}")),
        pl.when(name.is_null()).then(pl.lit(f"name: {NULL}")).when(name.str.len_chars() > 255).then(pl.lit(LONG)),
        pl.when(created.is_null()).then(pl.lit(f"created_at: {NULL}"))
        .when(~digits).then(pl.lit(SHAPE))
        .when(day.is_null()).then(pl.lit(DAY))
        .when(~in_range).then(pl.lit(TIME)),
    )  # fmt: skip
    mask = frame.select(fine.fill_null(False)).to_series()
    bad = frame.with_row_index("line", offset=1).filter(~mask).with_columns(errors=reasons.list.drop_nulls())
    return frame.filter(mask), bad


FINE: Final = f"""coalesce(id IS NOT NULL AND length(name) <= 255 AND regexp_full_match(created_at, '{IN_RANGE}')
    AND try_cast(left(created_at, 10) AS DATE) IS NOT NULL, false)"""
REASONS: Final = f"""list_filter([
        CASE WHEN id IS NULL THEN 'id: {NULL}' END,
        CASE WHEN name IS NULL THEN 'name: {NULL}' WHEN length(name) > 255 THEN '{LONG}' END,
        CASE WHEN created_at IS NULL THEN 'created_at: {NULL}'
             WHEN NOT regexp_full_match(created_at, '{DIGITS}') THEN '{SHAPE}'
             WHEN try_cast(left(created_at, 10) AS DATE) IS NULL THEN '{DAY}'
             WHEN NOT regexp_full_match(created_at, '{IN_RANGE}') THEN '{TIME}' END
    ], lambda reason: reason IS NOT NULL)"""


def split_by_duckdb(connection: duckdb.DuckDBPyConnection) -> tuple[pa.Table, pa.Table]:
    """The fastest of three ways that were tried: find the bad rows first, and then all others.

    The lines are in the input: to number them would take DuckDB more time.
    """
    connection.execute(f"CREATE OR REPLACE TEMP TABLE bad AS SELECT * FROM users WHERE NOT {FINE}")
    good = connection.sql("SELECT id, name, created_at FROM users ANTI JOIN bad USING (line)")
    bad = connection.sql(f"SELECT *, {REASONS} AS errors FROM bad")
    return good.to_arrow_table(), bad.to_arrow_table()


def as_split(result: Any) -> tuple[pa.Table, list[tuple[int, list[str]]]]:
    """The good rows, and the line and the reasons of each bad one, from the result of any candidate."""
    if isinstance(result, TableBatch):
        lines = result.quarantined.select(["line", "errors"]).to_pylist()
        return result.table, [
            (line["line"], [reason_of(error) for error in line["errors"]]) for line in lines
        ]
    good, bad = result
    if isinstance(good, list):
        return pa.Table.from_pylist(good), bad
    good, bad = (part.to_arrow() if isinstance(part, pl.DataFrame) else part for part in (good, bad))
    strings = pa.schema([(name, pa.string()) for name in good.column_names])
    return good.cast(strings), [
        (row["line"], row["errors"]) for row in bad.select(["line", "errors"]).to_pylist()
    ]


def quarantine(count: int, rounds: int) -> Iterator[Row]:
    """Good rows, and the bad ones with reasons: against the naive loop, and in the same rounds against the best peer."""
    records = make_records(count)
    table = pa.Table.from_pylist(records)
    frame = pl.from_arrow(table)
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.register("users", table.append_column("line", pa.array(range(1, count + 1))))
        candidates: dict[str, Callable[[], Any]] = {
            "naive loop": lambda: split_by_loop(records),
            "lib, validate_table": lambda: validate_table(table),
            "polars": lambda: split_by_polars(frame),
            "duckdb": lambda: split_by_duckdb(connection),
        }
        compared = compare(
            candidates,
            baseline="naive loop",
            rounds=rounds,
            control=True,
            equal=lambda a, b: as_split(a) == as_split(b),
        )
    yield from rows_of("tables", "quarantine", count, compared, goals={"lib, validate_table": 10.0})
    best = min(("polars", "duckdb"), key=lambda name: compared.timings[name].median)
    timings = {name: compared.timings[name] for name in (best, "lib, validate_table")}
    against_peer = Comparison(best, timings, compared.environment)
    yield from rows_of(
        "tables", "quarantine, best peer", count, against_peer, goals={"lib, validate_table": 1.5}
    )


# ── Upgrade ──────────────────────────────────────────────────────────────────────────────────────────────────────


def upgrades(count: int, rounds: int) -> Iterator[Row]:
    """Upgrade of a valid table from version 1 to 3."""
    records = list(make_users(count, seed=7))
    table = pa.Table.from_pylist(records)
    frame = pl.from_arrow(table)
    null = pl.lit(None, pl.String)
    candidates: dict[str, Callable[[], Any]] = {
        "naive loop": lambda: list(map(upgrade_copying_once, records)),
        "lib, upgrade_table": lambda: upgrade_table(table, 3, validated=True),
        "polars": lambda: frame.with_columns(email=null, updated_at=pl.col("created_at"), phone=null),
    }
    compared = compare(
        candidates,
        baseline="naive loop",
        rounds=rounds,
        control=True,
        equal=lambda a, b: as_table(a).equals(as_table(b)),
    )
    yield from rows_of("tables", "upgrade", count, compared)


def as_table(result: Any) -> pa.Table:
    """The upgraded rows, from the result of any candidate."""
    if isinstance(result, list):
        names = [name for name in result[0] if name != VERSION_KEY]
        return pa.Table.from_pylist(result, schema=pa.schema([(name, pa.string()) for name in names]))
    table = result.table if isinstance(result, TableBatch) else result.to_arrow()
    return table.cast(pa.schema([(name, pa.string()) for name in table.column_names]))


def rows(quick: bool = False) -> Iterator[Row]:
    """All cases; a quick run shows that it works, not how fast."""
    count, rounds = (10_000, 3) if quick else (1_000_000, 7)
    yield from quarantine(count, rounds)
    yield from upgrades(count, rounds)
