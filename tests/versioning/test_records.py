"""The generated functions for single records do what the rules say, and nothing to the record they are given."""

from __future__ import annotations

import copy
from typing import Any

import oracle
import strategies
from hypothesis import event, given, settings
from hypothesis import strategies as st

from lib.versioning import USERS, AddField, Field, Schema, SchemaHistory, records
from lib.versioning.schema import MISSING

Record = dict[str, Any]
ANA = {"id": "1", "name": "Ana", "created_at": "2024-01-01"}


@given(st.data())
def test_validation_finds_every_error_and_no_other(data: st.DataObject) -> None:
    history = data.draw(strategies.histories(max_version=3))
    broken = strategies.broken_records(history).filter(lambda record: isinstance(record, dict))
    version = data.draw(st.sampled_from(history.versions))
    record = data.draw(broken | strategies.records(history, version, extra=True))
    before = copy.deepcopy(record)
    for version in history.versions:
        schema = history.schema(version)
        errors = records.validator(schema)(record)
        assert {error.partition(":")[0] for error in errors} == oracle.wrong_fields(schema, record)
        problems = [(field.name, field.problem(record.get(field.name, MISSING))) for field in schema]
        assert errors == [f"{name}: {problem}" for name, problem in problems if problem], "one each, in order"
    assert repr(record) == repr(before)


def migrate(history: SchemaHistory, record: Record, target: int) -> oracle.Migrated | None:
    """What the generated functions make of a valid record; None if it can't be migrated."""
    version, _ = records.record_version(history, record)
    migrated = records.migrate_record(history, record, version, target)
    assert all(type(text) is str for text in migrated.failed)
    return None if migrated.failed else oracle.Migrated(migrated.record, migrated.kept, migrated.lost)


def spelled(done: oracle.Migrated) -> list[list[tuple[str, str]]]:
    return [sorted((n, repr(v)) for n, v in notes) for notes in (done.record.items(), done.kept, done.lost)]


@settings(max_examples=150)
@given(st.data())
def test_migration_does_what_the_rules_written_out_do(data: st.DataObject) -> None:
    history = data.draw(strategies.histories())
    version, target = (data.draw(st.sampled_from(history.versions)) for _ in range(2))
    record = data.draw(strategies.records(history, version, extra=True))
    if data.draw(st.booleans()):  # a field of another version, with whatever in it
        others = {name for other in history.versions for name in history.schema(other).names}
        name = data.draw(st.sampled_from(sorted(others)))
        if name not in history.schema(version):
            record[name] = data.draw(st.sampled_from([v for v in strategies._ODD if v is not MISSING]))
    before = copy.deepcopy(record)
    got = migrate(history, record, target)
    assert repr(record) == repr(before), "never changed"
    try:
        expected = oracle.migrate(history, record, target)
    except oracle.Failed:
        event("can't be migrated")
        assert got is None
        return
    assert got is not None
    assert spelled(got) == spelled(expected)


def test_a_result_is_a_new_dict_in_the_order_of_its_schema() -> None:
    record = {"name": "Ana", "created_at": "2024-01-01", "id": "1"}
    migrated = migrate(USERS, record, 3)
    assert migrated is not None
    assert list(migrated.record) == [*USERS.schema(3).names, "schema_version"]
    assert type(migrated.record) is dict
    same = migrate(USERS, migrated.record, 3)
    assert same is not None
    assert same.record == migrated.record
    assert same.record is not migrated.record


def test_histories_that_differ_only_in_what_they_fill_do_not_share_functions() -> None:
    def made(default: str) -> SchemaHistory:
        first, step = Schema(Field("id", "string")), AddField("a", "string", default=default)
        return SchemaHistory("things", first=first, steps={2: [step]})

    for history, value in [(made("x"), "x"), (made("y"), "y")]:
        migrated = migrate(history, {"id": "1"}, 2)
        assert migrated is not None
        assert migrated.record["a"] == value


def test_the_source_can_be_read() -> None:
    assert "# AddField updated_at" in records.migrator_source(USERS, 1, 3)
    for source in (records.migrator_source(USERS, 1, 3), records.validator_source(USERS.schema(3))):
        assert source.startswith("def ")
        assert max(map(len, source.splitlines())) < 130
