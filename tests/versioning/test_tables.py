"""The table form says what the record form says, for all histories, layouts and data; and it copies next to nothing."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import histories, records

from lib.versioning import Batch, DataVersionManager, Field, Schema, SchemaHistory, UnknownVersionError
from lib.versioning.columns import suspects, with_version
from lib.versioning.operations import AddField, ConvertField, RenameField
from lib.versioning.schema import VERSION_KEY, timestamp_problem
from lib.versioning.tables import TableBatch, downgrade_table, upgrade_table, validate_table
from lib.versioning.users import USERS, make_users

Record = dict[str, Any]

# ── What a table stands for, and when two forms agree ────────────────────────────────────────────────────────────


def as_records(table: pa.Table) -> list[Record]:
    """The records that a table stands for, written independently of the code under test."""
    noted = (table.schema.metadata or {}).get(VERSION_KEY.encode())
    label = table.schema.field(VERSION_KEY).type if VERSION_KEY in table.column_names else pa.int64()
    units = {field.name: getattr(field.type, "unit", None) for field in table.schema}
    rows = [{name: as_text(value, units[name]) for name, value in row.items()} for row in table.to_pylist()]
    for row in rows:
        if row.get(VERSION_KEY, 1) is None:
            del row[VERSION_KEY]
        elif pa.types.is_floating(label) and row[VERSION_KEY].is_integer():
            row[VERSION_KEY] = int(row[VERSION_KEY])
    return rows if noted is None else [{VERSION_KEY: int(noted)} | row for row in rows]


def as_text(value: Any, unit: str | None) -> Any:
    """Arrow's own timestamps and dates are texts in ISO 8601."""
    if isinstance(value, datetime):
        text = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
        timespec = {"s": "seconds", "ms": "milliseconds"}.get(str(unit), "microseconds")
        return text.isoformat(timespec=timespec) + ("Z" if value.tzinfo else "")
    return value.isoformat() if isinstance(value, date) else value


def key(record: Record, history: SchemaHistory) -> str:
    """Equal for equal records: NaN equals NaN, and 1 is 1.0 in a float field only. An undeclared null is as good as absent."""
    declared = history.schema(record.get(VERSION_KEY, 1))
    floats = {field.name for field in declared if field.type == "float"}
    record = {k: float(v) if k in floats and v is not None else v for k, v in record.items()}
    return repr(sorted((k, v) for k, v in record.items() if v is not None or k in declared))


def assert_same(batch: TableBatch, expected: Batch, table: pa.Table, history: SchemaHistory) -> None:
    assert batch.report == expected.report
    lines = batch.quarantined.to_pylist()
    for name in ("line", "version", "errors"):
        assert [line[name] for line in lines] == [line[name] for line in expected.quarantined]
    raw = pa.Table.from_struct_array(batch.quarantined["raw"]).replace_schema_metadata(table.schema.metadata)
    spelled = [repr(sorted(line["raw"].items())) for line in expected.quarantined]
    assert [repr(sorted(record.items())) for record in as_records(raw)] == spelled
    assert [key(r, history) for r in as_records(batch.table)] == [key(r, history) for r in expected.records]


def assert_agrees(
    table: pa.Table, history: SchemaHistory = USERS, up: int | None = None, down: int = 1
) -> tuple[TableBatch, TableBatch, TableBatch]:
    """Validate, upgrade and downgrade in both forms; return what the table form gave."""
    up = history.latest if up is None else up
    manager, rows = DataVersionManager(history), as_records(table)
    valid = validate_table(table, history)
    upgraded = upgrade_table(table, up, history)
    downgraded = downgrade_table(table, down, history)
    assert_same(valid, manager.validate_many(rows), table, history)
    assert_same(upgraded, manager.upgrade_many(rows, up), table, history)
    assert_same(downgraded, manager.downgrade_many(rows, down), table, history)
    # In two steps, of which the second relies on the first, it comes to the same.
    for whole, second in (
        (upgraded, upgrade_table(valid.table, up, history, validated=True)),
        (downgraded, downgrade_table(valid.table, down, history, validated=True)),
    ):
        again, once = ([key(r, history) for r in as_records(b.table)] for b in (second, whole))
        assert again == once
        assert (second.report.kept, second.report.lost) == (whole.report.kept, whole.report.lost)
        assert second.report.quarantined == whole.report.quarantined - valid.report.quarantined
    return valid, upgraded, downgraded


