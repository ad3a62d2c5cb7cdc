"""The generator of user records: the same for the same seed, realistic, and broken in exactly the ways it names."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lib.versioning import USERS, DataVersionManager, UnknownVersionError, make_users, reason_of
from lib.versioning.users import BREAKS

VM = DataVersionManager()


@pytest.mark.parametrize("version", [1, 2, 3])
def test_records_are_valid_at_their_version(version: int) -> None:
    users = list(make_users(2_000, seed=1, version=version))
    batch = VM.validate_many(users)
    assert (batch.report.passed, batch.report.versions) == (2_000, {version: 2_000})
    declared = {*USERS.schema(version).names} | ({"schema_version"} if version > 1 else set())
    assert all(user.keys() == declared for user in users)
    assert len({user["id"] for user in users}) == 2_000
    assert VM.upgrade_many(users, 3).report.quarantined == 0


def test_the_same_arguments_give_the_same_records_and_others_give_others() -> None:
    def made(**changes: Any) -> str:
        return repr(list(make_users(**{"count": 50, "seed": 1, "broken": 0.2, "ahead": 0.2} | changes)))

    assert made() == made()
    others = [{"seed": 2}, {"version": 2}, {"broken": 0.5}, {"ahead": 0.5}, {"count": 51}]
    assert len({made(), *(made(**change) for change in others)}) == 6
    first = next(make_users(1, seed=1))
    assert first == {"id": "1", "name": first["name"], "created_at": first["created_at"]}


def test_a_stated_share_is_broken() -> None:
    for share, low, high in ((0, 0, 0), (0.1, 140, 260), (1, 2_000, 2_000)):
        report = VM.validate_many(make_users(2_000, seed=4, broken=share)).report
        assert low <= report.quarantined <= high


@pytest.mark.parametrize("version", [1, 2, 3])
def test_each_way_of_breaking_gives_one_error_and_they_take_turns(version: int) -> None:
    ways = list(BREAKS)
    users = list(make_users(2 * len(ways), seed=5, version=version, broken=1.0))
    reasons = []
    for number, user in enumerate(users):
        errors = VM.validate_schema(user)["errors"]
        assert len(errors) == 1
        named = ways[number % len(ways)].split()[0].replace("version", "schema_version")
        assert errors[0].startswith(f"{named}: ")
        reasons.append(reason_of(errors[0]))
    assert reasons[: len(ways)] == reasons[len(ways) :]
    assert len(ways) >= 10
    assert all(json.dumps(user) for user in users), "they can be written to a file"


def test_a_stated_share_of_version_1_is_ahead_of_its_time() -> None:
    report = VM.upgrade_many(make_users(5_000, seed=6, ahead=0.1), 3).report
    assert 400 < report.kept["email"] < 600
    assert report.quarantined == 0


@pytest.mark.parametrize("shares", [{"broken": -0.1}, {"ahead": 2}, {"broken": float("nan")}])
def test_shares_lie_between_0_and_1(shares: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="give shares from 0 to 1"):
        next(make_users(1, seed=1, **shares))


def test_an_unknown_version_is_refused() -> None:
    with pytest.raises(UnknownVersionError, match="known: 1, 2, 3"):
        next(make_users(1, seed=1, version=4))
