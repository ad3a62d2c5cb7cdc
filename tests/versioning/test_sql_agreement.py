"""The record form is the truth: on random histories and random records, scripts run on real databases agree with it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from databases import ERRORS, columns, connect_sqlite, insert, make_table, moment, rows, run
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from strategies import histories, instant, records, values

from lib.stage.servers import Server
from lib.versioning import AddField, ConvertField, DataVersionManager, DropField, SchemaHistory, SplitField
from lib.versioning.bulk import Batch
from lib.versioning.dialects import SqlError
from lib.versioning.migrate import run_migration
from lib.versioning.plan import migration_plan
from lib.versioning.schema import VERSION_KEY, Field, Schema, to_utc
from lib.versioning.sql import migration_script

Row = dict[str, Any]
#: The key of each row, which no version declares: no script may touch it.
KEY = "row_number"

Database = tuple[str, Any]
Migration = tuple[SchemaHistory, int, int, list[Row]]


@pytest.fixture(scope="module")
def databases(postgres_server: Server) -> Iterator[list[Database]]:
    """The names of dialects, and connections that all examples share; they prepare nothing, as tables change their types."""
    server = psycopg.connect(postgres_server.dsn, autocommit=True, prepare_threshold=None)
    with connect_sqlite() as sqlite, server:
        yield [("sqlite", sqlite), ("postgresql", server)]


@pytest.fixture(scope="module")
def engines(databases: list[Database], postgres_server: Server) -> Iterator[list[Any]]:
    """What `run_migration` takes for each of the databases."""
    sqlite = sa.create_engine("sqlite://", creator=lambda: databases[0][1], poolclass=sa.StaticPool)
    server = sa.create_engine(postgres_server.url)
    yield [sqlite, server]
    server.dispose()


@st.composite
def migrations(draw: st.DrawFn, max_version: int = 4) -> Migration:
    """A history, two of its versions in either order, and records of the first."""
    name = draw(st.sampled_from(["things", "order", "User"]))
    history = draw(histories(max_version=max_version, portable=True, name=name))
    start, end = draw(st.permutations(history.versions).map(lambda versions: versions[:2]))
    found = draw(st.lists(records(history, start, portable=True), min_size=1, max_size=6))
    return history, start, end, [record | {VERSION_KEY: start} for record in found]


def hops(history: SchemaHistory, start: int, end: int) -> list[tuple[int, int]]:
    """One migration; or one for each version, where a name that is used again needs the contract in between."""
    step = 1 if start < end else -1
    each = [(version, version + step) for version in range(start, end, step)]
    try:
        migration_plan(history, start, end)
        return [(start, end)]
    except SqlError as error:
        assert "until that is dropped" in str(error)
    try:
        for hop in each:
            migration_plan(history, *hop)
    except SqlError:  # used again within one version
        assume(False)
    return each


def as_records(manager: DataVersionManager, found: list[Row], end: int) -> Batch:
    """What the record form makes of them."""
    upgrade = not found or found[0][VERSION_KEY] < end
    return (manager.upgrade_many if upgrade else manager.downgrade_many)(found, end)


def stored(schema: Schema, dialect: str, as_text: bool, found: list[Row]) -> list[Row]:
    """Records as rows, with a key."""
    typed = not as_text and dialect != "sqlite"
    times = {field.name for field in schema if field.type == "timestamp"} if typed else ()
    return [
        {KEY: number}
        | {n: to_utc(record[n]) if n in times and record[n] is not None else record[n] for n in schema.names}
        for number, record in enumerate(found)
    ]


def comparable(schema: Schema, row: Row) -> Row:
    """A row or a record with timestamps as instants."""
    times = {field.name for field in schema if field.type == "timestamp"}
    values = {name: row[name] for name in schema.names}
    return values | {n: instant(moment(values[n]).isoformat()) for n in times if values[n] is not None}


def table(database: Database, history: SchemaHistory, version: int, as_text: bool, found: list[Row]) -> None:
    dialect, connection = database
    connection.execute(f'DROP TABLE IF EXISTS "{history.name}"')
    schema = history.schema(version)
    make_table(connection, dialect, history.name, schema, text_timestamps=as_text, key=KEY)
    insert(connection, history.name, stored(schema, dialect, as_text, found))


def contents(database: Database, history: SchemaHistory) -> tuple[dict[str, str], list[Row]]:
    names = columns(database[1], history.name)
    return names, rows(database[1], history.name, names, f"ORDER BY {KEY}")


def refused(database: Database, script: str) -> bool:
    """Run a script that may fail."""
    try:
        run(database[1], script)
    except ERRORS:
        return True
    return False


MANY = settings(max_examples=25, suppress_health_check=list(HealthCheck))


@MANY
@given(migrations(), st.booleans())
def test_scripts_and_the_runner_agree_with_records(
    databases: list[Database], engines: list[Any], migration: Migration, as_text: bool
) -> None:
    history, start, end, found = migration
    manager, schema = DataVersionManager(history), history.schema(end)
    way = hops(history, start, end)
    expected = good = passing(manager, found, way)
    for _, version in way:
        expected = as_records(manager, expected, version).records
    for (database, engine), by_script in product(zip(databases, engines, strict=True), (True, False)):
        database[1].execute("DROP TABLE IF EXISTS schema_versions")
        table(database, history, start, as_text, good)
        for hop, phase in product(way, (None, "contract")):
            if by_script:
                run_thrice(database, history, migration_script(history, *hop, database[0], phase))
            else:
                gone = migration_plan(history, *hop).dropped
                run_migration(engine, history, *hop, phase=phase, key=KEY, batch_size=2, discard=gone)
        names, there = contents(database, history)
        assert set(names) == {KEY, *schema.names}
        assert [row[KEY] for row in there] == list(range(len(good)))
        assert [comparable(schema, row) for row in there] == [comparable(schema, row) for row in expected]


def passing(manager: DataVersionManager, found: list[Row], way: list[tuple[int, int]]) -> list[Row]:
    """The records that pass all the way."""
    aside = set()
    for at, record in enumerate(found):
        current = [record]
        for _, version in way:
            current = as_records(manager, current, version).records if current else []
        if not current:
            aside.add(at)
    assume(len(aside) < len(found))  # PostgreSQL refuses a constant that fits nowhere, rows or not
    return [record for at, record in enumerate(found) if at not in aside]


def rolled_back(dialect: str, script: str) -> str:
    """The script with its end undone; on PostgreSQL as one transaction, where it has several."""
    if dialect == "sqlite":
        return script.replace("\nCOMMIT;\n", "\nROLLBACK;\n")
    inside = script.replace("\nBEGIN;\n", "\n").replace("\nCOMMIT;\n", "\n")
    return f"BEGIN;\n{inside}\nROLLBACK;"


def run_thrice(database: Database, history: SchemaHistory, script: str) -> None:
    """Run a script rolled back, which changes nothing; then for good; and again, which changes nothing, refused or not."""
    before = contents(database, history)
    run(database[1], rolled_back(database[0], script))
    assert contents(database, history) == before
    run(database[1], script)
    before = contents(database, history)
    refused(database, script)
    assert contents(database, history) == before


@MANY
@given(migrations(), st.booleans())
def test_failures_are_those_of_records(
    databases: list[Database], migration: Migration, as_text: bool
) -> None:
    history, start, end, found = migration
    manager = DataVersionManager(history)
    assume(hops(history, start, end) == [(start, end)])
    assume(as_records(manager, found, end).quarantined)
    for database in databases:
        table(database, history, start, as_text, found)
        before = contents(database, history)
        assert refused(database, migration_script(history, start, end, database[0]))
        assert contents(database, history) == before
        run(database[1], migration_script(history, start, end, database[0], "expand"))
        before = contents(database, history)
        for phase in ("backfill", "contract"):
            assert refused(database, migration_script(history, start, end, database[0], phase))
            assert contents(database, history) == before


@MANY
@given(migrations(), st.booleans())
def test_the_runner_counts_the_losses_of_records(
    databases: list[Database], engines: list[Any], migration: Migration, as_text: bool
) -> None:
    history, start, end, found = migration
    assume(hops(history, start, end) == [(start, end)])
    manager = DataVersionManager(history)
    good = passing(manager, found, [(start, end)])
    gone, lost = migration_plan(history, start, end).dropped, as_records(manager, good, end).report.lost
    expected = {name: lost[name] for name in gone if lost[name]}  # a name used again keeps its column
    for database, engine in zip(databases, engines, strict=True):
        database[1].execute("DROP TABLE IF EXISTS schema_versions")
        table(database, history, start, as_text, good)
        run_migration(engine, history, start, end, key=KEY)
        result = run_migration(engine, history, start, end, phase="contract", key=KEY, discard=gone)
        assert (result[0].lost if result else {}) == expected


@st.composite
def half_finished(draw: st.DrawFn) -> Migration:
    """A history of one operation, and records of which some have new fields already, as from an application in between."""
    history = draw(histories(max_version=2, portable=True))
    assume(len(history.steps(1, 2)) == 1)
    start, end = draw(st.permutations([1, 2]))
    found = draw(st.lists(records(history, start, portable=True), min_size=1, max_size=6))
    new = [a.field for a in migration_plan(history, start, end).added if a.column == a.field.name]
    assume(new)
    for record in found:
        record[VERSION_KEY] = start
        for field in draw(st.lists(st.sampled_from(new), unique=True)):
            record[field.name] = draw(values(field, portable=True))
    return history, start, end, found


@MANY
@given(half_finished(), st.booleans())
def test_fills_are_kept_as_in_records(databases: list[Database], migration: Migration, as_text: bool) -> None:
    history, start, end, found = migration
    manager = DataVersionManager(history)
    good = passing(manager, found, [(start, end)])
    expected = as_records(manager, good, end).records
    schema = history.schema(end)
    for dialect, connection in databases:
        mark = "?" if dialect == "sqlite" else "%s"
        table((dialect, connection), history, start, as_text, good)
        run(connection, migration_script(history, start, end, dialect, "expand"))
        ahead = [name for name in schema.names if name not in history.schema(start)]
        # A new column is a TIMESTAMP even where the old ones are text, and PostgreSQL drops the offset of a text that is written to it.
        filled = stored(schema, dialect, False, [dict.fromkeys(ahead) | record for record in good])
        for row, name in product(filled, ahead):
            if row[name] is not None:
                update = f'UPDATE "{history.name}" SET "{name}" = {mark} WHERE {KEY} = {row[KEY]}'
                connection.execute(update, [row[name]])
        run(connection, migration_script(history, start, end, dialect, "backfill"))
        there = contents((dialect, connection), history)[1]
        assert [comparable(schema, row) for row in there] == [comparable(schema, row) for row in expected]


def test_what_is_made_of_a_default_is_filled_in_as_one(databases: list[Database], engines: list[Any]) -> None:
    steps = [
        AddField("n", "integer", default=7),
        ConvertField("n", "string"),
        AddField("m", "string", default="a b"),
        SplitField("m", ("x", "y"), " "),
        ConvertField("total", "string"),
        DropField("total", default="5"),
    ]
    history = SchemaHistory("things", first=Schema(Field("total", "integer")), steps={2: steps})
    found = [{"total": 3, VERSION_KEY: 1}]
    for database, engine in zip(databases, engines, strict=True):
        table(database, history, 1, False, found)
        expected = found
        for start, end in ((1, 2), (2, 1)):
            expected = as_records(DataVersionManager(history), expected, end).records
            for phase, gone in ((None, ()), ("contract", ("total", "n", "x", "y"))):
                run_migration(engine, history, start, end, phase=phase, key=KEY, discard=gone)
            schema, (_, there) = history.schema(end), contents(database, history)
            assert [comparable(schema, row) for row in there] == [comparable(schema, row) for row in expected]


def test_a_default_that_a_step_makes_too_long_is_refused(databases: list[Database]) -> None:
    steps = [ConvertField("n", "integer"), DropField("n", -1)]
    first = Schema(Field("n", "string", length=1), Field("m", "string"))
    history, row = SchemaHistory("things", first=first, steps={2: steps}), {"m": "a"}
    assert as_records(DataVersionManager(history), [row | {VERSION_KEY: 2}], 1).quarantined
    for database in databases:
        table(database, history, 2, False, [row])
        with pytest.raises(ERRORS, match="longer than 1 character|malformed JSON"):
            run(database[1], migration_script(history, 2, 1, database[0]))
