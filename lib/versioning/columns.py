"""Read Arrow tables, find values that may be invalid, and convert rows to records.

A mask may mark a valid value as suspect, but never misses an invalid one. Only `Field.problem` describes what is wrong.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lib.versioning.history import SchemaHistory, UnknownVersionError
from lib.versioning.schema import VERSION_KEY, Field

Mask = NDArray[np.bool_]

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
    """A table of any library that supports Arrow's PyCapsule interface: Arrow, pandas, Polars, DuckDB and others."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Export the columns; most libraries copy nothing."""


# ── Tables and their labels ──────────────────────────────────────────────────────────────────────────────────────


def with_version(table: pa.Table, version: int) -> pa.Table:
    """Return the table with its version in the metadata of its schema; nothing is copied."""
    metadata = table.schema.metadata or {}
    return table.replace_schema_metadata(metadata | {VERSION_KEY.encode(): str(version).encode()})


def noted_version(table: pa.Table) -> int | None:
    """Return the version in the metadata of a table's schema, if any. Raises UnknownVersionError if it is not a number."""
    text = (table.schema.metadata or {}).get(VERSION_KEY.encode())
    if text is not None and not text.isdigit():
        raise UnknownVersionError(f"{VERSION_KEY} in the metadata of the table: not a number (got {text!r})")
    return None if text is None else int(text)


def one_version(table: pa.Table, history: SchemaHistory) -> int | None:
    """Return the version of all rows of a table; None if a column holds several versions, or an unknown one.

    In a column, null means no label, hence version 1, and 2.0 means 2: concatenated tables look like this. Raises
    UnknownVersionError for a wrong version in the metadata.
    """
    if VERSION_KEY not in table.column_names or not table.num_rows:
        noted = noted_version(table)
        return 1 if noted is None else history.check_version(noted)
    labels = set(map(_label, pc.unique(table[VERSION_KEY]).to_pylist()))
    only = labels.pop()
    return None if labels or history.version_problem(only) else only


def as_arrow(data: ArrowStream) -> pa.Table:
    """Make an Arrow table of anything that supports Arrow's PyCapsule interface; an Arrow table is shared, not copied.

    The index of a pandas frame is dropped; NaN and NaT count as missing (only here); the version is
    `frame.attrs["schema_version"]`, if present. Tables of other libraries have no metadata, so they need a column
    `schema_version` for a version. Views, which Arrow can't filter, are copied.

    Raises UnknownVersionError for a version in `attrs` that is not an int, TypeError, ValueError for columns with the same name,
    and pyarrow's errors, which name the column, for a column with mixed types; `upgrade_many` accepts such records.
    """
    if not hasattr(data, "__arrow_c_stream__"):
        kind = type(data).__name__
        raise TypeError(f"give a table of Arrow, pandas, Polars or DuckDB, not {kind}; records: upgrade_many")
    pandas: Any = sys.modules.get("pandas")  # a caller with a pandas frame has imported pandas
    table = _from_pandas(data) if pandas and isinstance(data, pandas.DataFrame) else pa.table(data)
    names = table.column_names
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"columns with the same name: {', '.join(twice)}; rename or drop all but one")
    for at, (name, type_) in enumerate(zip(names, table.schema.types, strict=True)):
        if type_ in _VIEWS:
            table = table.set_column(at, name, table.column(at).cast(_VIEWS[type_]))
    return table


def _from_pandas(frame: Any) -> pa.Table:
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata()
    if VERSION_KEY not in frame.attrs:
        return table
    version = frame.attrs[VERSION_KEY]
    if type(version) is not int:
        raise UnknownVersionError(f"{VERSION_KEY} in the attrs of the frame: not an int (got {version!r})")
    return with_version(table, version)


# ── Rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def rows_as_records(table: pa.Table) -> list[dict[str, Any]]:
    """Return the rows as records, labelled as `one_version` reads labels."""
    columns = {name: row_values(table[name]) for name in table.column_names}
    labels = columns.get(VERSION_KEY, [noted_version(table)] * table.num_rows)
    columns[VERSION_KEY] = [_label(label) for label in labels]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _label(value: Any) -> Any:
    if value is None:
        return 1
    return int(value) if type(value) is float and value.is_integer() else value


