"""An operation that is declared here, of the expressions of `lib.versioning.expressions`, works in every form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pytest
from databases import ERRORS, Database, insert, make_table, rows, run

from lib.versioning import DataVersionManager, DeclarationError, Field, Report, Schema, SchemaHistory
from lib.versioning.compatibility import judge
from lib.versioning.expressions import Constant, Copy, Expression, convert, join, part
from lib.versioning.operations import Operation
from lib.versioning.sql import migration_script
from lib.versioning.tables import downgrade_table, upgrade_table


@dataclass(frozen=True)
class MergeFields(Operation):
    """Merge the field `name` and another one into a third; backward it is split at the first separator."""

    other: str
    into: str
    separator: str = " "

    def apply(self, before: Schema) -> Schema:
        nullable = before[self.name].nullable or before[self.other].nullable
        return before.replace(self.name, Field(self.into, "string", nullable)).replace(self.other)

    def forward(self, before: Schema) -> dict[str, Expression]:
        return {self.into: join(self.name, self.separator, self.other)}

    def backward(self, before: Schema) -> dict[str, Expression]:
        return {name: part(self.into, self.separator, n) for n, name in enumerate((self.name, self.other))}


NAMES = [Field(name, "string", nullable=True) for name in ("first", "last")]
MERGE = MergeFields("first", "last", into="full")
PEOPLE = SchemaHistory("people", first=Schema(Field("id", "integer"), *NAMES), steps={2: [MERGE]})
MANAGER = DataVersionManager(PEOPLE)
SEPARATE = [
    {"id": 1, "first": "Ana", "last": "López Gil"},
    {"id": 2, "first": None, "last": None},
    {"id": 3, "first": "Ana Sol", "last": "Gil"},  # split again, this is another pair
]
MERGED = [{"id": 1, "full": "Ana López Gil"}, {"id": 2, "full": None}, {"id": 3, "full": "Ana Sol Gil"}]
SPLIT_AGAIN = [*SEPARATE[:2], {"id": 3, "first": "Ana", "last": "Sol Gil"}]
HALF = {"id": 4, "first": "Cher", "last": None}
REASON = "first: cannot be joined with last, because only one of them is null"


def at(version: int, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [record | {"schema_version": version} for record in records]


def test_as_records() -> None:
    up = MANAGER.upgrade_many([*SEPARATE, HALF], 2)
    assert up.records == at(2, MERGED)
    assert [entry["errors"] for entry in up.quarantined] == [[f"{REASON} (got string 'Cher' and null)"]]
    assert up.report.lost == {"first": 1, "last": 1}
    down = MANAGER.downgrade_many(up.records, 1)
    assert down.records == at(1, SPLIT_AGAIN)
    assert down.report.lost == {}, "joined again, the halves give the whole"
    report = Report()
    assert MANAGER.upgrade_data({**SEPARATE[0], "full": "A L"}, 2, report)["full"] == "A L"
    assert (report.kept, report.lost["first"]) == ({"full": 1}, 1)


def test_as_tables() -> None:
    up = upgrade_table(pa.Table.from_pylist([*SEPARATE, HALF]), 2, PEOPLE)
    assert up.table.to_pylist() == MERGED
    assert up.report == MANAGER.upgrade_many([*SEPARATE, HALF], 2).report
    down = downgrade_table(up.table, 1, PEOPLE)
    assert down.table.to_pylist() == SPLIT_AGAIN
    assert down.report.lost == {}


def test_as_sql(live: Database) -> None:
    dialect, connection = live.dialect, live.connection
    make_table(connection, dialect, "people", PEOPLE.schema(1), key="id")
    insert(connection, "people", [*SEPARATE, HALF])
    with pytest.raises(ERRORS, match=rf"people\.{REASON} \(rows: 1\)"):
        run(connection, migration_script(PEOPLE, 1, 2, dialect))
    connection.execute("DELETE FROM people WHERE id = 4")
    for start, end, expected in ((1, 2, MERGED), (2, 1, SPLIT_AGAIN)):
        for phase in ("expand", "backfill", "contract"):
            run(connection, migration_script(PEOPLE, start, end, dialect, phase))
        assert rows(connection, "people", PEOPLE.schema(end).names, "ORDER BY id") == expected


def test_as_verdicts() -> None:
    up, down = judge(PEOPLE, 1, 2), judge(PEOPLE, 2, 1)
    assert not up.compatible and not down.compatible, "the whole and its parts have different names"
    assert up.may_fail == (REASON,)
    assert down.may_fail == ("full: no separator to split at",)


# ── Expressions are over the fields before, also where one of them is replaced ───────────────────────────────────


class Rearrange(Operation):
    """Make a number of a text that is kept, and split another at two separators."""

    def apply(self, before: Schema) -> Schema:
        texts = [Field(name, "string") for name in ("raw", "x", "y")]
        return before.replace("n", Field("n", "integer"), *texts)

    def forward(self, before: Schema) -> dict[str, Expression]:
        moved: dict[str, Expression] = {"n": convert("n", ("string", "integer")), "raw": Copy("n")}
        return moved | {"x": part("t", "-", 0), "y": part("t", "/", 0)}

    def backward(self, before: Schema) -> dict[str, Expression]:
        return {"n": convert("n", ("integer", "string"))}


class Swap(Rearrange):
    """Swap two fields."""

    def apply(self, before: Schema) -> Schema:
        return before

    def forward(self, before: Schema) -> dict[str, Expression]:
        return {"n": Copy("t"), "t": Copy("n")}

    backward = forward


THING = {"id": 1, "n": "7", "t": "p-q/r"}
THINGS = [THING, THING | {"id": 2, "t": "p-q"}, THING | {"id": 3, "t": "q/r"}]
FIRST = Schema(Field("id", "integer"), Field("n", "string"), Field("t", "string"))


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (Rearrange("n"), {"id": 1, "n": 7, "raw": "7", "x": "p", "y": "p-q", "t": "p-q/r"}),
        (Swap("n"), {"id": 1, "n": "p-q/r", "t": "7"}),
    ],
)
def test_what_is_replaced_is_read_before(operation: Operation, expected: dict[str, Any]) -> None:
    history = SchemaHistory("things", first=FIRST, steps={2: [operation]})
    manager, table = DataVersionManager(history), pa.Table.from_pylist(THINGS)
    up = upgrade_table(table, 2, history)
    assert up.table.to_pylist()[0] == expected
    assert manager.upgrade_data(THING, 2) == expected | {"schema_version": 2}
    many = manager.upgrade_many(THINGS, 2)
    assert (many.records, many.report) == (at(2, up.table.to_pylist()), up.report)
    down = manager.downgrade_many(many.records, 1)
    assert down.records == at(1, downgrade_table(up.table, 1, history).table.to_pylist())
    assert (down.records[0], down.report.lost) == (THING | {"schema_version": 1}, {})


def test_sql_reads_what_is_replaced_before_and_finds_each_failure(live: Database) -> None:
    dialect, connection = live.dialect, live.connection
    history = SchemaHistory("things", first=FIRST, steps={2: [Rearrange("n")]})
    script = migration_script(history, 1, 2, dialect)
    make_table(connection, dialect, "things", history.schema(1), key="id")
    insert(connection, "things", THINGS)
    for bad in (2, 3):
        with pytest.raises(ERRORS, match=r"things\.t: no separator to split at"):
            run(connection, script)
        connection.execute(f"DELETE FROM things WHERE id = {bad}")
    run(connection, script)
    run(connection, migration_script(history, 1, 2, dialect, "contract"))
    found = rows(connection, "things", history.schema(2).names)
    assert at(2, found) == DataVersionManager(history).upgrade_many(THINGS, 2).records


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "nothing fills full"),
        ({"full": Copy("id")}, "full can't be a copy of id: type, length or nullability differ"),
        ({"full": Constant(1, "integer")}, "full can't be integer 1: type"),
        ({"full": Copy("middle")}, "there is no field 'middle' here"),
    ],
)
def test_an_effect_that_does_not_fit_is_refused_when_declared(values: Any, words: str) -> None:
    class Broken(MergeFields):
        def forward(self, before: Schema) -> dict[str, Expression]:
            return values

    with pytest.raises(DeclarationError, match=words):
        SchemaHistory("people", first=PEOPLE.schema(1), steps={2: [Broken("first", "last", "full")]})