# ── Any history, any table ───────────────────────────────────────────────────────────────────────────────────────

BAD_TEXTS = (
    "x", "", "x" * 300, "5", "-0", "05", "9223372036854775808", "é" * 31, "2024-02-30", "2023-02-29", "2024-13-01",
    "0000-01-01", "2024-01-01T24:00:00", "2024-01-01T10:60:00", "2024-01-01 10:00:00", "2024-W09-4", "20240101",
    "2024-01-01T10:00", "2024-01-01T10:00:00.1234567", "2024-01-01T10:00:00z", "2024-01-01T10:00:00+24:00", "2024-01-01\n",
    "0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01", "\u0662024-01-01",
)  # fmt: skip
LAYOUTS: dict[type, list[pa.DataType]] = {
    str: [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())],
    int: [pa.int64(), pa.int32(), pa.uint64(), pa.dictionary(pa.int32(), pa.int64())],
    float: [pa.float64(), pa.float32()],
    bool: [pa.bool_()],
    list: [pa.list_(pa.bool_())],
}
INSTANTS = [pa.timestamp("us"), pa.timestamp("s"), pa.timestamp("ms", "Europe/Madrid"), pa.date32()]


@st.composite
def columns(draw: st.DrawFn, values: list[Any]) -> pa.ChunkedArray:
    """A column of these values in any layout; values of another type than most become null, as Arrow asks for one type."""
    kinds = Counter(type(value) for value in values if value is not None)
    if not kinds:
        type_ = draw(st.sampled_from([pa.string(), pa.null(), pa.int64()]))
        return chunked(draw, pa.nulls(len(values), type_))
    kind = draw(st.sampled_from([*kinds, *[kinds.most_common(1)[0][0]] * 3]))
    values = [value if type(value) is kind else None for value in values]
    if kind is int:
        values = [value if value is not None and -(2**63) <= value < 2**63 else None for value in values]
    plain = LAYOUTS[kind][0]
    type_ = draw(st.sampled_from([plain, plain, *LAYOUTS[kind], *(INSTANTS if kind is str else [])]))
    if type_ in INSTANTS:
        return chunked(draw, pa.array([instant(value, type_) for value in values], type_))
    try:
        array = pa.array(values, type_)
    except (pa.ArrowInvalid, OverflowError):
        array = pa.array(values, plain)
    exact = repr(array.to_pylist()) == repr(values)
    return chunked(draw, array if exact else pa.array(values, plain))


def instant(text: str | None, type_: pa.DataType) -> datetime | None:
    """A moment that an Arrow type holds without loss, and Python in its time zone; other texts become null."""
    zone = getattr(type_, "tz", None)
    try:
        moment = datetime.fromisoformat(text or "").replace(microsecond=0)
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        return moment.astimezone(ZoneInfo(zone)) if zone else moment.replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None


def chunked(draw: st.DrawFn, array: pa.Array) -> pa.ChunkedArray:
    """The values in one chunk or two, which may be slices of a longer array."""
    longer, cut = pa.concat_arrays([array, array]), draw(st.integers(0, len(array)))
    pieces = [longer.slice(len(array), cut), longer.slice(cut, len(array) - cut)]
    return pa.chunked_array(draw(st.sampled_from([[array], pieces])), array.type)


