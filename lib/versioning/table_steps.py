"""The steps of a migration on the columns of a table: the form that each operation has for Arrow.

Each function does to columns what the generated lines of `lib.versioning.operations` do to the fields of one record. What
can't be done to a whole column is not tried: the rows are doubted, and the caller leaves them to the form for records.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lib.versioning.columns import (
    ARROW_TYPES,
    alike,
    canonical,
    constant,
    distinct,
    filled,
    is_readable,
    plain,
    suspects,
)
from lib.versioning.history import SchemaHistory, Step
from lib.versioning.operations import AddField, ConvertField, DropField, Operation, RenameField, SplitField
from lib.versioning.records import needs_recheck
from lib.versioning.schema import Field
from lib.versioning.timestamps import Mask

Column = pa.ChunkedArray


@dataclass
class Migration:
    """The columns of rows that are valid at one version, on their way to another, and what happened to which rows."""

    columns: dict[str, Column]
    rows: int
    kept: list[tuple[str, Mask]] = field(default_factory=list)
    lost: list[tuple[str, Mask]] = field(default_factory=list)
    doubted: Mask | None = None

    def doubt(self, mask: Mask | None) -> None:
        """Leave these rows to the form for records."""
        if mask is not None and mask.any():
            self.doubted = mask if self.doubted is None else self.doubted | mask

    def count(self, notes: list[tuple[str, Mask]]) -> Counter[str]:
        """Count the rows of each note, undoubted ones only, by field."""
        counts: Counter[str] = Counter()
        for name, mask in notes:
            counts[name] += int(np.count_nonzero(mask if self.doubted is None else mask & ~self.doubted))
        return +counts

    def nulls(self, field: Field) -> Column:
        """A column of nulls for a field."""
        return constant(None, ARROW_TYPES[field.type], self.rows)


def migrate(table: pa.Table, history: SchemaHistory, start: int, target: int) -> Migration:
    """Take a table's columns from one version to another; undoubted rows come out as the form for records has them."""
    columns, rows = dict(zip(table.column_names, table.columns, strict=True)), table.num_rows
    work = Migration(columns, rows)
    for declared in history.schema(start):
        column = columns.get(declared.name)
        if column is None or (not is_readable(column.type, declared) and column.null_count < rows):
            work.doubt(np.ones(rows, bool))
        if column is None or not is_readable(column.type, declared):
            columns[declared.name] = work.nulls(declared)
    for later in _met_on_the_way(history, start, target):
        if (column := columns.get(later.name)) is not None:
            work.doubt(suspects(later, column))
            if not is_readable(column.type, later):
                columns[later.name] = work.nulls(later)
    effects = FORWARD if start < target else BACKWARD
    for step in history.steps(start, target):
        effects[type(step.operation)](work, step)
    if needs_recheck(history, start, target):
        for declared in history.schema(target):
            work.doubt(suspects(declared, columns[declared.name]))
    return work


@cache
def _met_on_the_way(history: SchemaHistory, start: int, target: int) -> tuple[Field, ...]:
    """The fields of other versions that a row may carry, filled, before a step comes upon them."""
    met: dict[str, Field] = {}
    for step in history.steps(start, target):
        for other in step.after if start < target else step.before:
            if other.name not in history.schema(start):
                met.setdefault(other.name, replace(other, nullable=True))
    return tuple(met.values())


# ── What several operations share ────────────────────────────────────────────────────────────────────────────────


def _fill(work: Migration, into: Field, source: Column) -> None:
    """Put `source` where the field is absent or null; keep what is filled."""
    column = work.columns.get(into.name)
    if column is None or column.null_count == work.rows:
        work.columns[into.name] = source
        return
    work.kept.append((into.name, filled(column)))
    if column.null_count:
        work.columns[into.name] = pc.coalesce(*alike(column, source, into))


def _remove(work: Migration, gone: Field, restored: Column) -> None:
    """Take a field away; its values, also nulls, are lost where they differ from what the opposite way would put there."""
    column = work.columns.pop(gone.name)
    if not column.null_count == restored.null_count == work.rows:
        work.lost.append((gone.name, distinct(*alike(column, restored, gone))))


def _give(work: Migration, into: Field, column: Column, source: str) -> None:
    """Put a column, taken from the field `source`, where the field is absent or null; where it differs, it is lost."""
    there = work.columns.get(into.name)
    if there is not None and there.null_count < work.rows:
        differ = distinct(*alike(column, there, into))
        work.lost.append((source, differ & filled(column) & filled(there)))
    _fill(work, into, column)


# ── Conversions: a column, and the rows for which it may not be exact ────────────────────────────────────────────


def _integer_to_float(column: Column) -> tuple[Column, Mask | None]:
    beyond = pc.or_(pc.greater(column, 2**53), pc.less(column, -(2**53)))
    return column.cast(pa.float64(), safe=False), beyond.fill_null(False).to_numpy()


def _float_to_integer(column: Column) -> tuple[Column, Mask | None]:
    in_range = pc.and_(pc.greater_equal(column, -(2.0**63)), pc.less(column, 2.0**63))
    whole = pc.and_(in_range, pc.equal(pc.floor(column), column))
    exact = pc.if_else(whole, column, pa.scalar(None, column.type))
    return exact.cast(pa.int64()), pc.invert(whole).fill_null(False).to_numpy()