def row_values(column: pa.ChunkedArray) -> list[Any]:
    """Return the values as Python objects: timestamps and dates as ISO 8601 text, bytes that are not UTF-8 as lone surrogates."""
    type_ = column.type
    if pa.types.is_timestamp(type_) or pa.types.is_date32(type_):
        if getattr(type_, "tz", None) is not None:
            column = column.cast(pa.timestamp(type_.unit, "UTC"))
        column = pc.replace_substring(column.cast(pa.string()), " ", "T", max_replacements=1)
        if type_ in (pa.timestamp("ns"), pa.timestamp("ns", getattr(type_, "tz", None))):
            # Nine digits; six for whole microseconds.
            column = pc.replace_substring_regex(column, r"000(Z?)$", r"\1")
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        texts = column.cast(pa.string()).cast(pa.binary()).to_pylist()
        return [None if text is None else text.decode(errors="surrogateescape") for text in texts]


# ── Columns ──────────────────────────────────────────────────────────────────────────────────────────────────────


def as_column(values: list[Any], field: Field) -> pa.ChunkedArray:
    """Return values of a field as a column of its type."""
    if field.type == "float":  # Arrow converts no int above 2**53 to a float, even if it is exact
        values = [None if value is None else float(value) for value in values]
    return pa.chunked_array([pa.array(values, ARROW_TYPES[field.type])])


#: Chunks of nulls, which all tables share.
_nulls: Final = cache(pa.nulls)


def constant(value: Any, kind: str, length: int) -> pa.ChunkedArray:
    """Return a column that holds one value (or null) throughout: at most 128 references to one chunk, whatever its length.

    A column of nulls takes 64 KiB, or, from two million rows on, less than 0.07 bytes a row, shared with all others.
    """
    rows, type_ = 1 << max(14, (length >> 7).bit_length()), ARROW_TYPES[kind]
    chunk = _nulls(rows, type_) if value is None else pa.repeat(pa.scalar(value, type_), min(rows, length))
    whole, rest = divmod(length, rows)
    return pa.chunked_array([chunk] * whole + [chunk.slice(0, rest)] * bool(rest), type_)


#: Matches most timestamps: the years 0100 to 9899, without 29 February. Matches no invalid text.
_TIMESTAMP: Final = (
    r"^(0[1-9]|[1-8]\d|9[0-8])\d\d-((0[13578]|1[02])-(0[1-9]|[12]\d|3[01])|(0[469]|11)-(0[1-9]|[12]\d|30)|02-(0[1-9]|1\d|2[0-8]))"
    r"(T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)?)?$"
)


def suspects(field: Field, column: pa.ChunkedArray) -> Mask | None:
    """Return a mask of all values that are invalid in `field`, and perhaps some valid ones; None if there are none.

    Only columns of the field's own Arrow type are tested as columns. In any other column, each value needs a full check.
    """
    kind, mask = ARROW_TYPES[field.type], None
    if field.nullable and column.null_count == len(column):
        return None
    if column.type != kind and (column.type, kind) != (pa.large_string(), pa.string()):
        return np.ones(len(column), bool)
    if field.type == "timestamp":
        mask = pc.invert(pc.match_substring_regex(column, _TIMESTAMP))
    elif field.type == "string":
        try:  # Arrow promises that strings are UTF-8, but trusts the file they come from.
            column.validate(full=True)
        except pa.ArrowInvalid:
            return np.ones(len(column), bool)
        if field.length is not None and (pc.max(pc.binary_length(column)).as_py() or 0) > field.length:
            mask = pc.greater(pc.utf8_length(column), field.length)
    if mask is not None:
        return mask.fill_null(not field.nullable).to_numpy()
    return None if field.nullable or not column.null_count else column.is_null().to_numpy()
