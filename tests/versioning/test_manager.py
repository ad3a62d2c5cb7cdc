"""`DataVersionManager`: the words of every outcome, and its own promises. (That many at once give the same: see test_bulk.)"""

from __future__ import annotations

import enum
from typing import Any

import pytest

from lib.versioning import ChangeWarning, DataVersionManager, Field, InvalidRecordError, Report, Schema
from lib.versioning.history import SchemaHistory
from lib.versioning.operations import AddField

Record = dict[str, Any]
ANA = {"id": "1", "name": "Ana", "created_at": "2024-01-01"}
ANA_AT_3 = ANA | {"email": None, "updated_at": "2024-01-01", "phone": None, "schema_version": 3}
#: One field of each type; the records of version 1 that follow differ from VALID in one of them.
TYPED = SchemaHistory(
    "typed",
    first=Schema(
        Field("s", "string", length=5), Field("i", "integer"), Field("f", "float"), Field("b", "boolean"),
        Field("t", "timestamp"), Field("o", "string", nullable=True),
    ),
    steps={2: [AddField("x", "string", default="-")]},
)  # fmt: skip
VALID = {"s": "a", "i": 1, "f": 1.0, "b": True, "t": "2024-01-01", "o": None}


class Number(enum.IntEnum):
    ONE = 1


def errors(vm: DataVersionManager, record: Any) -> list[str]:
    return vm.validate_schema(record)["errors"]


# ── Outcomes ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        # exact types; NaN is a valid float and an error elsewhere
        ("s", b"5", "expected string (got bytes)"),
        ("i", True, "expected integer (got boolean True)"),
        ("i", Number.ONE, "expected integer (got Number)"),
        ("f", 2**53 + 1, "no exact float (got integer 9007199254740993)"),
        ("f", 10**400, "no exact float (got integer of 1329 bits)"),
        ("f", "nan", "expected float (got string 'nan')"),
        ("t", 1704067200, "expected timestamp (got integer 1704067200)"),
        # None and nothing
        ("s", None, "null, but required"),
        ("o", ..., "missing"),
        # range, length, Unicode
        ("i", 2**63, "outside the 64-bit range (got integer of 64 bits)"),
        ("s", "🙂" * 6, "longer than 5 characters (got 6)"),
        ("o", "a\udc00", r"lone surrogate, which is not Unicode text (got string 'a\udc00')"),
    ],
)  # fmt: skip
def test_invalid(name: str, value: Any, reason: str) -> None:
    record = VALID | {name: value}
    if value is ...:
        del record[name]
    assert errors(DataVersionManager(TYPED), record) == [f"{name}: {reason}"]


# ── The single form ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("method", ["upgrade_data", "downgrade_data"])
@pytest.mark.parametrize("record", [None, {"id": None}, ANA | {"created_at": "x"}])
def test_an_invalid_record_is_refused_with_every_error(method: str, record: Any) -> None:
    vm = DataVersionManager()
    with pytest.raises(InvalidRecordError) as refused:
        getattr(vm, method)(record, 1)
    assert refused.value.errors == vm.validate_schema(record)["errors"]
    assert str(refused.value) == "; ".join(refused.value.errors)


def test_without_a_report_a_change_is_warned_of_where_the_caller_stands() -> None:
    vm = DataVersionManager()
    with pytest.warns(ChangeWarning) as warned:
        vm.upgrade_data(ANA | {"email": "x" * 200}, 3)
        vm.downgrade_data(ANA_AT_3 | {"phone": "600", "email": "a@b"}, 1)
    assert [warning.filename for warning in warned] == [__file__, __file__]
    kept, lost = (str(warning.message) for warning in warned)
    assert kept == "from version 1 to 3: kept email"
    assert lost == "from version 3 to 1: lost phone, lost email"


def test_a_report_gathers_what_happened_to_several_records() -> None:
    vm, report = DataVersionManager(), Report()
    vm.upgrade_data(ANA | {"email": "x"}, 3, report)
    vm.upgrade_data(ANA, 2, report)
    vm.downgrade_data(ANA_AT_3 | {"email": "x"}, 2, report)
    vm.downgrade_data(ANA_AT_3 | {"email": "x"}, 1, report)
    with pytest.raises(InvalidRecordError):
        vm.upgrade_data({}, 3, report)
    assert (report.read, report.passed, report.quarantined) == (4, 4, 0)
    assert (report.versions, report.kept, report.lost) == ({1: 2, 3: 2}, {"email": 1}, {"email": 1})