def _integer_to_string(column: Column) -> tuple[Column, Mask | None]:
    return column.cast(pa.string()), None


def _string_to_integer(column: Column) -> tuple[Column, Mask | None]:
    fits = pc.match_substring_regex(column, r"^(0|-?[1-9][0-9]{0,17})$")
    exact = pc.if_else(fits, column, pa.scalar(None, column.type))
    return exact.cast(pa.int64()), pc.invert(fits).fill_null(False).to_numpy()


def _to_date_time(column: Column) -> tuple[Column, Mask | None]:
    dates = pc.equal(pc.binary_length(column), len("0000-00-00"))
    midnight, nothing = (pa.scalar(text, column.type) for text in ("T00:00:00", ""))
    return pc.if_else(dates, pc.binary_join_element_wise(column, midnight, nothing), column), None


_CONVERSIONS: Final[dict[tuple[str, str], Callable[[Column], tuple[Column, Mask | None]]]] = {
    ("integer", "float"): _integer_to_float,
    ("float", "integer"): _float_to_integer,
    ("integer", "string"): _integer_to_string,
    ("string", "integer"): _string_to_integer,
    ("timestamp", "timestamp"): _to_date_time,
}


def _convert(work: Migration, name: str, pair: tuple[str, str]) -> None:
    column = work.columns[name]
    if pair != ("timestamp", "timestamp") or not pa.types.is_timestamp(column.type):
        work.columns[name], inexact = _CONVERSIONS[pair](plain(column))
        work.doubt(inexact)


# ── The operations ───────────────────────────────────────────────────────────────────────────────────────────────


def _source(work: Migration, step: Step) -> Column:
    operation = step.operation
    if operation.copy_from is not None:
        return work.columns[operation.copy_from]
    return constant(step.after[operation.name].default, ARROW_TYPES[operation.type], work.rows)


def _add(work: Migration, step: Step) -> None:
    _fill(work, step.after[step.operation.name], _source(work, step))


def _unadd(work: Migration, step: Step) -> None:
    _remove(work, step.after[step.operation.name], _source(work, step))


def _restored(work: Migration, step: Step) -> tuple[Field, Column]:
    dropped = step.operation.restored(step.before)
    return dropped, constant(dropped.default, ARROW_TYPES[dropped.type], work.rows)


def _drop(work: Migration, step: Step) -> None:
    _remove(work, *_restored(work, step))


def _undrop(work: Migration, step: Step) -> None:
    _fill(work, *_restored(work, step))


def _rename(work: Migration, step: Step) -> None:
    old, new = step.operation.name, step.operation.to
    _give(work, step.after[new], work.columns.pop(old), old)


def _unrename(work: Migration, step: Step) -> None:
    old, new = step.operation.name, step.operation.to
    _give(work, step.before[old], work.columns.pop(new), new)


def _convert_forward(work: Migration, step: Step) -> None:
    _convert(work, step.operation.name, (step.before[step.operation.name].type, step.operation.to))


def _convert_backward(work: Migration, step: Step) -> None:
    old, new = step.before[step.operation.name].type, step.operation.to
    if old != "timestamp":  # a field that takes dates takes date-times as well
        _convert(work, step.operation.name, (new, old))


def _split(work: Migration, step: Step) -> None:
    name, separator = step.operation.name, step.operation.separator
    column = plain(work.columns.pop(name))
    has_one = pc.match_substring(column, separator)
    work.doubt(pc.invert(has_one).fill_null(False).to_numpy())
    divisible = pc.if_else(has_one.fill_null(False), column, pa.scalar(separator, column.type))
    halves = pc.list_flatten(
        pc.split_pattern(divisible, separator, max_splits=1)
    )  # two of each, as all have one
    for at, into in enumerate(step.operation.into):
        half = halves.take(pa.array(np.arange(at, 2 * work.rows, 2)))
        half = pc.if_else(pc.is_valid(column), half, pa.scalar(None, half.type))
        _give(work, step.after[into], half, name)


def _join(work: Migration, step: Step) -> None:
    first, second = step.operation.into
    a, b = (canonical(work.columns.pop(name), step.after[name]) for name in (first, second))
    work.doubt(filled(a) != filled(b))
    joined = pc.binary_join_element_wise(a, b, step.operation.separator)
    elsewhere = pc.less(pc.find_substring(joined, step.operation.separator), pc.binary_length(a))
    lost = elsewhere.fill_null(False).to_numpy()
    work.lost += [(first, lost), (second, lost)]
    _give(work, step.before[step.operation.name], joined, first)


Effect = Callable[[Migration, Any], None]
FORWARD: Final[dict[type[Operation], Effect]] = {
    AddField: _add,
    DropField: _drop,
    RenameField: _rename,
    ConvertField: _convert_forward,
    SplitField: _split,
}
BACKWARD: Final[dict[type[Operation], Effect]] = {
    AddField: _unadd,
    DropField: _undrop,
    RenameField: _unrename,
    ConvertField: _convert_backward,
    SplitField: _join,
}
