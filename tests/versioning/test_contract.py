"""What the course behind this project promised, and the defects of its original. (SQL: test_sql_agreement; row 6: test_bulk; 7: manager)"""

from __future__ import annotations

from typing import Any

import pytest

from lib.versioning import DataVersionManager, Report, UnknownVersionError
from lib.versioning import __main__ as command_line
from lib.versioning.users import USERS

JUAN = {"id": "123", "name": "Juan Pérez", "created_at": "2024-01-01T10:00:00"}
JUAN_AT_2 = JUAN | {"schema_version": 2, "email": None, "updated_at": "2024-01-01T10:00:00"}
JUAN_AT_3 = JUAN_AT_2 | {"schema_version": 3, "phone": None}
NO_DATE = "not in the accepted form (got string 'no date'; write YYYY-MM-DD or YYYY-MM-DDThh:mm:ss)"


@pytest.fixture
def vm() -> DataVersionManager:
    return DataVersionManager()


# ── What was promised ────────────────────────────────────────────────────────────────────────────────────────────


def test_the_users_history_is_the_default(vm: DataVersionManager) -> None:
    assert vm.history is USERS
    assert {str(field) for field in USERS.schema(3)} == {
        "id string", "name string(255)", "created_at timestamp", "email string(255), nullable", "updated_at timestamp",
        "phone string(50), nullable",
    }  # fmt: skip
    assert [USERS.schema(version).names for version in (1, 2)] == [USERS.schema(3).names[:n] for n in (3, 5)]


@pytest.mark.parametrize(
    ("record", "version", "found", "errors"),
    [
        (JUAN, None, 1, []),
        (JUAN | {"created_at": "2024-01-01"}, None, 1, []),
        (JUAN | {"schema_version": 1}, None, 1, []),
        (JUAN_AT_3, None, 3, []),
        (JUAN_AT_3, 1, 1, []),
        (JUAN, 2, 2, ["email: missing", "updated_at: missing"]),
        (JUAN_AT_2 | {"schema_version": 3}, None, 3, ["phone: missing"]),
        (JUAN | {"created_at": "no date"}, None, 1, [f"created_at: {NO_DATE}"]),
        (JUAN | {"created_at": "2024-02-30"}, None, 1, ["created_at: no such calendar day (got string '2024-02-30')"]),
    ],
)  # fmt: skip
def test_validation(vm: DataVersionManager, record: Any, version: Any, found: int, errors: list[str]) -> None:
    """It takes the version of the record, or the one given."""
    verdict = {"valid": not errors, "version": found, "errors": errors}
    assert vm.validate_schema(record, version) == verdict


def test_upgrading_adds_the_fields_of_each_version(vm: DataVersionManager) -> None:
    assert vm.upgrade_data(JUAN, 2) == JUAN_AT_2
    assert vm.upgrade_data(JUAN, 3) == JUAN_AT_3
    assert vm.upgrade_data(JUAN_AT_2, 3) == JUAN_AT_3
    assert vm.upgrade_data(JUAN_AT_3, 3) == JUAN_AT_3


def test_the_command_prints_its_three_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.run(command_line.parser().parse_args([])) == 0
    lines = "Datos válidos: True\nDatos upgradeados a versión: 3\nDatos upgradeados válidos: True\n"
    assert capsys.readouterr() == (lines, "")


# ── The defects of the original, row by row ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("target", [99, 4, 0, -1])
def test_row_2_an_unknown_target_is_refused(vm: DataVersionManager, target: int) -> None:
    with pytest.raises(UnknownVersionError, match=rf"users: .*{target}; known: 1, 2, 3"):
        vm.upgrade_data(JUAN, target)


def test_row_3_a_target_below_the_record_is_refused_and_the_way_back_named(vm: DataVersionManager) -> None:
    with pytest.raises(ValueError, match=r"version 3.*above 1.*downgrade_data"):
        vm.upgrade_data(JUAN_AT_3, 1)
    with pytest.raises(ValueError, match=r"version 1.*below 2.*upgrade_data"):
        vm.downgrade_data(JUAN, 2)
    assert vm.downgrade_data(JUAN_AT_3, 1) == JUAN | {"schema_version": 1}


@pytest.mark.parametrize(
    ("name", "value"), [("email", "juan@example.org"), ("updated_at", "2025-05-05"), ("phone", "+34 600")]
)
def test_row_4_a_filled_later_field_is_kept(vm: DataVersionManager, name: str, value: str) -> None:
    ahead, report = JUAN | {"schema_version": 1, name: value}, Report()
    assert vm.upgrade_data(ahead, 3, report) == JUAN_AT_3 | {name: value}
    assert report.kept == {name: 1}


@pytest.mark.parametrize("label", ["1", True, 3.0, None, [1], "3", False, 1.0])
def test_row_5_a_version_is_an_exact_integer(vm: DataVersionManager, label: object) -> None:
    record = JUAN_AT_3 | {"schema_version": label}
    verdict = vm.validate_schema(record)
    assert (verdict["valid"], verdict["version"]) == (False, 0)
    assert verdict["errors"][0].startswith("schema_version: expected a version as an integer (got ")
    with pytest.raises(UnknownVersionError, match="expected a version as an integer"):
        vm.upgrade_data(record, 3)
    with pytest.raises(UnknownVersionError, match="expected a version as an integer"):
        vm.upgrade_data(JUAN, label)  # type: ignore[arg-type]


@pytest.mark.parametrize("version", [99, 0, "1", True, 2.0, None])
def test_row_9_validation_returns_the_same_three_keys_always(vm: DataVersionManager, version: object) -> None:
    for record in (JUAN, {}, None, [JUAN], "text", {"schema_version": version}, {1: 2}):
        verdict = vm.validate_schema(record, version)  # type: ignore[arg-type]
        assert list(verdict) == ["valid", "version", "errors"]
        assert type(verdict["valid"]) is bool
        assert type(verdict["version"]) is int
        assert verdict["valid"] == (verdict["errors"] == [])
        assert all(type(error) is str for error in verdict["errors"])
    [error] = vm.validate_schema(JUAN, 99)["errors"]
    assert error == "schema_version: unknown version (got integer 99; known: 1, 2, 3)"
