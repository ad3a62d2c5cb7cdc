"""Many records at once: exactly what one at a time gives, in records, errors, quarantine and counts."""

from __future__ import annotations

import io
import json
from collections import Counter, OrderedDict, defaultdict
from datetime import datetime
from typing import Any

import oracle
import pyarrow as pa
import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.versioning import Batch, DataVersionManager, InvalidRecordError, Report, reason_of, suspects
from lib.versioning.bulk import CHUNK
from lib.versioning.files import migrate_file
from lib.versioning.history import SchemaHistory, UnknownVersionError
from lib.versioning.operations import AddField, ConvertField, DropField, RenameField
from lib.versioning.schema import MISSING, Field, Schema, is_unicode
from lib.versioning.tables import upgrade_table
from lib.versioning.users import make_users

Record = dict[str, Any]
ANA = {"id": "1", "name": "Ana", "created_at": "2024-01-01"}
WAYS = ("validate", "upgrade", "downgrade")


def in_bulk(vm: DataVersionManager, records: Any, way: str, target: int) -> Batch:
    if way == "validate":
        return vm.validate_many(records)
    return (vm.upgrade_many if way == "upgrade" else vm.downgrade_many)(records, target)


def one_by_one(vm: DataVersionManager, records: list[Any], way: str, target: int) -> Batch:
    """The same by the methods for single records."""
    whole = Batch([], [], report := Report())
    for line, record in enumerate(records, start=1):
        verdict = vm.validate_schema(record)
        errors = verdict["errors"]
        if not errors and way != "validate":
            method = vm.upgrade_data if way == "upgrade" else vm.downgrade_data
            try:
                passed = method(record, target, counts := Report())
                report.kept.update(counts.kept)
                report.lost.update(counts.lost)
            except InvalidRecordError as error:
                errors = error.errors
            except ValueError as error:
                side, version = "above" if way == "upgrade" else "below", verdict["version"]
                assert f"version {version}, {side} {target}" in str(error)
                reason = f"schema_version: {side} the target version"
                errors = [f"{reason} (got {version}, the target is {target})"]
        else:
            passed = record
        if errors:
            entry = {"line": line, "version": verdict["version"], "errors": errors, "raw": record}
            whole.quarantined.append(entry)  # type: ignore[arg-type]
            report.reasons.update(map(reason_of, errors))
        else:
            whole.records.append(passed)
        if verdict["version"] in vm.history.versions:
            report.versions[verdict["version"]] += 1
    report.read, report.passed, report.quarantined = len(records), len(whole.records), len(whole.quarantined)
    return whole


def spelled(record: Record) -> list[tuple[Any, str]]:
    """Keys in their order, and values by their spelling: types must be the same, and NaN is itself."""
    return [(name, repr(value)) for name, value in record.items()]


def assert_same(bulk: Batch, single: Batch) -> None:
    assert list(map(spelled, bulk.records)) == list(map(spelled, single.records))
    assert list(map(spelled, bulk.quarantined)) == list(map(spelled, single.quarantined))
    assert bulk.report == single.report


@st.composite
def batches(draw: st.DrawFn, history: SchemaHistory) -> list[Any]:
    """Records of one version or of several, none, a few or all of them broken."""
    one, extra = draw(st.sampled_from(history.versions)), draw(st.booleans())
    versions = st.sampled_from(history.versions) if draw(st.booleans()) else st.just(one)
    some = [draw(strategies.records(history, v, extra=extra)) for v in draw(st.lists(versions, max_size=5))]
    if draw(st.booleans()):
        some += draw(st.lists(strategies.broken_records(history), min_size=1, max_size=3))
    return draw(st.permutations(some)) if len(some) > 1 else some


@settings(max_examples=100)
@given(st.data())
def test_bulk_and_single_form_agree(data: st.DataObject) -> None:
    history = data.draw(strategies.histories(max_version=4))
    records = data.draw(batches(history))
    target = data.draw(st.sampled_from(history.versions))
    before = repr(records)
    vm = DataVersionManager(history)
    for way in WAYS:
        assert_same(in_bulk(vm, records, way, target), one_by_one(vm, records, way, target))
    assert repr(records) == before, "never changed"


