"""Arrow tables of records: what `lib.versioning.bulk` does for records, a column at a time.

A table has one version, in the metadata of its schema or in a constant column `schema_version` (neither means 1, a column
counts first). If a column holds several versions, rows of the most frequent one are worked on as columns, all others as
records, and all come back in order. Each row stands for the record that `to_pylist` gives, with Arrow's own timestamps
and dates as their text in ISO 8601.

Nothing is copied that need not be: a column that no step changes is shared, and so is a chunk of nulls. Rows that the
masks of `lib.versioning.columns` doubt are left to the functions for records, so that both forms say the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lib.versioning.bulk import Batch, Report, Way, process, reason_of
from lib.versioning.columns import (
    ARROW_TYPES,
    ArrowStream,
    as_arrow,
    canonical,
    constant,
    most_rows,
    noted_version,
    row_values,
    rows_as_records,
    suspects,
    with_version,
    without_special_layouts,
)
from lib.versioning.history import SchemaHistory
from lib.versioning.records import Extra, validator
from lib.versioning.schema import VERSION_KEY, Field, Schema
from lib.versioning.table_steps import migrate
from lib.versioning.timestamps import Mask
from lib.versioning.users import USERS

Places = NDArray[np.int64]


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
    job = _start(table, history, extra)
    _find_errors(job)
    _as_records(job, job.others, None, "upgrade")
    return _finish(job, most_rows(job.table, job.without_errors()) if job.places else job.table)


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
    Raises what `validate_table` raises, and UnknownVersionError for the target.
    """
    return _change(table, target_version, "upgrade", history, extra, validated)


def downgrade_table(
    table: ArrowStream,
    target_version: int,
    history: SchemaHistory = USERS,
    *,
    extra: Extra = "keep",
    validated: bool = False,
) -> TableBatch:
    """Downgrade all rows, of whatever version; put aside what `downgrade_data` would refuse. See `upgrade_table`."""
    return _change(table, target_version, "downgrade", history, extra, validated)


# ── Rows of one version and others, and rows put aside ───────────────────────────────────────────────────────────


@dataclass
class _Job:
    """A table that is worked on, and what was found wrong with it: one place (from 0), version and text for each error.

    The rows of one `version`, of which there are most, are worked on as columns; `others` are the places of the rest.
    """

    table: pa.Table
    history: SchemaHistory
    extra: Extra
    version: int
    others: Places
    report: Report
    places: list[int] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def without_errors(self) -> Mask:
        """A mask of the rows that were not put aside."""
        mask = np.ones(self.table.num_rows, bool)
        mask[self.places] = False
        return mask

    def sound_rows(self) -> tuple[pa.Table, Places | None]:
        """The rows of the version that were not put aside, and their places; None if these are all rows."""
        if not self.places and not self.others.size:
            return self.table, None
        mask = self.without_errors()
        mask[self.others] = False
        return self.table.filter(mask), np.flatnonzero(mask)


def _start(data: ArrowStream, history: SchemaHistory, extra: Extra) -> _Job:
    """Find the version of most rows, and count them."""
    if extra not in ("keep", "drop", "forbid"):
        raise ValueError(f"extra={extra!r}: choose 'keep', 'drop' or 'forbid'")
    table = as_arrow(data)
    names = table.column_names
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"columns that share a name: {', '.join(twice)}; rename or drop all but one")
    table = without_special_layouts(table)
    version, others = _most_frequent_version(table, history)
    versions = +Counter({version: table.num_rows - len(others)})
    return _Job(table, history, extra, version, others, Report(table.num_rows, versions=versions))


