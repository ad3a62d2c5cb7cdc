"""Arrow tables of records: what `lib.versioning.bulk` does for records, a column at a time.

A table has one version, in the metadata of its schema or in a column `schema_version`. Neither means 1, and so does a null in
the column, which counts first. The rows are worked on as columns. Those that the masks of `lib.versioning.columns` or a step
doubt are left to the functions for records, so that both forms say the same; so are all rows if a column holds several
versions. Each row stands for the record that `to_pylist` gives, with Arrow's own timestamps and dates as their text in ISO 8601.

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
    canonical,
    constant,
    either,
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
from lib.versioning.table_steps import migrate
from lib.versioning.timestamps import Mask
from lib.versioning.users import USERS

Places = NDArray[np.int64]
#: Metadata in which pandas, Arrow, Spark and others describe the columns of a table.
_DESCRIPTIONS: Final = {
    b"pandas",
    b"ARROW:schema",
    b"org.apache.spark.sql.parquet.row.metadata",
    b"parquet.avro.schema",
    b"avro.schema",
    b"iceberg.schema",
    b"huggingface",
    b"geo",
}


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
    task = Task(history, extra, history.check_version(target_version), "upgrade")
    return _change(table, task, target_version, validated)


def downgrade_table(
    table: ArrowStream,
    target_version: int,
    history: SchemaHistory = USERS,
    *,
    extra: Extra = "keep",
    validated: bool = False,
) -> TableBatch:
    """Downgrade all rows, of whatever version; put aside what `downgrade_data` would refuse. See `upgrade_table`."""
    task = Task(history, extra, history.check_version(target_version), "downgrade")
    return _change(table, task, target_version, validated)


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
    """What is wrong with the rows of one version, and a mask of the rows (all or none) that are left to the form for records.

    They are left to it where no row can be valid, or each has another version. Words are found only for values that a mask suspects.
    """
    schema, names = task.history.schema(version or 1), set(table.column_names) - {VERSION_KEY}
    undeclared = task.extra == "forbid" and not names.issubset(schema.names)
    if version is None or undeclared or not names.issuperset(schema.names):
        return [], np.ones(table.num_rows, bool)
    errors: dict[int, list[str]] = {}
    for declared in schema:
        if (mask := suspects(declared, table[declared.name])) is not None:
            column = table[declared.name].filter(pa.array(mask))
            is_text = column.type in (
                pa.string(),
                pa.large_string(),
            )  # equal values of others may differ: 0.0, -0.0
            problem = cache(declared.problem) if is_text else declared.problem
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
    """Migrate sound rows as columns, all others as records, and bring both in order."""
    table, schema = _checked(data, task.extra), task.history.schema(target)
    version = one_version(table, task.history)
    if version is not None and task.beyond(version):
        version = None  # the form for records finds the words
    aside, doubt = ([], None) if validated and version else _find_errors(table, task, version)
    bad = either(doubt, _places(table, aside)) if aside else doubt
    sound = table if bad is None else most_rows(table, ~bad)
    work = migrate(sound, task.history, version or target, target)
    passed = _arranged(work.columns, schema, target, task.extra, work.rows)
    if work.doubted is not None:
        passed = passed.filter(pa.array(~work.doubted))
        doubt = np.zeros(table.num_rows, bool)
        doubt[... if bad is None else ~bad] = work.doubted
    batch = _as_records(table, doubt, task, version, aside)
    if batch.records and doubt is not None:
        good = ~_places(table, batch.quarantined)
        others = _as_table(table, np.flatnonzero(good & doubt), batch, schema, target)
        passed = _in_order(passed, others, doubt[good], schema)
    batch.report.kept += work.count(work.kept)
    batch.report.lost += work.count(work.lost)
    passed = with_version(_described(passed, table, task, version or 1), target)
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


def _as_table(table: pa.Table, places: Places, batch: Batch, schema: Schema, target: int) -> pa.Table:
    """A table of the rows that were migrated as records and passed, from their places in the input."""
    columns = {}
    for name in dict.fromkeys(chain.from_iterable(batch.records)):
        if name in schema:
            columns[name] = as_column([record[name] for record in batch.records], schema[name])
        elif name in table.column_names:  # not so a version that only the metadata had
            source = [at if name in r else None for at, r in zip(places, batch.records, strict=True)]
            columns[name] = table[name].take(pa.array(source, pa.int64()))
    return _arranged(columns, schema, target, "keep", len(places))


def _in_order(sure: pa.Table, others: pa.Table, from_others: Mask, schema: Schema) -> pa.Table:
    """Join the rows of two tables; the mask says which rows of the result are from the second."""
    if not sure.num_rows:
        return others
    tables = [sure, others]
    for declared in schema:
        if len({table.schema.field(declared.name).type for table in tables}) > 1:
            for number, table in enumerate(tables):
                at, column = table.column_names.index(declared.name), table[declared.name]
                tables[number] = table.set_column(at, declared.name, canonical(column, declared))
    order = np.argsort(np.argsort(from_others, kind="stable"))
    return pa.concat_tables(tables, promote_options="default").take(order)


def _described(passed: pa.Table, table: pa.Table, task: Task, version: int) -> pa.Table:
    """Give migrated rows what the schema of the input says and what still holds."""
    changed = set()
    for _, effect in task.history.effects(version, task.target or version):
        before, after = effect.before, effect.after
        changed |= {
            name for name in before.names if name not in after or after[name].type != before[name].type
        }
    fields = list(passed.schema)
    for at, field in enumerate(fields):
        if field.name in table.column_names and field.name not in changed:
            old = table.schema.field(field.name)
            fields[at] = old.with_type(field.type).with_nullable(old.nullable or passed[at].null_count > 0)
    metadata = dict(table.schema.metadata or {})
    if not pa.schema(fields).equals(table.schema):
        metadata = {key: value for key, value in metadata.items() if key not in _DESCRIPTIONS}
    return pa.Table.from_arrays(passed.columns, schema=pa.schema(fields, metadata))
