"""Validate and migrate Arrow tables of records, like `lib.versioning.bulk`, a column at a time if possible.

The version of a table is in a column `schema_version`, which takes precedence, or in the metadata of its schema. Without both,
and for a null in the column, it is 1. Each row is the record that `to_pylist` returns, with Arrow's timestamps and dates as ISO
8601 text.

Values are tested a column at a time. A migration that only copies, moves and fills fields shares the copied and moved columns.
Rows of several versions, and all other migrations, use the functions for records, so that both give the same results.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lib.versioning.bulk import Quarantined, Report, Task, process, reason_of
from lib.versioning.columns import (
    ARROW_TYPES,
    ArrowStream,
    Mask,
    as_arrow,
    as_column,
    constant,
    noted_version,
    one_version,
    row_values,
    rows_as_records,
    suspects,
    with_version,
)
from lib.versioning.expressions import Constant, Copy
from lib.versioning.history import SchemaHistory
from lib.versioning.records import later_fields, plain_values
from lib.versioning.schema import VERSION_KEY
from lib.versioning.users import USERS

Columns = dict[str, pa.ChunkedArray]
#: Keys of the metadata in which pandas, Arrow, Spark and others describe the columns of a table.
_DESCRIPTIONS: Final = frozenset(
    b"pandas ARROW:schema avro.schema parquet.avro.schema iceberg.schema huggingface geo "
    b"org.apache.spark.sql.parquet.row.metadata".split()
)


class TableBatch(NamedTuple):
    """The rows that passed, in order; the quarantined rows, in order; and the counts.

    `quarantined` has the columns line (from 1), version, errors (a list of strings) and raw (the row, as a struct), so that its
    `to_pylist()` equals `Batch.quarantined`.
    """

    table: pa.Table
    quarantined: pa.Table
    report: Report


def validate_table(table: ArrowStream, history: SchemaHistory = USERS) -> TableBatch:
    """Quarantine every row that is invalid at its own version; return the others unchanged.

    The table may be one of Arrow, pandas, Polars or DuckDB: see `as_arrow`. Raises UnknownVersionError for an unknown version
    in the metadata, ValueError for columns with the same name.
    """
    return _process(table, Task(history, None, "upgrade"))


def upgrade_table(
    table: ArrowStream,
    target_version: int,
    history: SchemaHistory = USERS,
    *,
    validated: bool = False,
) -> TableBatch:
    """Upgrade all rows of any version; quarantine those that `upgrade_data` would refuse.

    `validated=True` promises that the rows are valid, because `validate_table` or a migration returned them. Then the time for
    steps that only add or rename fields does not grow with the number of rows, if there is no column of a later version.

    Metadata of fields are kept if they still apply. Metadata that describe columns for pandas, Spark and others are removed if
    a column changes. Raises what `validate_table` raises, and UnknownVersionError for the target.
    """
    return _process(table, Task(history, history.check_version(target_version), "upgrade"), validated)


def downgrade_table(
    table: ArrowStream,
    target_version: int,
    history: SchemaHistory = USERS,
    *,
    validated: bool = False,
) -> TableBatch:
    """Downgrade all rows of any version; quarantine those that `downgrade_data` would refuse. See `upgrade_table`."""
    return _process(table, Task(history, history.check_version(target_version), "downgrade"), validated)


def _process(data: ArrowStream, task: Task, validated: bool = False) -> TableBatch:
    """Process the columns of a table, or its rows as records."""
    table = as_arrow(data)
    version = one_version(table, task.history)
    sources = None if version is None else _sources(table, task, version)
    if version is None or sources is None:
        return _process_records(table, task, version)
    lines = [] if validated else _find_errors(table, task.history, version)
    report = _counted(table, version, lines)
    rows = _without(table, lines)
    if task.target is not None:
        columns = {name: _evaluate(source, rows) for name, source in sources.items()}
        rows = _migrated(columns, table, task, version)
    return TableBatch(rows, _quarantined(table, lines), report)


# ── As columns ───────────────────────────────────────────────────────────────────────────────────────────────────


def _sources(table: pa.Table, task: Task, version: int) -> dict[str, Copy | Constant] | None:
    """Return the source of each column of the result; None if the rows must be processed as records."""
    declared, target = set(task.history.schema(version).names), task.target or version
    names = [name for name in table.column_names if name != VERSION_KEY]
    undeclared = [name for name in names if name not in declared]
    if (
        task.beyond(version)
        or not declared.issubset(names)
        or later_fields(task.history, version, target).keys() & undeclared
    ):
        return None
    plain = plain_values(task.history, version, target)
    return plain and plain | {name: Copy(name) for name in undeclared}


def _evaluate(source: Copy | Constant, rows: pa.Table) -> pa.ChunkedArray:
    if isinstance(source, Copy):
        return rows[source.source]
    return constant(source.value, source.kind, rows.num_rows)


def _find_errors(table: pa.Table, history: SchemaHistory, version: int) -> list[Quarantined]:
    """Find the errors in rows of one version. Only values that a mask marks as suspect are checked in full."""
    errors: dict[int, list[str]] = {}
    for declared in history.schema(version):
        if (mask := suspects(declared, table[declared.name])) is not None:
            column = table[declared.name].filter(pa.array(mask))
            # Equal texts have equal errors. Other equal values may not: 0.0 and -0.0.
            problem = cache(declared.problem) if column.type == pa.string() else declared.problem
            for at, value in zip(np.flatnonzero(mask).tolist(), row_values(column), strict=True):
                if reason := problem(value):
                    errors.setdefault(at, []).append(f"{declared.name}: {reason}")
    return [{"line": at + 1, "version": version, "errors": errors[at], "raw": None} for at in sorted(errors)]


def _counted(table: pa.Table, version: int, lines: list[Quarantined]) -> Report:
    report = Report(
        table.num_rows, table.num_rows - len(lines), len(lines), Counter({version: table.num_rows})
    )
    report.reasons.update(reason_of(error) for line in lines for error in line["errors"])
    return report


# ── As records ───────────────────────────────────────────────────────────────────────────────────────────────────


def _process_records(table: pa.Table, task: Task, version: int | None) -> TableBatch:
    """Process the rows as records, and make a table of those that pass."""
    records, lines, report = process(task.history, rows_as_records(table), task.target, task.way)
    rows = _without(table, lines)
    if task.target is not None:
        schema, changed = task.history.schema(task.target), _changed(task, version)
        columns: Columns = {}
        for name in dict.fromkeys([*schema.names, *rows.column_names]):
            if name in schema and (name in changed or name not in rows.column_names):
                columns[name] = as_column([record[name] for record in records], schema[name])
            elif name in schema:
                columns[name] = rows[name]
            elif any(there := [name in record for record in records]):
                columns[name] = pc.if_else(pa.array(there), rows[name], pa.scalar(None, rows[name].type))
        rows = _migrated(columns, table, task, version)
    return TableBatch(rows, _quarantined(table, lines), report)


# ── The result ───────────────────────────────────────────────────────────────────────────────────────────────────


def _changed(task: Task, version: int | None) -> set[str]:
    """Return the fields that steps remove, fill or replace, in rows of one version or (None) of any version."""
    start = version or (1 if task.way == "upgrade" else task.history.latest)
    effects = [effect for _, effect in task.history.effects(start, task.target or start)]
    return {name for effect in effects for name in (*effect.gone, *effect.values)}


def _migrated(columns: Columns, table: pa.Table, task: Task, version: int | None) -> pa.Table:
    """Return the columns in the order of a migrated record, with the metadata of the input that still apply."""
    assert task.target is not None
    changed, fields = _changed(task, version), {}
    for declared in task.history.schema(task.target):
        column, kind = columns[declared.name], ARROW_TYPES[declared.type]
        if column.type != kind and column.null_count == len(column):
            column = constant(None, declared.type, len(column))
        fields[declared.name] = column
    if VERSION_KEY in table.column_names:
        fields[VERSION_KEY] = constant(task.target, "integer", len(column))
    columns = fields | {name: column for name, column in columns.items() if name not in fields}
    described = [pa.field(name, column.type) for name, column in columns.items()]
    for at, field in enumerate(described):
        if field.name in table.column_names and field.name not in changed:
            old = table.schema.field(field.name)
            nullable = old.nullable or columns[field.name].null_count > 0
            described[at] = old.with_type(field.type).with_nullable(nullable)
    metadata = dict(table.schema.metadata or {})
    if not pa.schema(described).equals(table.schema):
        metadata = {key: value for key, value in metadata.items() if key not in _DESCRIPTIONS}
    migrated = pa.Table.from_arrays(list(columns.values()), schema=pa.schema(described, metadata))
    return with_version(migrated, task.target)


def _places(table: pa.Table, lines: list[Quarantined]) -> Mask:
    """Return a mask of the quarantined rows."""
    mask = np.zeros(table.num_rows, bool)
    mask[[line["line"] - 1 for line in lines]] = True
    return mask


def _without(table: pa.Table, lines: list[Quarantined]) -> pa.Table:
    """Return the rows that were not quarantined. Arrow copies whole runs of a single column, but takes rows of a table one by one."""
    if not lines:
        return table
    kept = pa.array(~_places(table, lines))
    return pa.Table.from_arrays([column.filter(kept) for column in table.columns], schema=table.schema)


def _quarantined(table: pa.Table, lines: list[Quarantined]) -> pa.Table:
    """Return the quarantined rows, each with all its errors."""
    raw = table.filter(pa.array(_places(table, lines))) if lines else table.slice(0, 0)
    if VERSION_KEY not in raw.column_names and (version := noted_version(raw)) is not None:
        raw = raw.append_column(VERSION_KEY, constant(version, "integer", raw.num_rows))
    types = {"line": pa.int64(), "version": pa.int64(), "errors": pa.list_(pa.string())}
    schema = pa.schema({**types, "raw": pa.struct(raw.schema)})
    if not lines:
        return pa.Table.from_batches([], schema)
    versions = [line["version"] if line["version"] < 2**63 else 0 for line in lines]
    columns = [[line["line"] for line in lines], versions, [line["errors"] for line in lines]]
    return pa.table([*columns, raw.to_struct_array()], schema=schema)