@st.composite
def tables(draw: st.DrawFn, history: SchemaHistory) -> pa.Table:
    """A table of one version or several, labelled in any way, most of whose rows are valid."""
    mixed, extra = draw(st.booleans()), draw(st.booleans())
    versions = history.versions if mixed else [draw(st.sampled_from(history.versions))]
    rows: list[Record] = []
    for _ in range(draw(st.sampled_from([0, 1, 4, 8]))):
        version = draw(st.sampled_from(versions))
        row = draw(records(history, version, extra=extra)) | {VERSION_KEY: version}
        if draw(st.integers(0, 9)) == 9:
            name = draw(st.sampled_from(list(row)))
            wrong = [None, 99, 0] if name == VERSION_KEY else [None, *BAD_TEXTS, 5, True, 1.5]
            row[name] = draw(st.sampled_from(wrong))
        rows.append(row)
    names = list(dict.fromkeys(name for row in rows for name in row))
    names = names or list(history.schema(versions[0]).names)
    if draw(st.integers(0, 19)) == 19:
        names.remove(draw(st.sampled_from(names)))
    data = {name: draw(columns([row.get(name) for row in rows])) for name in names}
    if not rows:
        return with_version(pa.table(data), versions[0])
    if not mixed and draw(st.booleans()):
        data.pop(VERSION_KEY, None)
        table = pa.table(data) if data else pa.table({"undeclared": pa.nulls(len(rows))})
        return with_version(table, versions[0])
    return pa.table(data)


@settings(max_examples=100)
@given(st.data())
def test_the_table_form_agrees_with_the_record_form(data: st.DataObject) -> None:
    history = data.draw(histories(max_version=4))
    up = data.draw(st.sampled_from([history.latest, history.latest, *history.versions]))
    down = data.draw(st.sampled_from([1, 1, *history.versions]))
    assert_agrees(data.draw(tables(history)), history, up, down)


# ── Versions ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_table_is_labelled_by_its_metadata_or_a_column() -> None:
    users = list(make_users(10, seed=1))
    table = pa.Table.from_pylist(users)
    upgraded = upgrade_table(table, 2).table
    assert upgraded.schema.metadata == {b"schema_version": b"2"} and VERSION_KEY not in upgraded.column_names
    assert upgrade_table(upgraded, 3).report.versions == {2: 10}
    labelled = table.append_column(VERSION_KEY, pa.array([1] * 10, pa.int8()))
    upgraded = upgrade_table(with_version(labelled, 3), 3).table  # the column counts first
    assert upgraded.column_names == [*USERS.schema(3).names, VERSION_KEY]
    assert upgraded[VERSION_KEY].to_pylist() == [3] * 10
    assert upgraded.schema.metadata == {b"schema_version": b"3"}
    other = table.replace_schema_metadata({"owner": "us"})
    assert upgrade_table(other, 2).table.schema.metadata == {b"owner": b"us", b"schema_version": b"2"}


def test_a_wrong_version_in_the_metadata_is_an_error() -> None:
    table = pa.Table.from_pylist(list(make_users(2, seed=1)))
    with pytest.raises(UnknownVersionError, match="known: 1, 2, 3"):
        validate_table(with_version(table, 7))
    with pytest.raises(UnknownVersionError, match="not a number"):
        upgrade_table(table.replace_schema_metadata({VERSION_KEY: "two"}), 3)
    with pytest.raises(UnknownVersionError, match="known: 1, 2, 3"):
        upgrade_table(table, 4)


def test_rows_of_unknown_versions_are_put_aside_also_when_validated() -> None:
    users = pa.Table.from_pylist(list(make_users(5, seed=1)))
    labels = [
        (pa.array([1, 99, 2**53, 3, None], pa.float64()), 3),
        (pa.array([1.5, float("nan"), float("inf"), -0.0, 1.0]), 4),
        (pa.array(["1"] * 5), 5),
        (pa.array([2**64 - 1] * 5, pa.uint64()), 5),
    ]
    for column, wrong in labels:
        table = users.append_column(VERSION_KEY, column)
        if column.type != pa.uint64() and 1.5 not in column.to_pylist():  # as NaN is not itself
            assert_agrees(table)
        assert upgrade_table(table, 3, validated=True).report.quarantined == wrong


