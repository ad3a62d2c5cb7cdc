"""Many records at once: exactly what one at a time gives, in records, errors, quarantine and counts."""

from __future__ import annotations

import re
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import oracle
import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.versioning import (
    Batch,
    DataVersionManager,
    Field,
    InvalidRecordError,
    Report,
    Schema,
    SchemaHistory,
    UnknownVersionError,
    make_users,
    reason_of,
    suspects,
)
from lib.versioning.bulk import CHUNK
from lib.versioning.schema import MISSING

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
                side = "above" if way == "upgrade" else "below"
                assert f"version {verdict['version']}, {side} {target}" in str(error)
                errors = [
                    f"schema_version: {side} the target version (got {verdict['version']}, the target is {target})"
                ]
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


def spelled(record: Record) -> dict[Any, str]:
    """Values by their spelling, so that types must be the same, and NaN is itself."""
    return {name: repr(value) for name, value in record.items()}


def assert_same(bulk: Batch, single: Batch) -> None:
    assert list(map(spelled, bulk.records)) == list(map(spelled, single.records))
    assert list(map(spelled, bulk.quarantined)) == list(map(spelled, single.quarantined))
    assert bulk.report == single.report


@st.composite
def batches(draw: st.DrawFn, history: SchemaHistory) -> list[Any]:
    """Records of one version or of several, none, a few or all of them broken."""
    version = draw(st.sampled_from([None, *history.versions]))
    good = (
        st.sampled_from(history.versions).flatmap(lambda v: strategies.records(history, v, extra=True))
        if version is None
        else strategies.records(history, version, extra=draw(st.booleans()))
    )
    some = draw(st.lists(good, max_size=5))
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
    vm = DataVersionManager(history, data.draw(st.sampled_from(["keep", "drop", "forbid"])))
    for way in WAYS:
        assert_same(in_bulk(vm, records, way, target), one_by_one(vm, records, way, target))
    assert repr(records) == before, "never changed"


@pytest.mark.parametrize("kind", ["string", "integer", "float", "boolean", "timestamp"])
@pytest.mark.parametrize("nullable", [False, True])
@pytest.mark.parametrize("length", [None, 3])
def test_every_odd_value_is_found_beside_good_ones(kind: str, nullable: bool, length: int | None) -> None:
    field = Field("f", kind, nullable, length=length if kind == "string" else None)
    good = {"string": "é", "integer": 5, "float": 0.5, "boolean": True, "timestamp": "2024-01-01T10:00:00Z"}[
        kind
    ]
    vm = DataVersionManager(SchemaHistory("things", first=Schema(field)))
    for odd in strategies._ODD:
        record = {} if odd is MISSING else {"f": odd}
        for records in (
            [record],
            [{"f": good}, record, {"f": good}],
            [{"f": good}] * (CHUNK - 1) + [record] * 2,
        ):
            batch = vm.validate_many(records)
            wrong = 0 if odd is not MISSING and oracle.is_valid(field, odd) else records.count(record)
            assert len(batch.quarantined) == wrong, odd
            assert [entry["errors"] for entry in batch.quarantined] == [
                [f"f: {field.problem(odd)}"] for _ in range(wrong)
            ]


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
    assert (batch.report.read, batch.report.passed, batch.report.quarantined) == (
        count,
        count - len(bad),
        len(bad),
    )


def test_validated_records_come_back_as_they_are() -> None:
    records = [ANA, ANA | {"x": 1}]
    batch = DataVersionManager(extra="drop").validate_many(records)
    assert batch.records == records
    assert all(ours is theirs for ours, theirs in zip(batch.records, records, strict=True))
    assert batch.records is not records


def test_an_iterator_is_read_once() -> None:
    def some() -> Iterator[Record]:
        yield ANA
        yield ANA | {"id": 5}

    batch = DataVersionManager().upgrade_many(some(), 3)
    assert (len(batch.records), len(batch.quarantined)) == (1, 1)


