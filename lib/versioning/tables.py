"""Arrow tables of records: what `lib.versioning.bulk` does for records, a column at a time.

A table has one version, in the metadata of its schema or in a constant column `schema_version` (neither means 1, a column
counts first). A table whose column holds several versions is worked on version by version and comes back in order. Each
row stands for the record that `to_pylist` gives, with Arrow's own timestamps and dates as their text in ISO 8601.

Nothing is copied that need not be: a column that no step changes is shared, and so is a chunk of nulls. Rows that the
masks of `lib.versioning.columns` doubt are left to the functions for records, so that both forms say the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lib.versioning.bulk import Report, Way, process, reason_of
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
from lib.versioning.records import Extra, record_version, validator
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
    _put_invalid_aside(job)
    valid = job.rows_without_errors()
    return _finish(job, job.table if valid is None else most_rows(job.table, valid))


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


# ── Rows by version, and rows put aside ──────────────────────────────────────────────────────────────────────────


class _Part(NamedTuple):
    """The rows of one version: a mask, or None for all."""

    version: int
    rows: Mask | None


@dataclass
class _Job:
    """A table that is worked on, and what was found wrong with it: one place (from 0), version and text for each error."""

    table: pa.Table
    history: SchemaHistory
    extra: Extra
    parts: list[_Part]
    report: Report
    places: list[int] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def put_aside(self, place: int, version: int, errors: Iterable[str]) -> None:
        """Note all errors of a row."""
        for error in errors:
            self.places.append(place)
            self.versions.append(version)
            self.errors.append(error)

    def rows_without_errors(self) -> Mask | None:
        """A mask of the rows that were not put aside; None if none was."""
        return _all_but(self.table.num_rows, self.places) if self.places else None


def _all_but(rows: int, places: list[int] | Places) -> Mask:
    mask = np.ones(rows, bool)
    mask[places] = False
    return mask


def _start(data: ArrowStream, history: SchemaHistory, extra: Extra) -> _Job:
    """Count the rows of each version, and put those aside whose version can't be told."""
    if extra not in ("keep", "drop", "forbid"):
        raise ValueError(f"extra={extra!r}: choose 'keep', 'drop' or 'forbid'")
    table = as_arrow(data)
    names = table.column_names
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"columns that share a name: {', '.join(twice)}; rename or drop all but one")
    table = without_special_layouts(table)
    job = _Job(table, history, extra, _parts(table, history), Report(read=table.num_rows))
    for version, rows in job.parts:
        job.report.versions[version] = table.num_rows if rows is None else int(np.count_nonzero(rows))
    job.report.versions = +job.report.versions
    if all(rows is not None for _, rows in job.parts):
        unknown = ~np.any([np.zeros(table.num_rows, bool), *(rows for _, rows in job.parts)], axis=0)
        labels = row_values(table[VERSION_KEY].filter(unknown))
        for place, label in zip(np.flatnonzero(unknown).tolist(), labels, strict=True):
            version, problem = record_version(history, {VERSION_KEY: label})
            job.put_aside(place, version if version < 2**63 else 0, [str(problem)])
    return job


def _parts(table: pa.Table, history: SchemaHistory) -> list[_Part]:
    """Split a table by version; rows whose label is none of the history's are in no part."""
    if VERSION_KEY not in table.column_names or not table.num_rows:
        noted = noted_version(table)
        return [_Part(1 if noted is None else history.check_version(noted), None)]
    labels = table[VERSION_KEY]
    if pa.types.is_dictionary(labels.type):
        labels = labels.cast(labels.type.value_type)
    if not pa.types.is_integer(labels.type):
        return []
    labels = labels.cast(type_ := pa.uint64() if labels.type == pa.uint64() else pa.int64())
    low, high = pc.min_max(labels).as_py().values()
    if low == high and low in history.versions and not labels.null_count:
        return [_Part(low, None)]
    same = ((version, pc.equal(labels, pa.scalar(version, type_))) for version in history.versions)
    parts = [_Part(version, mask.fill_null(False).to_numpy()) for version, mask in same]
    return [part for part in parts if part.rows.any()]