def _most_frequent_version(table: pa.Table, history: SchemaHistory) -> tuple[int, Places]:
    """The version of most rows, by the column or the metadata, and the places of rows that are labelled otherwise."""
    none: Places = np.arange(0)
    if VERSION_KEY not in table.column_names or not table.num_rows:
        noted = noted_version(table)
        return 1 if noted is None else history.check_version(noted), none
    labels = table[VERSION_KEY]
    if not pa.types.is_integer(labels.type) or labels.type == pa.uint64():
        return 1, np.arange(table.num_rows)
    labels = labels.cast(pa.int64())
    low, high = pc.min_max(labels).as_py().values()
    if low == high and low in history.versions and not labels.null_count:
        return low, none
    same = {version: pc.equal(labels, version).fill_null(False) for version in history.versions}
    version = max(same, key=lambda version: pc.sum(same[version]).as_py())
    return version, np.flatnonzero(~same[version].to_numpy())


def _find_errors(job: _Job) -> None:
    """Find what is wrong with the rows of the version."""
    rows, places = job.sound_rows()
    for at, errors in _errors(rows, job.version, job.history.schema(job.version), job.extra):
        job.places += (at if places is None else places[at]).tolist()
        job.versions += [job.version] * len(errors)
        job.errors += errors


def _errors(
    table: pa.Table, version: int, schema: Schema, extra: Extra
) -> Iterator[tuple[Places, list[str]]]:
    """Every error and the place of its row, field by field. Words are found only for values that a mask suspects."""
    names = set(table.column_names) - {VERSION_KEY}
    if not names.issuperset(schema.names) or (extra == "forbid" and not names.issubset(schema.names)):
        found = list(map(validator(schema, extra), rows_as_records(table, version)))  # no row can be valid
        yield np.repeat(np.arange(len(found)), list(map(len, found))), list(chain.from_iterable(found))
        return
    for declared in schema:
        mask = suspects(declared, table[declared.name])
        if mask is not None:
            words = _words(declared, table[declared.name].filter(mask))
            bad = [at for at, text in enumerate(words) if text]
            yield np.flatnonzero(mask)[bad], [words[at] for at in bad]


def _words(declared: Field, column: pa.ChunkedArray) -> list[str]:
    """The error of each value, empty where it is valid. The same string has the same error, which is found only once."""

    def error(value: Any) -> str:
        reason = declared.problem(value)
        return f"{declared.name}: {reason}" if reason else ""

    values = row_values(column)
    if column.type not in (pa.string(), pa.large_string()):
        return list(map(error, values))  # here equal values may have errors that differ: 0.0 and -0.0
    errors = {value: error(value) for value in set(values)}
    return list(map(errors.__getitem__, values))


def _finish(job: _Job, passed: pa.Table) -> TableBatch:
    quarantined = _quarantined(job)
    for error, times in Counter(job.errors).items():
        job.report.reasons[reason_of(error)] += times
    job.report.passed, job.report.quarantined = passed.num_rows, quarantined.num_rows
    return TableBatch(passed, quarantined, job.report)


def _quarantined(job: _Job) -> pa.Table:
    """The rows that were put aside, in order, each with all its errors."""
    places = np.array(job.places, np.int64)
    raw = job.table.filter(~job.without_errors()) if job.places else job.table.slice(0, 0)
    if VERSION_KEY not in raw.schema.names and (version := noted_version(raw)) is not None:
        raw = raw.append_column(VERSION_KEY, constant(version, pa.int64(), raw.num_rows))
    types = {"line": pa.int64(), "version": pa.int64(), "errors": pa.list_(pa.string())}
    schema = pa.schema({**types, "raw": pa.struct(raw.schema)})
    if not job.places:
        return pa.Table.from_batches([], schema)
    order = np.argsort(places, kind="stable")
    places, first = np.unique(places[order], return_index=True)
    errors = pa.array(job.errors, pa.string()).take(pa.array(order))
    columns = [
        places + 1,
        np.array(job.versions, np.int64)[order][first],
        pa.ListArray.from_arrays(pa.array(np.append(first, len(order)), pa.int32()), errors),
        raw.to_struct_array(),
    ]
    return pa.table(columns, schema=schema)


# ── Migration ────────────────────────────────────────────────────────────────────────────────────────────────────