@pytest.mark.parametrize("target", [0, 4, "3", True, None])
def test_an_unknown_target_is_refused(target: Any) -> None:
    for method in (DataVersionManager().upgrade_many, DataVersionManager().downgrade_many):
        with pytest.raises(UnknownVersionError, match=r"^users: "):
            method([ANA], target)


def test_reports_add_up() -> None:
    vm = DataVersionManager()
    users = list(make_users(600, seed=2, broken=0.3, ahead=0.3))
    whole = vm.upgrade_many(users, 3).report
    parts = Report()
    for start in range(0, 600, 100):
        parts += vm.upgrade_many(users[start : start + 100], 3).report
    assert parts == whole
    assert whole.read == whole.passed + whole.quarantined == 600
    assert sum(whole.kept.values()) > 0
    assert sum(whole.reasons.values()) == whole.quarantined


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("id: missing", "id: missing"),
        ("id: expected string (got integer 5)", "id: expected string"),
        ("id: expected string (got string ' (')", "id: expected string"),
        ("a: no separator to split at (the separator is ' (', got string '')", "a: no separator to split at"),
    ],
)
def test_a_reason_is_an_error_without_its_details(error: str, reason: str) -> None:
    assert reason_of(error) == reason


# ── Records that are odd in Python's way ─────────────────────────────────────────────────────────────────────────


class Contrary:
    """A value that can't be compared, as an array of NumPy or a column of pandas."""

    def __eq__(self, other: object) -> bool:
        raise TypeError("the truth value of this is ambiguous")

    __hash__ = None  # type: ignore[assignment]


def test_values_that_can_not_be_compared_are_only_wrong() -> None:
    records = [ANA, {"id": Contrary(), "name": Contrary(), "created_at": Contrary()}, ANA]
    vm = DataVersionManager()
    assert_same(in_bulk(vm, records, "validate", 1), one_by_one(vm, records, "validate", 1))
    later = [
        record | {"schema_version": 3, "email": Contrary(), "updated_at": "x", "phone": None}
        for record in records
    ]
    assert_same(in_bulk(vm, later, "downgrade", 1), one_by_one(vm, later, "downgrade", 1))


def test_a_dict_that_makes_its_values_up_is_not_changed_and_not_believed() -> None:
    made_up: Any = defaultdict(lambda: "2024-01-01", {"id": "1"})
    records = [made_up, ANA, made_up]
    for way in WAYS:
        batch = in_bulk(DataVersionManager(), records, way, 1)
        assert [entry["errors"] for entry in batch.quarantined] == [
            ["name: missing", "created_at: missing"]
        ] * 2
    assert dict(made_up) == {"id": "1"}


def test_other_kinds_of_dict_are_records_too() -> None:
    records: list[Any] = [OrderedDict(ANA), Counter(), defaultdict(int, ANA), ANA]
    batch = DataVersionManager().upgrade_many(records, 3)
    assert [entry["line"] for entry in batch.quarantined] == [2]
    assert batch.records == DataVersionManager().upgrade_many([ANA] * 3, 3).records


class Lenient(datetime):
    """A reader of ISO 8601 that takes all that the standard allows: the hour 24 (as Python 3.14 does), and leap seconds."""

    @classmethod
    def fromisoformat(cls, text: str) -> datetime:
        return datetime.fromisoformat(re.sub(r"T24(?=:00:00)", "T00", text.replace(":60", ":59")))


@pytest.mark.parametrize("time", ["T24:00:00", "T24:00:00Z", "T23:59:60", "T10:60:00Z", "T10:00:60.5+01:00"])
def test_what_a_lenient_python_reads_is_no_timestamp(time: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suspects, "datetime", Lenient)
    users = [ANA, ANA | {"created_at": "2024-02-29" + time}, ANA]
    assert [entry["line"] for entry in DataVersionManager().upgrade_many(users, 3).quarantined] == [2]