@pytest.mark.parametrize("kind", ["string", "integer", "float", "boolean", "timestamp"])
@pytest.mark.parametrize("nullable", [False, True])
@pytest.mark.parametrize("length", [None, 3])
def test_every_odd_value_is_found_beside_good_ones(kind: str, nullable: bool, length: int | None) -> None:
    field = Field("f", kind, nullable, length=length if kind == "string" else None)
    good = {"string": "é", "integer": 5, "float": 0.5, "boolean": True, "timestamp": "2024-01-01"}[kind]
    vm = DataVersionManager(SchemaHistory("things", first=Schema(field)))
    for odd in strategies._ODD:
        record = {} if odd is MISSING else {"f": odd}
        for records in ([{"f": good}, record, {"f": good}], [{"f": good}] * (CHUNK - 1) + [record] * 2):
            batch = vm.validate_many(records)
            wrong = 0 if odd is not MISSING and oracle.is_valid(field, odd) else records.count(record)
            errors = [[f"f: {field.problem(odd)}"]] * wrong
            assert [entry["errors"] for entry in batch.quarantined] == errors, odd


# ── Order, places and counts ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("count", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 1])
def test_records_keep_their_order_and_quarantined_ones_their_place(count: int) -> None:
    records: list[Any] = [ANA | {"id": str(number)} for number in range(count)]
    bad = sorted({at for at in (0, CHUNK - 1, CHUNK, 2 * CHUNK) if at < count})
    for at in bad:
        records[at] = {"id": at}
    batch = DataVersionManager().upgrade_many(records, 3)
    assert [entry["line"] for entry in batch.quarantined] == [at + 1 for at in bad]
    assert all(entry["raw"] is records[entry["line"] - 1] for entry in batch.quarantined)
    assert [record["id"] for record in batch.records] == [str(at) for at in range(count) if at not in bad]
    report = batch.report
    assert (report.read, report.passed, report.quarantined) == (count, count - len(bad), len(bad))


@pytest.mark.parametrize("target", [0, 4, "3", True, None])
def test_an_unknown_target_is_refused(target: Any) -> None:
    for way in WAYS[1:]:
        with pytest.raises(UnknownVersionError, match=r"^users: "):
            in_bulk(DataVersionManager(), [ANA], way, target)


def test_a_reason_is_an_error_without_its_details() -> None:
    for details in ("", " (got string ' (')", " (the separator is ' (', got string '')"):
        assert reason_of(f"id: expected string{details}") == "id: expected string"


# ── Records that are odd in Python's way ─────────────────────────────────────────────────────────────────────────


class Contrary:
    """A value that can't be compared, as an array of NumPy or a column of pandas."""

    def __eq__(self, other: object) -> bool:
        raise TypeError("the truth value of this is ambiguous")


def test_values_that_can_not_be_compared_are_only_wrong() -> None:
    records = [ANA, {"id": "\ud83d", "name": Contrary(), "created_at": Contrary()}, ANA]
    vm = DataVersionManager()
    assert_same(in_bulk(vm, records, "validate", 1), one_by_one(vm, records, "validate", 1))
    more = {"schema_version": 3, "email": Contrary(), "updated_at": "x", "phone": None}
    later = [record | more for record in records]
    assert_same(in_bulk(vm, later, "downgrade", 1), one_by_one(vm, later, "downgrade", 1))


def test_a_dict_that_makes_its_values_up_is_not_changed_and_not_believed() -> None:
    made_up: Any = defaultdict(lambda: "2024-01-01", {"id": "1"})
    records = [made_up, ANA, made_up]
    for way in WAYS:
        report = in_bulk(DataVersionManager(), records, way, 1).report
        assert report.reasons == {"name: missing": 2, "created_at: missing": 2}
    assert dict(made_up) == {"id": "1"}


