"""`DataVersionManager`: validates, upgrades and downgrades records of a history, one at a time or many together."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any, TypedDict

from lib.versioning.bulk import Batch, Report, Task, Way, process, process_one
from lib.versioning.history import SchemaHistory
from lib.versioning.records import Record, record_version, validator
from lib.versioning.schema import VERSION_KEY
from lib.versioning.sql import Phase, migration_script
from lib.versioning.users import USERS


class Verdict(TypedDict):
    """The result of `validate_schema`. `version` is 0 if the record's label can't be read."""

    valid: bool
    version: int
    errors: list[str]


class InvalidRecordError(ValueError):
    """A record is invalid, so it was not processed. `errors` holds every reason."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("; ".join(errors))
        self.errors = errors


class ChangeWarning(UserWarning):
    """A record lost a value, or kept one that the migration would have filled, and there was no `report` to record it."""


class DataVersionManager:
    """Handles the records of one history.

    Fields that a version does not declare stay unchanged. No method changes its input records.
    """

    def __init__(self, history: SchemaHistory = USERS) -> None:
        self.history = history

    # ── One record ───────────────────────────────────────────────────────────────────────────────────────────────

    def validate_schema(self, record: object, version: int | None = None) -> Verdict:
        """Return whether a record is valid at `version` (by default its own), and every error. It never raises."""
        own, problem = record_version(self.history, record)
        if version is not None and isinstance(record, dict):
            own, problem = record_version(self.history, {VERSION_KEY: version})
        errors = [problem] if problem else validator(self.history.schema(own))(record)
        return {"valid": not errors, "version": own, "errors": errors}

    def upgrade_data(self, record: Record, target_version: int, report: Report | None = None) -> Record:
        """Return a new record at `target_version`.

        Fields that are absent or None are filled; other values are kept, and reported in `report` or as a ChangeWarning.
        Raises UnknownVersionError, ValueError if the record is newer than the target, and InvalidRecordError.
        """
        return self._change(record, target_version, "upgrade", report)

    def downgrade_data(self, record: Record, target_version: int, report: Report | None = None) -> Record:
        """Return a new record at `target_version`, an earlier one.

        Values that an upgrade would not restore are lost, and reported in `report` or as a ChangeWarning.
        Raises UnknownVersionError, ValueError if the record is older than the target, and InvalidRecordError.
        """
        return self._change(record, target_version, "downgrade", report)

    def _change(self, record: Record, target: int, way: Way, report: Report | None) -> Record:
        task = Task(self.history, self.history.check_version(target), way)
        version = (
            self.history.check_version(record.get(VERSION_KEY, 1)) if isinstance(record, dict) else target
        )
        if task.beyond(version):
            side, remedy = (
                ("above", "use downgrade_data") if way == "upgrade" else ("below", "use upgrade_data")
            )
            raise ValueError(f"the record is at version {version}, {side} {target}: {remedy}")
        changes = Report(read=1, passed=1)
        _, errors, changed = process_one(task, record, changes)
        if errors:
            raise InvalidRecordError(errors)
        if report is not None:
            report += changes
        elif changes.kept or changes.lost:
            fields = [*(f"kept {name}" for name in changes.kept), *(f"lost {name}" for name in changes.lost)]
            warnings.warn(
                f"from version {version} to {target}: {', '.join(fields)}", ChangeWarning, stacklevel=3
            )
        return changed

    # ── Many records ─────────────────────────────────────────────────────────────────────────────────────────────

    def validate_many(self, records: Iterable[Any]) -> Batch:
        """Quarantine every record that is invalid at its own version; return the others unchanged."""
        return process(self.history, list(records), None, "upgrade")

    def upgrade_many(self, records: Iterable[Any], target_version: int) -> Batch:
        """Upgrade all records of any version; quarantine those that `upgrade_data` would refuse."""
        target = self.history.check_version(target_version)
        return process(self.history, list(records), target, "upgrade")

    def downgrade_many(self, records: Iterable[Any], target_version: int) -> Batch:
        """Downgrade all records of any version; quarantine those that `downgrade_data` would refuse."""
        target = self.history.check_version(target_version)
        return process(self.history, list(records), target, "downgrade")

    # ── SQL ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def create_migration_script(
        self, from_version: int, to_version: int, dialect: str = "postgresql", phase: Phase | None = None
    ) -> str:
        """Return SQL that takes the table of this history from one version to another: see `migration_script`."""
        return migration_script(self.history, from_version, to_version, dialect, phase)