def _change(
    data: ArrowStream, target: int, way: Way, history: SchemaHistory, extra: Extra, validated: bool
) -> TableBatch:
    schema, job = history.schema(target), _start(data, history, extra)
    if not validated:
        _find_errors(job)
    rows, places = job.sound_rows()
    work = migrate(rows, history, job.version, target)
    if job.version > target if way == "upgrade" else job.version < target:
        work.doubt(np.ones(rows.num_rows, bool))
    passed, left = _arranged(work.columns, rows.num_rows, schema, target, extra), job.others
    if (doubt := work.doubted) is not None:
        places = np.arange(rows.num_rows) if places is None else places
        left = np.sort(np.append(left, places[doubt]))
        job.report.versions -= Counter({job.version: int(doubt.sum())})  # they are counted as records
        places, passed = places[~doubt], passed.filter(~doubt)
    job.report.kept += work.count(work.kept)
    job.report.lost += work.count(work.lost)
    batch = _as_records(job, left, target, way)
    if batch.records:
        passed = _in_order((places, passed), _as_table(job, left, batch, target), schema)
    return _finish(job, with_version(passed.replace_schema_metadata(job.table.schema.metadata), target))


def _arranged(
    columns: dict[str, pa.ChunkedArray], rows: int, schema: Schema, target: int, extra: Extra
) -> pa.Table:
    """A table with the columns in the order of a migrated record: declared ones, the version if there was one, others."""
    names = list(schema.names)
    if VERSION_KEY in columns:
        columns[VERSION_KEY] = constant(target, pa.int64(), rows)
        names.append(VERSION_KEY)
    if extra != "drop":
        names += [name for name in columns if name not in set(names)]
    return pa.Table.from_arrays([columns[name] for name in names], names)


def _as_records(job: _Job, places: Places, target: int | None, way: Way) -> Batch:
    """Validate some rows as records, migrate them, and note what is wrong with them and what becomes of them."""
    if not places.size:
        return Batch([], [], Report())
    rows = job.table.take(pa.array(places))
    batch = process(job.history, job.extra, rows_as_records(rows, job.version), target, way)
    for name in ("versions", "kept", "lost"):
        getattr(job.report, name).update(getattr(batch.report, name))
    for line in batch.quarantined:
        count, version = len(line["errors"]), line["version"]
        job.places += [int(places[line["line"] - 1])] * count
        job.versions += [version if version < 2**63 else 0] * count
        job.errors += line["errors"]
    return batch


def _as_table(job: _Job, places: Places, batch: Batch, target: int) -> tuple[Places, pa.Table]:
    """The places of rows that were migrated as records and passed, and a table of them."""
    places = np.delete(places, [line["line"] - 1 for line in batch.quarantined])
    schema, columns = job.history.schema(target), {}
    for name in dict.fromkeys(chain.from_iterable(batch.records)):
        if name in schema:
            values = [record[name] for record in batch.records]
            columns[name] = pa.chunked_array([pa.array(values, ARROW_TYPES[schema[name].type])])
        elif name in job.table.column_names:  # not so a version that only the metadata had
            source = [at if name in r else None for at, r in zip(places, batch.records, strict=True)]
            columns[name] = job.table[name].take(pa.array(source, pa.int64()))
    return places, _arranged(columns, len(places), schema, target, "keep")


def _in_order(one: tuple[Places, pa.Table], other: tuple[Places, pa.Table], schema: Schema) -> pa.Table:
    """Join the rows of two tables in the order of their places."""
    if not one[1].num_rows:
        return other[1]
    tables = [one[1], other[1]]
    for declared in schema:
        if len({table.schema.field(declared.name).type for table in tables}) > 1:
            for number, table in enumerate(tables):
                at, column = table.column_names.index(declared.name), table[declared.name]
                tables[number] = table.set_column(at, declared.name, canonical(column, declared))
    order = np.argsort(np.concatenate([one[0], other[0]]))
    return pa.concat_tables(tables, promote_options="default").take(order)
