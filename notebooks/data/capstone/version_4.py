"""Version 4 of users, in the phase expand: the file that release v4.0.0 adds to `lib/versioning`, as it was reviewed and merged.

Stages 2 to 4 of lesson 11 start from it, so that an error in stage 1 costs nothing later. Do stage 1 before you read on.
"""

from __future__ import annotations

from typing import Any, Final

from lib.versioning.history import SchemaHistory
from lib.versioning.operations import RenameField, SplitField
from lib.versioning.users import USERS as BEFORE

USERS: Final = SchemaHistory(
    BEFORE.name,
    first=BEFORE.schema(1),
    steps={v: [step.operation for step in BEFORE.steps(v - 1, v)] for v in BEFORE.versions[1:]}
    | {4: [RenameField("name", "full_name"), SplitField("phone", ("phone_country", "phone_number"), " ")]},
)


def in_all_forms(user: dict[str, Any]) -> dict[str, Any]:
    """A user in both forms: what is absent in one is filled from the other.

    Raises ValueError, with a list of reasons, where a phone can't be split or joined, or the forms contradict each other.
    """
    both = dict(user)
    if "name" in both:
        both.setdefault("full_name", both["name"])
    elif "full_name" in both:
        both["name"] = both["full_name"]
    if "phone" in both:
        country, number = _split(both["phone"])
        both.setdefault("phone_country", country)
        both.setdefault("phone_number", number)
    elif "phone_country" in both or "phone_number" in both:
        both["phone"] = _join(both.get("phone_country"), both.get("phone_number"))
    if both.get("name") != both.get("full_name"):
        raise ValueError(["name and full_name contradict each other"])
    if "phone" in both and (both["phone_country"], both["phone_number"]) != _split(both["phone"]):
        raise ValueError(["phone contradicts phone_country and phone_number"])
    return both


def _split(phone: str | None) -> tuple[str | None, str | None]:
    if phone is None:
        return None, None
    country, separator, number = phone.partition(" ") if isinstance(phone, str) else ("", "", "")
    if not separator:
        raise ValueError([f"phone: no separator to split at (got {phone!r})"])
    return country, number


def _join(country: str | None, number: str | None) -> str | None:
    if (country is None) != (number is None):
        raise ValueError(["phone_country and phone_number: one is null, the other is not"])
    return None if country is None else f"{country} {number}"