@pytest.mark.parametrize("library", ["pandas", "polars", "arrow"])
@pytest.mark.parametrize("order", [1, -1])
def test_a_part_without_labels_beside_one_with_labels_is_of_version_1(library: str, order: int) -> None:
    old = pa.Table.from_pylist(list(make_users(3, seed=1)))
    new = pa.Table.from_pylist(list(make_users(2, seed=2, version=2)))
    parts = [old, new][::order]
    whole: Any = {
        "pandas": lambda: pd.concat([part.to_pandas() for part in parts]),
        "polars": lambda: pl.concat([pl.from_arrow(part) for part in parts], how="diagonal"),
        "arrow": lambda: pa.concat_tables(parts, promote_options="default"),
    }[library]()
    valid, batch = validate_table(whole), upgrade_table(whole, 3)
    assert valid.report.versions == batch.report.versions == {1: 3, 2: 2}
    assert valid.report.quarantined == batch.report.quarantined == 0
    assert batch.table[VERSION_KEY].to_pylist() == [3] * 5
    rows = [record for part in parts for record in part.to_pylist()]
    assert as_records(batch.table) == DataVersionManager().upgrade_many(rows, 3).records


def test_columns_that_share_a_name_are_an_error() -> None:
    with pytest.raises(ValueError, match="with the same name: id"):
        validate_table(pa.table([["1"], ["2"]], names=["id", "id"]))


@pytest.mark.parametrize("label", ["metadata", "column"])
def test_a_table_without_rows_or_valid_rows_gets_the_columns_of_the_target(label: str) -> None:
    table = pa.table({"id": ["1"], "name": pa.array([None], pa.string()), "created_at": ["2024-01-01"]})
    table = with_version(table, 1) if label == "metadata" else table.append_column(VERSION_KEY, [[1]])
    for rows in (table, table.slice(0, 0)):
        upgraded = upgrade_table(rows, 3).table
        assert upgraded.num_rows == 0
        assert [name for name in upgraded.column_names if name != VERSION_KEY] == list(USERS.schema(3).names)
        assert set(upgraded.drop_columns([VERSION_KEY] * (label == "column")).schema.types) == {pa.string()}


# ── Layouts and types ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_column_of_another_type_makes_every_row_bad_as_it_does_for_records() -> None:
    good = pa.table({"id": ["1", "2"], "name": ["a", "b"], "created_at": ["2024-01-01"] * 2})
    for at, values in product(range(3), ([1, 2], [True, None], [1.5, 2.5], [b"x", None], [["x"], []])):
        valid, _, _ = assert_agrees(good.set_column(at, good.column_names[at], [values]))
        assert valid.report.quarantined == 2
    assert assert_agrees(good.drop_columns("name"))[0].report.reasons == {"name: missing": 2}


def test_integers_of_any_width_and_floats_of_32_bits_are_read_exactly() -> None:
    numbers = SchemaHistory("n", first=Schema(Field("n", "integer"), Field("f", "float")), steps={
        2: [ConvertField("n", "string"), AddField("m", "float", copy_from="f")]})  # fmt: skip
    for type_ in [pa.type_for_alias(f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)]:
        table = pa.table({"n": pa.array([1, 127], type_), "f": pa.array([0.1, 1.5], pa.float32())})
        _, upgraded, _ = assert_agrees(table, numbers)
        assert upgraded.table["n"].to_pylist() == ["1", "127"]
    table = pa.table({"n": pa.array([1, 2**63], pa.uint64()), "f": [0.0, 0.0]})
    valid, upgraded, _ = assert_agrees(table, numbers)
    assert upgraded.table["n"].to_pylist() == ["1"]
    assert valid.report.reasons == {"n: outside the 64-bit range": 1}


def test_a_string_that_is_not_utf_8_is_no_string() -> None:
    bad = pa.array([b"caf\xc3\xa9", b"caf\xe9", None, b"x"], pa.binary())
    names = pa.Array.from_buffers(pa.string(), 4, bad.buffers())
    table = pa.table({"id": ["1", "2", "3", "4"], "name": names, "created_at": ["2024-01-01"] * 4})
    batch = validate_table(table)
    assert batch.quarantined["line"].to_pylist() == [2, 3]
    assert batch.quarantined["errors"].to_pylist() == [
        ["name: lone surrogate, which is not Unicode text (got string 'caf\\udce9')"],
        ["name: null, but required"],
    ]
    assert batch.table["name"].to_pylist() == ["café", "x"]
    buffers = [None, pa.py_buffer(np.array([0, 1, 2], np.int32)), pa.py_buffer("é".encode())]
    split = pa.Array.from_buffers(pa.string(), 2, buffers)
    table = pa.table({"id": ["1", "2"], "name": split, "created_at": ["2024-01-01"] * 2})
    assert validate_table(table).report.quarantined == 2  # each half of an é


