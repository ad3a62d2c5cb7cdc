"""The running example: user records in three versions, and a seeded generator of realistic records, some of them broken."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import cycle
from typing import Any, Final

from lib.versioning.history import SchemaHistory
from lib.versioning.operations import AddField
from lib.versioning.schema import MISSING, VERSION_KEY, Field, Schema

USERS: Final = SchemaHistory(
    "users",
    first=Schema(
        Field("id", "string"),
        Field("name", "string", length=255),
        Field("created_at", "timestamp"),
    ),
    steps={
        2: [
            AddField("email", "string", nullable=True, length=255),
            AddField("updated_at", "timestamp", copy_from="created_at"),
        ],
        3: [AddField("phone", "string", nullable=True, length=50)],
    },
)


def in_all_forms(user: dict[str, Any]) -> dict[str, Any]:
    """Return a user in every form that this release writes. Only in the phase "expand" it also writes the previous version's form."""
    return user


_FIRST_NAMES: Final = tuple(
    "Lucía Sofía Martina María Julia Paula Valeria Emma Daniela Carla Hugo Mateo Martín Lucas Leo Daniel Pablo Álvaro "
    "Begoña Íñigo Núria Jordi Xoán Amélie Zoë Søren Łukasz Björn Ángel Concepción".split()
)
_LAST_NAMES: Final = tuple(
    "García Rodríguez González Fernández López Martínez Sánchez Pérez Gómez Martín Jiménez Ruiz Hernández Díaz Muñoz "
    "Álvarez Romero Gutiérrez Navarro Domínguez Vázquez Ibáñez Núñez Peña Müller Dvořák Nguyễn".split()
)
_WITHOUT_ACCENTS = str.maketrans("áàâéèíîóöøúüñłřëÁÍØŁễ", "aaaeeiiooouunlreAIOLe")


#: The kinds of damage to a generated record, by description: a field, and its value.
BREAKS: Final[dict[str, tuple[str, Any]]] = {
    "id is missing": ("id", MISSING),
    "id is a number": ("id", 4711),
    "name is null": ("name", None),
    "name is a boolean": ("name", True),
    "name is too long": ("name", "Wolfeschlegelsteinhausen" * 11),
    "name holds half a surrogate pair": ("name", "Lucía \ud83d"),
    "created_at is missing": ("created_at", MISSING),
    "created_at is no date": ("created_at", "not a date"),
    "created_at is 30 February": ("created_at", "2024-02-30"),
    "created_at has 24:00": ("created_at", "2024-02-29T24:00:00"),
    "created_at is a week date": ("created_at", "2024-W09-4"),
    "created_at has a space for T": ("created_at", "2024-02-29 10:00:00"),
    "version is a string": (VERSION_KEY, "1"),
    "version is unknown": (VERSION_KEY, 99),
}


def make_users(
    count: int, *, seed: int, version: int = 1, broken: float = 0.0, ahead: float = 0.0
) -> Iterator[dict[str, Any]]:
    """Yield `count` user records of one version, the same for the same arguments.

    About the share `broken` (0 to 1) of them are broken, each in one of the ways in `BREAKS`, in turn. About the share `ahead`
    of the records of version 1 already have an `email`, as after a half-finished migration. A third of the values of optional
    fields are None.
    """
    USERS.check_version(version)
    if not (0 <= broken <= 1 and 0 <= ahead <= 1):
        raise ValueError(f"broken={broken}, ahead={ahead}: give shares from 0 to 1")
    rng, ways = random.Random(seed), cycle(BREAKS.values())
    for number in range(1, count + 1):
        record = _user(rng, number, version)
        if version == 1 and rng.random() < ahead:
            record["email"] = f"user{number}@example.org"
        if rng.random() < broken:
            name, value = next(ways)
            record[name] = value
            if value is MISSING:
                del record[name]
        yield record


def _user(rng: random.Random, number: int, version: int) -> dict[str, Any]:
    first, last = rng.choice(_FIRST_NAMES), f"{rng.choice(_LAST_NAMES)} {rng.choice(_LAST_NAMES)}"
    day = f"20{rng.randint(15, 24)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"
    time = f"T{rng.randint(0, 23):02}:{rng.randint(0, 59):02}:{rng.randint(0, 59):02}"
    user: dict[str, Any] = {
        "id": str(number),
        "name": f"{first} {last}",
        "created_at": rng.choice((day, day + time, day + time)),
    }
    if version >= 2:
        address = f"{first}.{last.split()[0]}{number}@example.com".lower().translate(_WITHOUT_ACCENTS)
        user |= {VERSION_KEY: version, "email": rng.choice((address, address, None))}
        user["updated_at"] = rng.choice((user["created_at"], "2025-01-31T08:30:00Z"))
    if version >= 3:
        phones = [f"+34 {digit}{rng.randint(0, 99_999_999):08}" for digit in (6, 9)]
        user["phone"] = rng.choice((*phones, None))
    return user
