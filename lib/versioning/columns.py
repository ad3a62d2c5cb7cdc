"""Whole Arrow tables and columns: how they come in, how they stand for the values of a field, and which may be invalid.

A mask may suspect a valid value; it never misses an invalid one. What is wrong, in words, only `Field.problem` says.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lib.versioning.history import SchemaHistory, UnknownVersionError
from lib.versioning.schema import VERSION_KEY, Field
from lib.versioning.timestamps import Mask, suspect_timestamps

#: The Arrow type of each type of field: string, int64, float64 (called double) or bool.
ARROW_TYPES: Final = {
    "string": pa.string(),
    "integer": pa.int64(),
    "float": pa.float64(),
    "boolean": pa.bool_(),
    "timestamp": pa.string(),
}
_VIEWS: Final = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}


class ArrowStream(Protocol):
    """A table of any library that speaks Arrow's PyCapsule interface: Arrow, pandas, Polars, DuckDB and others."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Hand over the columns; most libraries copy nothing."""


# ── Tables and their labels ──────────────────────────────────────────────────────────────────────────────────────


def with_version(table: pa.Table, version: int) -> pa.Table:
    """Return the table with its version in the metadata of its schema; nothing is copied."""
    metadata = table.schema.metadata or {}
    return table.replace_schema_metadata(metadata | {VERSION_KEY.encode(): str(version).encode()})


def noted_version(table: pa.Table) -> int | None:
    """The version in the metadata of a table's schema; None if there is none. Raises UnknownVersionError for no number."""
    text = (table.schema.metadata or {}).get(VERSION_KEY.encode())
    if text is not None and not text.isdigit():
        raise UnknownVersionError(f"{VERSION_KEY} in the metadata of the table: not a number (got {text!r})")
    return None if text is None else int(text)


def one_version(table: pa.Table, history: SchemaHistory) -> int | None:
    """The version that all rows of a table have; None if a column holds several, or one that the history does not have.

    In a column a null stands for no label, which means 1, and 2.0 for 2: so tables come out of a concatenation. Raises
    UnknownVersionError for a wrong version in the metadata.
    """
    if VERSION_KEY not in table.column_names or not table.num_rows:
        noted = noted_version(table)
        return 1 if noted is None else history.check_version(noted)
    column = table[VERSION_KEY]
    kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_null)
    labels = pc.unique(column).to_pylist() if any(kind(column.type) for kind in kinds) else []
    found = set(map(_label, labels))
    return found.pop() if len(found) == 1 and found.issubset(history.versions) else None


def as_arrow(data: ArrowStream) -> pa.Table:
    """Make an Arrow table of anything that speaks Arrow's PyCapsule interface; an Arrow table comes back as it is.

    Of a pandas frame the index is left out, NaN and NaT count as missing (here, and nowhere else), and the version is
    `frame.attrs["schema_version"]`, if there is one. Tables of other libraries hold no metadata: there a version needs a column
    `schema_version`. Raises UnknownVersionError for a version in `attrs` that is no int, TypeError, and pyarrow's errors, which
    name the column, where a column mixes types; `upgrade_many` takes such records.
    """
    if isinstance(data, pa.Table):
        return data
    if not hasattr(data, "__arrow_c_stream__"):
        kind = type(data).__name__
        raise TypeError(f"a table of Arrow, pandas, Polars or DuckDB, not {kind}; records go to upgrade_many")
    pandas: Any = sys.modules.get("pandas")  # who has a frame of it has imported it
    return _from_pandas(data) if pandas and isinstance(data, pandas.DataFrame) else pa.table(data)


def _from_pandas(frame: Any) -> pa.Table:
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata()
    if VERSION_KEY not in frame.attrs:
        return table
    version = frame.attrs[VERSION_KEY]
    if type(version) is not int:
        raise UnknownVersionError(f"{VERSION_KEY} in the attrs of the frame: not an int (got {version!r})")
    return with_version(table, version)


# ── Layouts ──────────────────────────────────────────────────────────────────────────────────────────────────────