@pytest.mark.parametrize("type_", [*INSTANTS, pa.timestamp("ns"), pa.timestamp("ns", "UTC")])
def test_arrow_timestamps_and_dates_stand_for_their_text(type_: pa.DataType) -> None:
    moments = [datetime(1900, 2, 28), datetime(2024, 2, 29), None]
    zone = UTC if getattr(type_, "tz", None) else None
    column = pa.array([moment and moment.replace(tzinfo=zone) for moment in moments], type_)
    table = pa.table({"id": ["1", "2", "3"], "name": ["a", "b", "c"], "created_at": column})
    upgraded = upgrade_table(table, 3)
    assert upgraded.quarantined["errors"].to_pylist() == [["created_at: null, but required"]]
    assert upgraded.table["updated_at"].type == upgraded.table["created_at"].type == type_
    back = downgrade_table(upgraded.table, 1)
    assert back.report.lost == {} and back.table["created_at"].equals(upgraded.table["created_at"])
    later = SchemaHistory("t", first=Schema(Field("created_at", "timestamp", nullable=True)), steps={
        2: [ConvertField("created_at", "timestamp")]})  # fmt: skip
    dates = upgrade_table(table.select(["created_at"]), 2, later).table["created_at"]
    unit = getattr(type_, "unit", None)
    texts = [as_text(value, unit) for value in column.to_pylist()]
    assert dates.to_pylist() == [text and text + ("" if unit else "T00:00:00") for text in texts]


def test_arrow_timestamps_beyond_the_years_or_of_less_than_a_microsecond_are_put_aside() -> None:
    field = Field("t", "timestamp")
    history = SchemaHistory("t", first=Schema(field))
    for unit, per_second in (("s", 1), ("ms", 1000), ("us", 1_000_000)):
        first = int((datetime(1, 1, 1) - datetime(1970, 1, 1)) / timedelta(seconds=1)) * per_second
        last = 253_402_300_800 * per_second - 1
        table = pa.table({"t": pa.array([first - 1, first, 0, last, last + 1], pa.timestamp(unit))})
        batch = validate_table(table, history)
        assert batch.quarantined["line"].to_pylist() == [1, 5]
        assert batch.report.reasons == {"t: no such calendar day": 1, "t: not in the accepted form": 1}
    batch = validate_table(pa.table({"t": pa.array([1000, 1001], pa.timestamp("ns"))}), history)
    [[error]] = batch.quarantined["errors"].to_pylist()
    assert error.startswith("t: not in the accepted form (got string '1970-01-01T00:00:00.000001001'; write ")


# ── Timestamps as bytes ──────────────────────────────────────────────────────────────────────────────────────────

YEARS = ("0000", "0100", "1900", "2000", "2023", "2024", "9999")
DATES = [f"{year}-{month:02}-{day:02}" for year, month, day in product(YEARS, range(14), range(33))]
TAILS = ("", "Z", ".1", ".123456", ".1234567", "+00:00", "-23:59", "+24:00", "+00:60", ".12+01:00", ".123456-01:00", ".Z",
         "z", "+0100", "+01", " ", "é")  # fmt: skip
HOURS, MINUTES, SECONDS = ("00", "19", "23", "24", "99", "2:"), ("00", "59", "60", "5/"), ("00", "59", "60")
TIMES = [f"2024-02-29T{h}:{m}:{s}{tail}" for h, m, s, tail in product(HOURS, MINUTES, SECONDS, TAILS)]
NEARLY = [
    text[:at] + chr(code) + text[at + 1 :]
    for text in ("2024-02-29", "2024-02-29T10:00:00.5Z", "2024-02-29T10:00:00.25+02:00")
    for at in range(len(text))
    for code in [*range(128), 0xE9, 0xFF10]
]
LENGTHS = [fill * size for fill in ("0", "x", "é") for size in range(70)]


