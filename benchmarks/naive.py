"""The unit of the benchmarks: the version manager that the course started from, rebuilt from the description of its behaviour.

It checks presence and types, one record at a time, and returns a result for each. It is not the slowest way to do it: it is
what most of us write first. `errors_with_timestamps` is the same with dates, and with None as an error, as people add them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

Record = dict[str, Any]

V1 = {"id": str, "name": str, "created_at": str}
V2 = {**V1, "email": str, "updated_at": str}
SCHEMAS = {1: V1, 2: V2, 3: {**V2, "phone": str}}


def validate_schema(record: Record, version: int | None = None) -> dict[str, Any]:
    """Presence and types of one record; None passes everywhere, as in the original."""
    version = version or record.get("schema_version", 1)
    if version not in SCHEMAS:
        return {"valid": False, "version": version, "error": f"unsupported version {version}"}
    errors = []
    for name, kind in SCHEMAS[version].items():
        if name not in record:
            errors.append(f"missing field: {name}")
        elif record[name] is not None and not isinstance(record[name], kind):
            errors.append(f"wrong type: {name}")
    return {"valid": not errors, "version": version, "errors": errors}


def errors_with_timestamps(record: Record) -> list[str]:
    """Presence, types and dates of one record: every error."""
    errors = []
    for name, kind in SCHEMAS[record.get("schema_version", 1)].items():
        value = record.get(name)
        if value is None:
            if name not in ("email", "phone"):
                errors.append(f"missing: {name}")
        elif not isinstance(value, kind):
            errors.append(f"wrong type: {name}")
        elif name in ("created_at", "updated_at"):
            try:
                datetime.fromisoformat(value)
            except ValueError:
                errors.append(f"no date: {name}")
    return errors


def upgrade_copying_once(record: Record, target: int = 3) -> Record:
    """Step by step on one copy."""
    new = dict(record)
    while (version := new.get("schema_version", 1)) < target:
        if version == 1:
            new["email"] = new.get("email")
            new["updated_at"] = new["created_at"]
        elif version == 2:
            new["phone"] = new.get("phone")
        new["schema_version"] = version + 1
    return new


def upgrade_copying_each_step(record: Record, target: int = 3) -> Record:
    """Step by step, each step a function of the record that returns a new one."""
    while (version := record.get("schema_version", 1)) < target:
        added = {"phone": record.get("phone")}
        if version == 1:
            added = {"email": record.get("email"), "updated_at": record["created_at"]}
        record = {**record, **added, "schema_version": version + 1}
    return record