def is_readable(type_: pa.DataType, field: Field) -> bool:
    """Tell whether all values of an Arrow type are of the field's type.

    Wide strings are strings, and so are dictionaries of them; integers may have any width that fits 64 bits, floats 32 or 64.
    Floats may be integers, too: those that are not exactly a float are suspects. Arrow's own timestamps and dates stand for their
    text in ISO 8601.
    """
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    if field.type == "integer":
        return is_int64(type_)
    if field.type == "float":
        return type_ in (pa.float32(), pa.float64()) or is_int64(type_)
    if field.type == "boolean":
        return type_ == pa.bool_()
    return type_ in (pa.string(), pa.large_string()) or is_instant(type_)


def is_int64(type_: pa.DataType) -> bool:
    """Tell whether a type is one of integers that fit 64 bits with a sign."""
    return pa.types.is_integer(type_) and type_ != pa.uint64()


def is_instant(type_: pa.DataType) -> bool:
    """Tell whether a type is one of Arrow's own timestamps or dates."""
    return pa.types.is_timestamp(type_) or pa.types.is_date32(type_)


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a readable column in the layout that Arrow computes with; most come back as they are."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if is_instant(column.type):
        return instants_as_text(column)
    if pa.types.is_integer(column.type):
        return column.cast(pa.int64())
    if pa.types.is_floating(column.type):
        return column.cast(pa.float64())
    return column


def canonical(column: pa.ChunkedArray, field: Field) -> pa.ChunkedArray:
    """Return a readable column in the one Arrow type of the field."""
    return plain(column).cast(ARROW_TYPES[field.type], safe=False)  # integers here are exactly floats


def alike(a: pa.ChunkedArray, b: pa.ChunkedArray, field: Field) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Return two readable columns of a field so that they can be compared and merged."""
    if a.type == b.type and not pa.types.is_dictionary(a.type):
        return a, b
    return canonical(a, field), canonical(b, field)


def without_special_layouts(table: pa.Table) -> pa.Table:
    """Return a table without the layouts that Arrow can't filter, or whose `null_count` tells less than the truth.

    They are views, runs, and dictionaries with a null among their values. All other columns are shared.
    """
    for at, (name, type_) in enumerate(zip(table.schema.names, table.schema.types, strict=True)):
        column = None
        if pa.types.is_run_end_encoded(type_):
            column = pc.run_end_decode(table.column(at))
        elif pa.types.is_dictionary(type_):
            if any(chunk.dictionary.null_count for chunk in table.column(at).chunks):
                column = table.column(at).cast(type_.value_type)
        elif type_ in _VIEWS:
            column = table.column(at).cast(_VIEWS[type_])
        table = table if column is None else table.set_column(at, name, column)
    return table


def instants_as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Write Arrow's timestamps and dates in ISO 8601, with a Z where they have a time zone."""
    if pa.types.is_timestamp(column.type) and column.type.tz is not None:
        column = column.cast(pa.timestamp(column.type.unit, "UTC"))
    text = pc.replace_substring(column.cast(pa.string()), " ", "T", max_replacements=1)
    if (
        pa.types.is_timestamp(column.type) and column.type.unit == "ns"
    ):  # nine digits; of whole microseconds, six
        text = pc.replace_substring_regex(text, r"000(Z?)$", r"\1")
    return text


def filled(column: pa.ChunkedArray) -> Mask:
    """A mask of the values that are not null."""
    return pc.is_valid(column).to_numpy()


def distinct(a: pa.ChunkedArray, b: pa.ChunkedArray) -> Mask:
    """A mask of the rows in which two columns of one type differ; null equals null here, and NaN equals NaN."""
    differ = pc.not_equal(a, b)
    if pa.types.is_floating(a.type):
        differ = pc.and_not(differ, pc.and_(pc.is_nan(a), pc.is_nan(b)))
    return differ.fill_null(False).to_numpy() | (filled(a) != filled(b))


# ── Rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def most_rows(table: pa.Table, mask: Mask) -> pa.Table:
    """What `table.filter(mask)` returns, sooner if the mask leaves only a few rows out.

    Arrow makes positions of the mask and takes the rows one by one; from a single column it copies whole runs.
    """
    kept = pa.array(mask)
    return pa.Table.from_arrays([column.filter(kept) for column in table.columns], schema=table.schema)


def rows_as_records(table: pa.Table) -> list[dict[str, Any]]:
    """The rows as records, labelled as `one_version` reads labels."""
    columns = {name: row_values(table[name]) for name in table.column_names}
    labels = columns.get(VERSION_KEY, [noted_version(table)] * table.num_rows)
    columns[VERSION_KEY] = [_label(label) for label in labels]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _label(value: Any) -> Any:
    if value is None:
        return 1
    return int(value) if type(value) is float and value.is_integer() else value


