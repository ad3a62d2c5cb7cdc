"""Arrow tables of records: what `lib.versioning.bulk` does for records, a column at a time.

A table has one version, in the metadata of its schema or in a column `schema_version`. Neither means 1, and so does a null in
the column, which counts first. The rows are worked on as columns. If they are of several versions, or a step can't tell what
becomes of one, all are left to the functions for records, so that both forms say the same. Each row stands for the record that
`to_pylist` gives, with Arrow's own timestamps and dates as their text in ISO 8601.

Nothing is copied that need not be: a column that no step changes is shared, and so is a chunk of nulls.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from itertools import chain
from operator import itemgetter
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lib.versioning.bulk import Batch, Quarantined, Report, Task, process, reason_of
from lib.versioning.columns import (
    ArrowStream,
    as_arrow,
    as_column,
    constant,
    is_readable,
    most_rows,
    noted_version,
    one_version,
    row_values,
    rows_as_records,
    suspects,
    with_version,
    without_special_layouts,
)
from lib.versioning.history import SchemaHistory
from lib.versioning.records import Extra
from lib.versioning.schema import VERSION_KEY, Schema
from lib.versioning.table_steps import DoubtfulRow, migrate
from lib.versioning.timestamps import Mask
from lib.versioning.users import USERS

Places = NDArray[np.int64]
#: Metadata in which pandas, Arrow, Spark and others describe the columns of a table.
_DESCRIPTIONS: Final = frozenset(
    b"pandas ARROW:schema avro.schema parquet.avro.schema iceberg.schema huggingface geo "
    b"org.apache.spark.sql.parquet.row.metadata".split()
)


class TableBatch(NamedTuple):
    """Rows that passed, in their order; those put aside, in theirs; and the counts.

    `quarantined` has the columns line (from 1), version, errors (a list of strings) and raw (the row, as a struct), so that
    its `to_pylist()` is what `Batch.quarantined` is for records.
    """

    table: pa.Table
    quarantined: pa.Table
    report: Report


def validate_table(
    table: ArrowStream, history: SchemaHistory = USERS, *, extra: Extra = "keep"
) -> TableBatch:
    """Put aside every row that is not valid at its own version; the others come back as they are.

    The table may be one of Arrow, pandas, Polars or DuckDB: see `as_arrow`. Raises UnknownVersionError for a version in the
    metadata that is none, ValueError for columns that share a name.
    """
    rows, task = _checked(table, extra), Task(history, extra, None, "upgrade")
    version = one_version(rows, history)
    aside, doubt = _find_errors(rows, task, version)
    batch = _as_records(rows, doubt, task, version, aside)
    passed = most_rows(rows, ~_places(rows, batch.quarantined)) if batch.quarantined else rows
    return TableBatch(passed, _quarantined(rows, batch.quarantined), batch.report)


def upgrade_table(
    table: ArrowStream,
    target_version: int,
    history: SchemaHistory = USERS,
    *,
    extra: Extra = "keep",
    validated: bool = False,
) -> TableBatch:
    """Upgrade all rows, of whatever version; put aside what `upgrade_data` would refuse.

    `validated=True` promises that the rows are valid, because `validate_table` or a migration returned them. Then steps
    that only add, rename or drop take a time that does not grow with the rows, if there is nothing to keep or to lose.

    What fields say of their columns is kept where it still holds. Metadata that describe columns for pandas, Spark and others are
    removed if a column changes. Raises what `validate_table` raises, and UnknownVersionError for the target.
    """
    return _change(table, Task(history, extra, target_version, "upgrade"), target_version, validated)


def downgrade_table(
    table: ArrowStream,
    target_version: int,
    history: SchemaHistory = USERS,
    *,
    extra: Extra = "keep",
    validated: bool = False,
) -> TableBatch:
    """Downgrade all rows, of whatever version; put aside what `downgrade_data` would refuse. See `upgrade_table`."""
    return _change(table, Task(history, extra, target_version, "downgrade"), target_version, validated)


# ── Rows that are left to the form for records, and rows put aside ───────────────────────────────────────────────


def _checked(data: ArrowStream, extra: Extra) -> pa.Table:
    """The table, in layouts that Arrow can compute with."""
    if extra not in ("keep", "drop", "forbid"):
        raise ValueError(f"extra={extra!r}: choose 'keep', 'drop' or 'forbid'")
    table = as_arrow(data)
    names = table.column_names
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"columns that share a name: {', '.join(twice)}; rename or drop all but one")
    return without_special_layouts(table)


def _find_errors(table: pa.Table, task: Task, version: int | None) -> tuple[list[Quarantined], Mask | None]:
    """What is wrong with rows of one version, and a mask of the rows that are left to the form for records: all, or (None) none.

    They are left to it if they are of several versions, or none can be valid. Words are found only for values that a mask suspects.
    """
    schema, names = task.history.schema(version or 1), set(table.column_names) - {VERSION_KEY}
    undeclared = task.extra == "forbid" and not names.issubset(schema.names)
    if version is None or undeclared or not names.issuperset(schema.names):
        return [], np.ones(table.num_rows, bool)
    errors: dict[int, list[str]] = {}
    for declared in schema:
        if (mask := suspects(declared, table[declared.name])) is not None:
            column = table[declared.name].filter(pa.array(mask))
            # Equal texts have equal errors. Other values need not: 0.0 and -0.0.
            problem = cache(declared.problem) if column.type == pa.string() else declared.problem
            for at, value in zip(np.flatnonzero(mask).tolist(), row_values(column), strict=True):
                if reason := problem(value):
                    errors.setdefault(at, []).append(f"{declared.name}: {reason}")
    return [{"line": at + 1, "version": version, "errors": errors[at], "raw": None} for at in errors], None


def _as_records(
    table: pa.Table, doubt: Mask | None, task: Task, version: int | None, aside: list[Quarantined]
) -> Batch:
    """What becomes of doubtful rows as records; with all that is put aside, and the counts of all rows."""
    places = np.arange(0) if doubt is None else np.flatnonzero(doubt)
    rows = rows_as_records(table.filter(pa.array(doubt))) if places.size else []
    batch = process(task.history, task.extra, rows, task.target, task.way)
    for line in batch.quarantined:
        line["line"] = int(places[line["line"] - 1]) + 1
    batch.quarantined.extend(aside)
    batch.quarantined.sort(key=itemgetter("line"))
    report = batch.report
    report.read, report.quarantined = table.num_rows, len(batch.quarantined)
    report.passed = report.read - report.quarantined
    report.versions += Counter({version or 0: table.num_rows - places.size})
    report.reasons.update(reason_of(error) for line in aside for error in line["errors"])
    return batch


def _places(table: pa.Table, lines: list[Quarantined]) -> Mask:
    """A mask of the rows that were put aside."""
    mask = np.zeros(table.num_rows, bool)
    mask[[line["line"] - 1 for line in lines]] = True
    return mask


def _quarantined(table: pa.Table, lines: list[Quarantined]) -> pa.Table:
    """The rows that were put aside, each with all its errors."""
    raw = table.filter(pa.array(_places(table, lines))) if lines else table.slice(0, 0)
    if VERSION_KEY not in raw.column_names and (version := noted_version(raw)) is not None:
        raw = raw.append_column(VERSION_KEY, constant(version, pa.int64(), raw.num_rows))
    types = {"line": pa.int64(), "version": pa.int64(), "errors": pa.list_(pa.string())}
    schema = pa.schema({**types, "raw": pa.struct(raw.schema)})
    if not lines:
        return pa.Table.from_batches([], schema)
    versions = [line["version"] if line["version"] < 2**63 else 0 for line in lines]
    columns = [[line["line"] for line in lines], versions, [line["errors"] for line in lines]]
    return pa.table([*columns, raw.to_struct_array()], schema=schema)


# ── Migration ────────────────────────────────────────────────────────────────────────────────────────────────────


def _change(data: ArrowStream, task: Task, target: int, validated: bool) -> TableBatch:
    """Migrate the rows that are valid as columns; all as records if one is doubted, or if they are of several versions."""
    history, schema, table = task.history, task.history.schema(target), _checked(data, task.extra)
    version = one_version(table, history)
    if version is not None and task.beyond(version):
        version = None  # the form for records finds the words
    aside, doubt = ([], None) if validated and version else _find_errors(table, task, version)
    try:
        rows = most_rows(table, ~_places(table, aside)) if aside else table
        work = migrate(rows if doubt is None else table.slice(0, 0), history, version or target, target)
    except DoubtfulRow:
        doubt = ~_places(table, aside)
        work = migrate(table.slice(0, 0), history, version or target, target)
    start = version or (1 if task.way == "upgrade" else history.latest)
    effects = [effect for _, effect in history.effects(start, target)]
    changed = {name for effect in effects for name in (*effect.gone, *effect.values)}
    passed = _arranged(work.columns, schema, target, task.extra, work.rows)
    batch = _as_records(table, doubt, task, version, aside)
    if batch.records and doubt is not None:
        places = np.flatnonzero(doubt & ~_places(table, batch.quarantined))
        passed = _as_table(table, places, batch, schema, target, changed)
    batch.report.kept += work.kept
    batch.report.lost += work.lost
    passed = with_version(_described(passed, table, changed), target)
    return TableBatch(passed, _quarantined(table, batch.quarantined), batch.report)


def _arranged(
    columns: dict[str, pa.ChunkedArray], schema: Schema, target: int, extra: Extra, rows: int
) -> pa.Table:
    """A table with the columns in the order of a migrated record: declared ones, the version if there was one, others."""
    names = list(schema.names)
    if VERSION_KEY in columns:
        columns[VERSION_KEY] = constant(target, pa.int64(), rows)
        names.append(VERSION_KEY)
    if extra != "drop":
        names += [name for name in columns if name not in set(names)]
    return pa.Table.from_arrays([columns[name] for name in names], names)


def _as_table(
    table: pa.Table, places: Places, batch: Batch, schema: Schema, target: int, changed: set[str]
) -> pa.Table:
    """A table of the records that passed. What no step changed is taken from where it was, at `places`."""
    columns = {}
    for name in dict.fromkeys(chain.from_iterable(batch.records)):
        if name in schema and (name in changed or not is_readable(table[name].type, schema[name])):
            columns[name] = as_column([record[name] for record in batch.records], schema[name])
        elif name in table.column_names:  # not so a version that only the metadata had
            source = [at if name in r else None for at, r in zip(places, batch.records, strict=True)]
            columns[name] = table[name].take(pa.array(source, pa.int64()))
    return _arranged(columns, schema, target, "keep", len(places))


def _described(passed: pa.Table, table: pa.Table, changed: set[str]) -> pa.Table:
    """Give migrated rows what the schema of the input says and what still holds."""
    fields = list(passed.schema)
    for at, field in enumerate(fields):
        if field.name in table.column_names and field.name not in changed:
            old = table.schema.field(field.name)
            fields[at] = old.with_type(field.type).with_nullable(old.nullable or passed[at].null_count > 0)
    metadata = dict(table.schema.metadata or {})
    if not pa.schema(fields).equals(table.schema):
        metadata = {key: value for key, value in metadata.items() if key not in _DESCRIPTIONS}
    return pa.Table.from_arrays(passed.columns, schema=pa.schema(fields, metadata))