FRACTIONS = ["", *("." + "123456"[:digits] for digits in range(1, 7))]
SHAPES = list(map("".join, product(["2024-03-29T23:59:08"], FRACTIONS, ["", "Z", "+05:30", "-05:30"])))


@pytest.mark.parametrize("type_", [pa.string(), pa.large_string()])
def test_no_text_that_is_no_timestamp_escapes_and_few_timestamps_are_suspected(type_: pa.DataType) -> None:
    texts = DATES + TIMES + NEARLY + LENGTHS + SHAPES
    longer = pa.array([None, *texts, "x"], type_)  # a slice in two chunks, with an offset
    column = pa.chunked_array([longer.slice(1, 7), longer.slice(8, len(texts) - 7)])
    suspected = suspects(Field("t", "timestamp"), column)
    for text, suspect in zip(texts, suspected.tolist(), strict=True):
        rare = text[5:10] == "02-29" or text[:1] == "0" or text[:2] == "99"
        assert suspect == (timestamp_problem(text) is not None) or (suspect and rare), text


# ── What a schema says of its columns ────────────────────────────────────────────────────────────────────────────

WORDS = SchemaHistory("w", first=Schema(Field("n", "string"), Field("s", "string", nullable=True)), steps={
    2: [ConvertField("n", "integer"), RenameField("s", "t")], 3: [AddField("b", "boolean", default=True)]})  # fmt: skip


@pytest.mark.parametrize("dtype", ["object", "string", "category"])
def test_pandas_reads_the_columns_of_a_migrated_parquet_file_as_they_are(dtype: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"n": ["1", "22", "x"], "s": ["a", None, "c"]}).astype({"n": dtype})
    frame.to_parquet(tmp_path / "old.parquet")
    for target, expected in ((2, {"n": [1, 22], "t": ["a", None]}), (3, {"b": [True, True]})):
        batch = upgrade_table(parquet.read_table(tmp_path / "old.parquet"), target, WORDS)
        parquet.write_table(batch.table, tmp_path / "new.parquet")
        read = pd.read_parquet(tmp_path / "new.parquet")
        for name, values in expected.items():
            assert read[name].astype(object).where(read[name].notna(), None).tolist() == values
        assert read["n"].dtype == "int64" and batch.report.quarantined == 1
        back = downgrade_table(batch.table, 1, WORDS).table
        parquet.write_table(back, tmp_path / "back.parquet")
        assert pd.read_parquet(tmp_path / "back.parquet")["n"].tolist() == ["1", "22"]


def test_what_describes_columns_goes_if_a_column_changes_and_stays_if_none_does() -> None:
    describing = {"pandas": "{}", "ARROW:schema": "x", "org.apache.spark.sql.parquet.row.metadata": "{}"}
    table = pa.table({"n": ["1"], "s": ["a"]}).replace_schema_metadata(describing | {"owner": "us"})
    same, later = upgrade_table(table, 1, WORDS).table, upgrade_table(table, 2, WORDS).table
    assert {key.decode() for key in same.schema.metadata} == {*describing, "owner", VERSION_KEY}
    assert {key.decode() for key in later.schema.metadata} == {"owner", VERSION_KEY}
    assert validate_table(table, WORDS).table.schema.metadata == table.schema.metadata