def _put_invalid_aside(job: _Job) -> None:
    for version, rows in job.parts:
        part = job.table if rows is None else job.table.filter(rows)
        for at, errors in _errors(part, version, job.history.schema(version), job.extra):
            job.places += (at if rows is None else np.flatnonzero(rows)[at]).tolist()
            job.versions += [version] * len(errors)
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
    raw = pa.Table.from_batches([], job.table.schema)
    if job.places:
        raw = job.table.filter(~_all_but(job.table.num_rows, places))
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
    table = job.table
    if not validated:
        _put_invalid_aside(job)
    valid = job.rows_without_errors()
    doubted: list[Places] = []
    results: list[tuple[Places | None, pa.Table]] = []
    for version, rows in job.parts or [_Part(target, np.zeros(table.num_rows, bool))]:
        rows = valid if rows is None else rows if valid is None else rows & valid
        part, places = (table, None) if rows is None else (table.filter(rows), np.flatnonzero(rows))
        work = migrate(part, history, version, target)
        if version > target if way == "upgrade" else version < target:
            work.doubt(np.ones(part.num_rows, bool))
        result = _arranged(work.columns, part.num_rows, schema, target, extra)
        if (doubt := work.doubted) is not None:
            places = np.arange(table.num_rows) if places is None else places
            doubted.append(places[doubt])
            places, result = places[~doubt], result.filter(~doubt)
        job.report.kept += work.count(work.kept)
        job.report.lost += work.count(work.lost)
        results.append((places, result))
    if doubted:
        results.append(_leave_to_records(job, np.sort(np.concatenate(doubted)), target, way))
    passed = _in_order(results, schema).replace_schema_metadata(table.schema.metadata)
    return _finish(job, with_version(passed, target))


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


def _leave_to_records(job: _Job, places: Places, target: int, way: Way) -> tuple[Places, pa.Table]:
    """Migrate some rows as records; return the places of those that passed, and a table of them."""
    rows = job.table.filter(~_all_but(job.table.num_rows, places))
    batch = process(job.history, job.extra, rows_as_records(rows, job.parts[0].version), target, way)
    job.report.kept += batch.report.kept
    job.report.lost += batch.report.lost
    for line in batch.quarantined:
        job.put_aside(int(places[line["line"] - 1]), line["version"], line["errors"])
    passed = np.delete(np.arange(len(places)), [line["line"] - 1 for line in batch.quarantined])
    schema, columns = job.history.schema(target), {}
    for name in dict.fromkeys(chain.from_iterable(batch.records)):
        if name in schema:
            values = [record[name] for record in batch.records]
            columns[name] = pa.chunked_array([pa.array(values, ARROW_TYPES[schema[name].type])])
        elif name in rows.column_names:  # not so a version that only the metadata had
            source = [
                at if name in record else None for at, record in zip(passed, batch.records, strict=True)
            ]
            columns[name] = rows[name].take(pa.array(source, pa.int64()))
    return places[passed], _arranged(columns, len(passed), schema, target, "keep") if columns else rows.slice(
        0, 0
    )


def _in_order(results: list[tuple[Places | None, pa.Table]], schema: Schema) -> pa.Table:
    """Join the rows of several tables in the order of their places."""
    results = [result for result in results if result[1].num_rows] or results[:1]
    if len(results) == 1:
        return results[0][1]
    tables = [table for _, table in results]
    for declared in schema:
        if len({table.schema.field(declared.name).type for table in tables}) > 1:
            for number, table in enumerate(tables):
                at, column = table.column_names.index(declared.name), table[declared.name]
                tables[number] = table.set_column(at, declared.name, canonical(column, declared))
    order = np.argsort(np.concatenate([places for places, _ in results]))
    return pa.concat_tables(tables, promote_options="default").take(order)