def row_values(column: pa.ChunkedArray) -> list[Any]:
    """The values as Python objects; a string that is not UTF-8 as its bytes, which no field takes for a string."""
    if is_instant(column.type):
        column = instants_as_text(column)
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        return [_decoded(value) for value in plain(column).cast(pa.binary()).to_pylist()]


def _decoded(value: bytes | None) -> str | bytes | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return value


def as_column(values: list[Any], field: Field) -> pa.ChunkedArray:
    """Values of a field as a column of its type."""
    if field.type == "float":  # Arrow makes no float of an int above 2**53, exact or not
        values = [None if value is None else float(value) for value in values]
    return pa.chunked_array([pa.array(values, ARROW_TYPES[field.type])])


# ── Columns of one value ─────────────────────────────────────────────────────────────────────────────────────────


#: Chunks of nulls, which all tables share.
_nulls: Final = cache(pa.nulls)


def constant(value: Any, type_: pa.DataType, length: int) -> pa.ChunkedArray:
    """A column that holds one value (or null) throughout: at most 128 times the same chunk, whatever its length.

    A column of nulls takes 64 KiB, or from two million rows on less than 0.07 bytes a row, shared with all others.
    """
    rows = 1 << max(14, (length >> 7).bit_length())
    chunk = _nulls(rows, type_) if value is None else pa.repeat(pa.scalar(value, type_), min(rows, length))
    whole, rest = divmod(length, rows)
    return pa.chunked_array([chunk] * whole + [chunk.slice(0, rest)] * bool(rest), type_)


# ── Which values may be invalid ──────────────────────────────────────────────────────────────────────────────────


def suspects(field: Field, column: pa.ChunkedArray) -> Mask | None:
    """A mask of all values that are not valid in `field`, and perhaps of some that are; None if there are none."""
    if not is_readable(column.type, field):
        all_null = column.null_count == len(column)
        return None if all_null and field.nullable else np.ones(len(column), bool)
    if field.type == "timestamp" and is_instant(column.type):
        mask = _join(_suspect_instants, column)
    else:
        column = plain(column)
        mask = _suspect_strings(field, column) if ARROW_TYPES[field.type] == pa.string() else None
        if field.type == "float" and is_int64(column.type):
            beyond = pc.or_(pc.less(column, -(2**53)), pc.greater(column, 2**53))
            mask = beyond.fill_null(False).to_numpy()
    if column.null_count == 0:
        return mask
    if field.nullable:
        return None if mask is None else mask & filled(column)
    return ~filled(column) if mask is None else mask | ~filled(column)


def _join(check: Callable[[pa.Array], Mask], column: pa.ChunkedArray) -> Mask:
    return np.concatenate([check(chunk) for chunk in column.chunks] or [np.zeros(0, bool)])


def _suspect_strings(field: Field, column: pa.ChunkedArray) -> Mask | None:
    if field.type == "timestamp":
        return _join(suspect_timestamps, column)
    try:  # Arrow promises that strings are UTF-8, but takes the word of the file that they come from.
        column.validate(full=True)
    except pa.ArrowInvalid:
        return np.ones(len(column), bool)
    if field.length is not None and (pc.max(pc.binary_length(column)).as_py() or 0) > field.length:
        return pc.greater(pc.utf8_length(column), field.length).fill_null(False).to_numpy()
    return None


#: The first second of the year 1, and the one after the last of the year 9999.
_SECONDS: Final = (-62_135_596_800, 253_402_300_800)
_PER_SECOND: Final = {"s": 1, "ms": 1_000, "us": 1_000_000}


def _suspect_instants(instants: pa.Array) -> Mask:
    """Arrow's own timestamps are days of the calendar anyway; only their years, or parts of a microsecond, may not fit."""
    if pa.types.is_date32(instants.type):
        instants = instants.cast(pa.timestamp("s"))
    numbers = instants.cast(pa.int64()).fill_null(0).to_numpy()
    if instants.type.unit == "ns":
        return numbers % 1000 != 0
    first, end = (second * _PER_SECOND[instants.type.unit] for second in _SECONDS)
    return (numbers < first) | (numbers >= end)