@pytest.mark.parametrize("mixed", [False, True])
def test_fields_keep_what_still_holds(mixed: bool) -> None:
    fields = [
        pa.field("n", pa.string(), nullable=False, metadata={"unit": "words"}),
        pa.field("s", pa.string(), metadata={"is": "a name"}),
        pa.field("x", pa.int16(), nullable=False, metadata={"unit": "EUR"}),
    ]
    columns: list[Any] = [["1", "2", "?"], ["a", None, "c"], [7, 8, 9]]
    if mixed:
        fields.append(pa.field(VERSION_KEY, pa.int64()))
        columns.append([1, None, 1])
    table = pa.table(columns, schema=pa.schema(fields))
    same, later = upgrade_table(table, 1, WORDS).table.schema, upgrade_table(table, 3, WORDS).table.schema
    assert same.field("n").equals(fields[0], check_metadata=True)
    assert same.field("s").equals(fields[1], check_metadata=True)
    assert later.field("x").equals(fields[2], check_metadata=True)
    assert later.field("n").equals(pa.field("n", pa.int64()), check_metadata=True)
    assert later.field("t").metadata is None


# ── Whole numbers in a field of floats ───────────────────────────────────────────────────────────────────────────

FLOATS = SchemaHistory("f", first=Schema(Field("f", "float", nullable=True), Field("n", "integer")), steps={
    2: [AddField("g", "float", nullable=True, copy_from="f"), ConvertField("n", "float")],
    3: [AddField("h", "float", default=5)]})  # fmt: skip
WHOLE = [5, 0, -3, None, 2**53, 2**53 + 1, -(2**53) - 1, 2**60, 2**63 - 1, -(2**63)]


@pytest.mark.parametrize("type_", [pa.int64(), pa.uint64(), pa.int8(), pa.dictionary(pa.int8(), pa.int64())])
@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_whole_number_is_a_float_where_it_is_exactly_one(type_: pa.DataType, version: int) -> None:
    low, high = {pa.int8(): (-(2**7), 2**7), pa.uint64(): (0, 2**64)}.get(type_, (-(2**63), 2**63))
    values = [value for value in WHOLE if value is None or low <= value < high]
    whole, ones = pa.array(values, type_), pa.array([1] * len(values), pa.int32())
    table = pa.table({"f": whole, "n": ones, "g": whole, "h": ones}).select(FLOATS.schema(version).names)
    valid, _, _ = assert_agrees(with_version(table, version), FLOATS)
    wrong = [at + 1 for at, v in enumerate(values) if v is not None and int(float(v)) != v]
    assert valid.quarantined["line"].to_pylist() == wrong
    assert all("no exact float (got integer" in e for (e, *_) in valid.quarantined["errors"].to_pylist())


def test_whole_numbers_stay_what_was_written_where_nothing_converts_them() -> None:
    table = pa.table({"f": pa.array([5, None, 2**53 + 1], pa.int64()), "n": [1, 2, 3]})
    upgraded = upgrade_table(table, 3, FLOATS).table
    assert upgraded["f"].type == pa.int64() and upgraded["h"].type == pa.float64()
    assert upgraded["n"].to_pylist() == [1.0, 2.0] and upgraded["n"].type == pa.float64()
    assert downgrade_table(upgraded, 1, FLOATS).table.to_pylist() == [{"f": 5, "n": 1}, {"f": None, "n": 2}]
    large = upgrade_table(pa.table({"f": [5, 2**60], "n": [1, 2]}), 3, FLOATS).table
    assert large["f"].type == pa.int64() and large["f"].to_pylist() == [5, 2**60]


# ── What is copied ───────────────────────────────────────────────────────────────────────────────────────────────


def addresses(column: pa.ChunkedArray) -> list[int]:
    return [buffer.address for chunk in column.chunks for buffer in chunk.buffers() if buffer is not None]


def test_a_table_without_bad_rows_comes_back_as_it_is() -> None:
    table = pa.Table.from_pylist(list(make_users(100, seed=1)))
    assert validate_table(table).table.equals(table, check_metadata=True)
    assert addresses(validate_table(table).table["name"]) == addresses(table["name"])


# ── Tables of other libraries ────────────────────────────────────────────────────────────────────────────────────

NUMBERS = SchemaHistory("n", first=Schema(Field("n", "integer", nullable=True), Field("s", "string")), steps={
    2: [AddField("m", "integer", nullable=True)], 3: [AddField("k", "string", default="x")]})  # fmt: skip