def test_other_kinds_of_dict_are_records_too() -> None:
    records: list[Any] = [OrderedDict(ANA), Counter(), defaultdict(int, ANA), ANA]
    batch = DataVersionManager().upgrade_many(records, 3)
    assert [entry["line"] for entry in batch.quarantined] == [2]
    assert batch.records == DataVersionManager().upgrade_many([ANA] * 3, 3).records


class Lenient(datetime):
    """A reader that takes more than ISO 8601 allows: the hour 24 (as Python 3.14 does), leap seconds, digits in any place."""

    @classmethod
    def fromisoformat(cls, text: str) -> datetime:
        return datetime(2024, 2, 29)


@pytest.mark.parametrize(
    "text",
    ["2024-02-29T24:00:00", "2024-02-29T24:00:00Z", "2024-02-29T23:59:60", "2024-02-29T10:60:00Z", "20240-2-29",
     "2024-02-29T10:00:60.5+01:00", "2024-2-029T10:00:00", "2024-02-29\n2024-02-29", "\u0662024-02-29", "2024-02-29 10:00:00"],
)  # fmt: skip
def test_what_a_lenient_python_reads_is_no_timestamp(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suspects, "datetime", Lenient)
    users = [ANA, ANA | {"created_at": text}, ANA]
    assert [entry["line"] for entry in DataVersionManager().upgrade_many(users, 3).quarantined] == [2]


def test_twenty_thousand_messy_records_are_the_same_606_in_quarantine_in_every_form() -> None:
    users, vm = list(make_users(20_000, seed=1, broken=0.03)), DataVersionManager()
    expected = {at for at, user in enumerate(users, start=1) if not vm.validate_schema(user)["valid"]}
    assert len(expected) == 606
    assert {entry["line"] for entry in vm.upgrade_many(users, 3).quarantined} == expected
    source, aside = b"\n".join(json.dumps(user).encode() for user in users), io.BytesIO()
    migrate_file(vm, io.BytesIO(source), io.BytesIO(), aside, target=3)
    assert {json.loads(line)["line"] for line in aside.getvalue().splitlines()} == expected
    held = [at for at, user in enumerate(users, start=1) if fits_columns_of_strings(user)]
    table = pa.Table.from_pylist([users[at - 1] for at in held])
    lines = upgrade_table(table, 3).quarantined["line"].to_pylist()
    assert [held[line - 1] for line in lines] == sorted(expected.intersection(held))
    assert len(lines) > 300


def fits_columns_of_strings(record: Record) -> bool:
    """Can a table whose rows have no label hold it?"""
    values = [value for value in record.values() if value is not None]
    return "schema_version" not in record and all(type(v) is str and is_unicode(v) for v in values)


# ── Where forms could differ ─────────────────────────────────────────────────────────────────────────────────────

THERE_AND_BACK = SchemaHistory("t", first=Schema(Field("a", "string"), Field("b", "float"), Field("c", "integer")), steps={
    2: [RenameField("a", "x"), DropField("b", 0)],
    3: [AddField("b", "string", default="new"), RenameField("x", "a"), ConvertField("c", "float")]})  # fmt: skip


def test_a_field_that_goes_and_comes_back_stands_where_its_schema_has_it_in_both_forms() -> None:
    vm = DataVersionManager(THERE_AND_BACK)
    old = [{"c": 7, "b": 5, "a": "x"}, {"z": 1, "a": "y", "b": 0.5, "c": 8}]
    for records in (old[:1], old[1:], old * 2):
        up = in_bulk(vm, records, "upgrade", 3)
        assert_same(up, one_by_one(vm, records, "upgrade", 3))
        assert_same(in_bulk(vm, up.records, "downgrade", 1), one_by_one(vm, up.records, "downgrade", 1))
        orders = {tuple(record)[:4] for record in up.records}
        assert orders == {("a", "c", "b", "schema_version")}
