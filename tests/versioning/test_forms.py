"""Every form says the same of the same twenty thousand records: one at a time, many at once, as a file, as tables."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from datetime import datetime
from typing import Any

import pyarrow as pa
import pytest

from lib.versioning import DataVersionManager, InvalidRecordError, Report, make_users, suspects
from lib.versioning.files import migrate_file
from lib.versioning.tables import upgrade_table

USERS = list(make_users(20_000, seed=1, broken=0.03))
QUARANTINED = 606
MANAGER = DataVersionManager()


def is_refused(user: dict[str, Any]) -> bool:
    try:
        MANAGER.upgrade_data(user, 3, Report())
    except (InvalidRecordError, ValueError):
        return True
    return False


def arrow_column(values: list[Any]) -> pa.Array:
    """Text by its bytes, so that half a surrogate pair comes into a column as well, as from a careless writer."""
    if type(values[0]) is not str:
        return pa.array(values)
    return pa.array([value.encode("utf-8", "surrogatepass") for value in values]).view(pa.string())


def test_every_form_puts_the_same_records_aside() -> None:
    refused = [number for number, user in enumerate(USERS, start=1) if is_refused(user)]
    assert len(refused) == QUARANTINED
    many = MANAGER.upgrade_many(USERS, 3)
    assert [entry["line"] for entry in many.quarantined] == refused
    lines = io.BytesIO(b"".join(json.dumps(user).encode() + b"\n" for user in USERS))
    aside = io.BytesIO()
    migrate_file(MANAGER, lines, None, aside, target=3)
    assert [json.loads(line)["line"] for line in aside.getvalue().splitlines()] == refused


def test_tables_put_the_same_records_aside() -> None:
    by_types: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for user in USERS:  # a column has one type
        by_types.setdefault(tuple((name, type(value)) for name, value in user.items()), []).append(user)
    reasons: Counter[str] = Counter()
    for alike in by_types.values():
        table = pa.table({name: arrow_column([user[name] for user in alike]) for name in alike[0]})
        reasons += upgrade_table(table, 3).report.reasons
    assert reasons.total() == QUARANTINED
    expected = MANAGER.upgrade_many(USERS, 3).report.reasons
    # To Arrow such bytes are no text at all.
    expected["name: expected string"] += expected.pop("name: lone surrogate, which is no Unicode text")
    assert reasons == expected


class Lenient(datetime):
    """A reader of ISO 8601 that takes all that the standard allows: the hour 24 (as Python 3.14 does), and leap seconds."""

    @classmethod
    def fromisoformat(cls, text: str) -> datetime:
        return datetime.fromisoformat(re.sub(r"T24(?=:00:00)", "T00", text.replace(":60", ":59")))


@pytest.mark.parametrize("time", ["T24:00:00", "T24:00:00Z", "T23:59:60", "T10:60:00Z", "T10:00:60.5+01:00"])
def test_what_a_lenient_python_reads_is_no_timestamp(time: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suspects, "datetime", Lenient)
    good = {"id": "1", "name": "Ana", "created_at": "2024-02-29"}
    users = [good, good | {"created_at": "2024-02-29" + time}, good]
    assert [entry["line"] for entry in MANAGER.upgrade_many(users, 3).quarantined] == [2]