def in_library(name: str) -> Any:
    table = pa.table({"n": [2**60 + 1, None], "s": ["a", "é"]})
    if name == "duckdb":
        return duckdb.connect().from_arrow(table)
    frame = pd.DataFrame({"n": pd.array([2**60 + 1, None], "Int64"), "s": ["a", "é"]})
    others = {"pandas": frame, "polars": pl.from_arrow(table), "arrow": table}
    return others.get(name, table.to_batches()[0])


@pytest.mark.parametrize("library", ["pandas", "polars", "duckdb", "arrow", "batch"])
def test_whatever_speaks_the_capsule_interface_is_a_table(library: str) -> None:
    rows = [{"n": 2**60 + 1, "s": "a"}, {"n": None, "s": "é"}]
    assert validate_table(in_library(library), NUMBERS).table.to_pylist() == rows
    assert downgrade_table(in_library(library), 1, NUMBERS).table.to_pylist() == rows
    upgraded = upgrade_table(in_library(library), 2, NUMBERS).table
    assert upgraded.to_pylist() == [row | {"m": None} for row in rows]


def test_what_is_no_table_is_refused_with_the_way_out() -> None:
    with pytest.raises(TypeError, match=r"give a table of Arrow, pandas, .*not list; records: upgrade_many"):
        validate_table([{"id": "1"}])  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:Could not serialize pd.DataFrame.attrs")
def test_a_labelled_frame_keeps_its_version() -> None:
    frame = pd.DataFrame({"n": [1], "s": ["a"], "m": [2]})
    frame.attrs |= {VERSION_KEY: 2, "no JSON": object()}
    for labelled in (frame, with_version(pa.table({"n": [1], "s": ["a"], "m": [2]}), 2).to_reader()):
        batch = upgrade_table(labelled, 3, NUMBERS)
        assert batch.report.versions == {2: 1} and batch.report.kept == {}
        assert batch.table.schema.metadata == {b"schema_version": b"3"}


@pytest.mark.filterwarnings("ignore:Could not serialize pd.DataFrame.attrs")
@pytest.mark.parametrize("version", [np.int64(2), "2", True, None])
def test_a_label_of_a_frame_that_is_no_int_is_refused_and_named(version: Any) -> None:
    frame = pd.DataFrame({"n": [1], "s": ["a"]})
    frame.attrs[VERSION_KEY] = version
    with pytest.raises(UnknownVersionError, match=re.escape(f"not an int (got {version!r})")):
        validate_table(frame, NUMBERS)


def test_only_a_frame_has_an_index_whatever_the_metadata_say() -> None:
    table = pa.Table.from_pandas(pd.DataFrame({"n": [1], "s": ["a"]}).set_index("n"))
    for other in (table, table.to_reader(), table.to_batches()[0]):
        assert validate_table(other, NUMBERS).table.to_pylist() == [{"s": "a", "n": 1}]
    assert validate_table(table.select(["s"]).to_reader(), NUMBERS).report.quarantined == 1


def test_the_index_of_a_frame_is_left_out() -> None:
    frame = pd.DataFrame({"n": [1, 2], "s": ["a", "b"], "t": ["x", "y"]})
    for indexed in (frame, frame.set_index("t"), frame.set_index(["t", frame.index + 5])):
        names = [name for name in frame if name in indexed.columns]
        assert validate_table(indexed, NUMBERS).table.column_names == names


def test_nan_means_missing_only_in_a_frame_of_pandas() -> None:
    history = SchemaHistory("n", first=Schema(Field("f", "float", nullable=True)), steps={
        2: [AddField("g", "float", default=0.5)]})  # fmt: skip
    columns = {"f": [1.5, float("nan")], "g": [float("nan"), 2.0]}
    rows = upgrade_table(pd.DataFrame(columns, index=["a", "b"]), 2, history).table.to_pylist()
    assert rows == [{"f": 1.5, "g": 0.5}, {"f": None, "g": 2.0}]
    for table in (pa.table(columns), pl.DataFrame(columns)):
        assert str(upgrade_table(table, 2, history).table["f"].to_pylist()) == "[1.5, nan]"
