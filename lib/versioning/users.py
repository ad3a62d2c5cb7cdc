"""The running example: user records of three versions, and a seeded generator of realistic ones, some of them broken."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any, Final

from lib.versioning.history import SchemaHistory
from lib.versioning.operations import AddField
from lib.versioning.schema import VERSION_KEY, Field, Schema

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
    """A user in every form in which this release writes it. Only one in the phase "expand" writes that of the version before, too."""
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


def _set(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def broken(record: dict[str, Any]) -> None:
        record[name] = value

    return broken


#: The ways in which a generated record is broken: what to do to it, by what it is.
BREAKS: Final[dict[str, Callable[[dict[str, Any]], None]]] = {
    "id is missing": lambda record: record.pop("id"),
    "id is a number": _set("id", 4711),
    "name is null": _set("name", None),
    "name is a boolean": _set("name", True),
    "name is too long": _set("name", "Wolfeschlegelsteinhausen" * 11),
    "name holds half a surrogate pair": _set("name", "Lucía \ud83d"),
    "created_at is missing": lambda record: record.pop("created_at"),
    "created_at is no date": _set("created_at", "not a date"),
    "created_at is 30 February": _set("created_at", "2024-02-30"),
    "created_at has 24:00": _set("created_at", "2024-02-29T24:00:00"),
    "created_at is a week date": _set("created_at", "2024-W09-4"),
    "created_at has a space for T": _set("created_at", "2024-02-29 10:00:00"),
    "version is a string": _set(VERSION_KEY, "1"),
    "version is unknown": _set(VERSION_KEY, 99),
}


def make_users(
    count: int, *, seed: int, version: int = 1, broken: float = 0.0, ahead: float = 0.0
) -> Iterator[dict[str, Any]]:
    """Yield `count` user records of one version, the same for the same arguments.

    About the share `broken` (0 to 1) of them are broken, each in one way of `BREAKS`, in turn. About the share `ahead` of
    the records of version 1 already carry a filled `email`, as after a half-finished migration. Optional fields have
    gaps: a third of them are None.
    """
    USERS.check_version(version)
    if not (0 <= broken <= 1 and 0 <= ahead <= 1):
        raise ValueError(f"broken={broken}, ahead={ahead}: shares lie between 0 and 1")
    rng, ways = random.Random(seed), list(BREAKS.values())
    breaks = 0
    for number in range(1, count + 1):
        record = _user(rng, number, version)
        if version == 1 and rng.random() < ahead:
            record["email"] = f"user{number}@example.org"
        if rng.random() < broken:
            ways[breaks % len(ways)](record)
            breaks += 1
        yield record


def _user(rng: random.Random, number: int, version: int) -> dict[str, Any]:
    first, last = (
        rng.choice(_FIRST_NAMES),
        f"{rng.choice(_LAST_NAMES)} {rng.choice(_LAST_NAMES)}",
    )
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
        user["phone"] = rng.choice(
            (
                f"+34 6{rng.randint(0, 99_999_999):08}",
                f"+34 9{rng.randint(0, 99_999_999):08}",
                None,
            )
        )
    return user
