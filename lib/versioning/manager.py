"""`DataVersionManager`: validates, upgrades and downgrades records of a history, one at a time or many at once."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable
from typing import Any, TypedDict

from lib.versioning.bulk import Batch, Report, count, process
from lib.versioning.history import SchemaHistory
from lib.versioning.records import Extra, Record, migrate_record, record_version, validator
from lib.versioning.schema import VERSION_KEY, describe
from lib.versioning.sql import Phase, migration_script
from lib.versioning.users import USERS


class Verdict(TypedDict):
    """What `validate_schema` returns. `version` is 0 where the record's own label can't be read."""

    valid: bool
    version: int
    errors: list[str]


class InvalidRecordError(ValueError):
    """A record is not valid, so nothing was done to it. `errors` holds every reason."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("; ".join(errors))
        self.errors = errors


class ChangeWarning(UserWarning):
    """A record lost a value, or kept one that the migration would have filled, and no `report` was given to tell so."""


class DataVersionManager:
    """Handles the records of one history.

    `extra` says what happens to fields that a version does not declare: "keep" leaves them, "drop" takes them away when
    a record is migrated, "forbid" makes the record invalid. No method changes a record that it is given.
    """

    def __init__(self, history: SchemaHistory = USERS, extra: Extra = "keep") -> None:
        if extra not in ("keep", "drop", "forbid"):
            raise ValueError(f"extra={extra!r}: choose 'keep', 'drop' or 'forbid'")
        self.history = history
        self.extra: Extra = extra

    # ── One record ───────────────────────────────────────────────────────────────────────────────────────────────

    def validate_schema(self, record: object, version: int | None = None) -> Verdict:
        """Return whether a record is valid at `version` (by default its own), and every error. It never raises."""
        own, problem = record_version(self.history, record)
        if version is not None and isinstance(record, dict):
            own, problem = record_version(self.history, {VERSION_KEY: version})
        errors = [problem] if problem else self._errors(record, own)
        return {"valid": not errors, "version": own, "errors": errors}

    def upgrade_data(self, record: Record, target_version: int, report: Report | None = None) -> Record:
        """Return a new record at `target_version`.

        Fields that are absent or None are filled; filled ones are kept, and reported in `report` or as a ChangeWarning.
        Raises UnknownVersionError, ValueError if the record is newer than the target, and InvalidRecordError.
        """
        return self._change(record, target_version, report, upward=True)

    def downgrade_data(self, record: Record, target_version: int, report: Report | None = None) -> Record:
        """Return a new record at `target_version`, an earlier one.

        Values that upgrading again would not restore are lost, and reported in `report` or as a ChangeWarning.
        Raises UnknownVersionError, ValueError if the record is older than the target, and InvalidRecordError.
        """
        return self._change(record, target_version, report, upward=False)

    def _change(self, record: Record, target: int, report: Report | None, *, upward: bool) -> Record:
        self.history.check_version(target)
        version, problem = record_version(self.history, record)
        if problem:
            if isinstance(record, dict):
                self.history.check_version(record.get(VERSION_KEY))
            raise InvalidRecordError([problem])
        if errors := self._errors(record, version):
            raise InvalidRecordError(errors)
        if upward and version > target:
            raise ValueError(f"the record is at version {version}, above {target}: downgrade_data goes back")
        if not upward and version < target:
            raise ValueError(f"the record is at version {version}, below {target}: upgrade_data goes forward")
        return self._migrate(record, version, target, report)

    def _errors(self, record: Any, version: int) -> list[str]:
        return validator(self.history.schema(version), self.extra)(record)

    def _migrate(self, record: Record, version: int, target: int, report: Report | None) -> Record:
        migrated, kept, lost, failed = migrate_record(self.history, record, version, target, self.extra)
        if failed:
            raise InvalidRecordError(failed)
        if report is not None:
            report += Report(1, 1, 0, Counter([version]), count(kept), count(lost))
        elif kept or lost:
            changes = [f"kept {name} ({describe(value)})" for name, value in kept]
            changes += [f"lost {name} ({describe(value)})" for name, value in lost]
            warnings.warn(
                f"from version {version} to {target}: {', '.join(changes)}", ChangeWarning, stacklevel=4
            )
        return migrated

    # ── Many records ─────────────────────────────────────────────────────────────────────────────────────────────

    def validate_many(self, records: Iterable[Any]) -> Batch:
        """Put aside every record that is not valid at its own version; the others come back as they are."""
        return process(self.history, self.extra, list(records), None, "upgrade")

    def upgrade_many(self, records: Iterable[Any], target_version: int) -> Batch:
        """Upgrade all records, of whatever version; put aside what `upgrade_data` would refuse."""
        target = self.history.check_version(target_version)
        return process(self.history, self.extra, list(records), target, "upgrade")

    def downgrade_many(self, records: Iterable[Any], target_version: int) -> Batch:
        """Downgrade all records, of whatever version; put aside what `downgrade_data` would refuse."""
        target = self.history.check_version(target_version)
        return process(self.history, self.extra, list(records), target, "downgrade")

    # ── SQL ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def create_migration_script(
        self, from_version: int, to_version: int, dialect: str = "postgresql", phase: Phase | None = None
    ) -> str:
        """Return SQL that takes the table of this history from one version to another: see `migration_script`."""
        return migration_script(self.history, from_version, to_version, dialect, phase)
