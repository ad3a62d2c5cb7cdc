"""The steps of a migration on the columns of a table: the form that the effects of operations have for Arrow.

Columns are shared where a field is copied or moved, and are constants where one is filled. What is computed is computed by the
same functions as for records, value by value. Where that gives no result, the row is doubted, and the caller leaves all rows to
the form for records, which knows the words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lib.versioning.columns import (
    ARROW_TYPES,
    alike,
    constant,
    distinct,
    filled,
    is_readable,
    row_values,
    suspects,
)
from lib.versioning.expressions import Computed, Constant, Copy, Expression
from lib.versioning.history import SchemaHistory
from lib.versioning.operations import Effect
from lib.versioning.records import later_fields, needs_recheck
from lib.versioning.schema import Field
from lib.versioning.timestamps import Mask

Column = pa.ChunkedArray


class DoubtfulRow(Exception):
    """A row for which only the form for records finds the right value, or the words."""


def _doubt(mask: Mask | None) -> None:
    if mask is not None and mask.any():
        raise DoubtfulRow


@dataclass
class TableMigration:
    """The columns of rows that are valid at one version, on their way to another; and what was kept and lost, in counts."""

    columns: dict[str, Column]
    rows: int
    kept: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)

    def is_null(self, column: Column) -> bool:
        """Tell whether a column holds nothing but nulls."""
        return column.null_count == self.rows


def migrate(table: pa.Table, history: SchemaHistory, start: int, target: int) -> TableMigration:
    """Take a table's columns from one version to another; all rows come out as the form for records has them.

    Raises DoubtfulRow if that can't be told of one: never for a table without rows.
    """
    work = TableMigration(dict(zip(table.column_names, table.columns, strict=True)), table.num_rows)
    for declared in history.schema(start):
        _open(work, declared, work.columns.get(declared.name))
    for name, later in later_fields(history, start, target).items():
        if (column := work.columns.get(name)) is not None:
            _open(work, later, column)
            _doubt(suspects(replace(later, nullable=True), column))
    for _, effect in history.effects(start, target):
        _apply(work, effect)
    if needs_recheck(history, start, target):
        for declared in history.schema(target):
            _doubt(suspects(declared, work.columns[declared.name]))
    return work


def _open(work: TableMigration, declared: Field, column: Column | None) -> None:
    """Put nulls of the right type where a field has none but nulls."""
    if column is None or not is_readable(column.type, declared):
        if work.rows and (column is None or not work.is_null(column)):
            raise DoubtfulRow
        work.columns[declared.name] = constant(None, ARROW_TYPES[declared.type], work.rows)


def _apply(work: TableMigration, effect: Effect) -> None:
    """Do to columns what one operation does."""
    old = {name: work.columns.pop(name) for name in effect.gone}
    before = work.columns | old
    new = {name: _evaluate(work, value, before) for name, value in effect.values.items()}
    for name, value in effect.may_fail.items():
        some_source = np.logical_or.reduce([filled(before[source]) for source in value.sources])
        _doubt(some_source & ~filled(new[name]))
    for name, column in new.items():
        if name in effect.before:
            work.columns[name] = column
        else:
            _fill(work, effect.after[name], column, effect.moved_from(name))
    for name, value in effect.lost.items():
        restored = _evaluate(work, value, work.columns | new)
        if not (work.is_null(old[name]) and work.is_null(restored)):
            work.lost[name] += np.count_nonzero(distinct(*alike(old[name], restored, effect.before[name])))


def _evaluate(work: TableMigration, value: Expression, columns: dict[str, Column]) -> Column:
    """The column that an expression gives, from those of its sources."""
    match value:
        case Copy():
            return columns[value.source]
        case Constant():
            return constant(value.value, ARROW_TYPES[value.kind], work.rows)
        case Computed():
            rows: Iterable[tuple[object, ...]] = zip(
                *(row_values(columns[source]) for source in value.sources), strict=True
            )
            results = [value.function(*row, *value.arguments) for row in rows]
            return pa.chunked_array([pa.array(results, ARROW_TYPES[value.kind])])


def _fill(work: TableMigration, into: Field, source: Column, moved_from: str | None) -> None:
    """Put `source` where a field is absent or null. Else it is kept; a moved value that differs from it is lost."""
    column = work.columns.get(into.name)
    if column is None or work.is_null(column):
        work.columns[into.name] = source
        return
    work.kept[into.name] += np.count_nonzero(filled(column))
    source, column = alike(source, column, into)
    if moved_from is not None:
        work.lost[moved_from] += np.count_nonzero(distinct(source, column) & filled(source) & filled(column))
    if column.null_count:
        work.columns[into.name] = pc.coalesce(column, source)
