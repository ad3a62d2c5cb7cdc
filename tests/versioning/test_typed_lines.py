"""Typed decoding of lines: whatever it takes on, bytes and counts are those of the way that looks at every line closely."""

from __future__ import annotations

import io
import json
from typing import Any
from unittest.mock import patch

import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st
from test_files import process

from lib.versioning import (
    USERS,
    AddField,
    DataVersionManager,
    DropField,
    Field,
    RenameField,
    Report,
    Schema,
    SchemaHistory,
    files,
    make_users,
)
from lib.versioning.bulk import Way
from lib.versioning.files import migrate_file
from lib.versioning.typed_lines import typed_lines

#: Every type that there is a typed way for, nullable and not, names that Python has, and every way to add a field.
THINGS = SchemaHistory(
    "things",
    first=Schema(
        Field("class", "string", nullable=True, length=3), Field("n", "integer"),
        Field("m", "integer", nullable=True), Field("on", "boolean", nullable=True),
        Field("at", "timestamp", nullable=True), Field("__class__", "string"),
    ),
    steps={
        2: [
            AddField("copied", "string", nullable=True, length=3, copy_from="class"),
            AddField("seen", "timestamp", nullable=True, copy_from="at"),
            AddField("also", "string", nullable=True, length=3, copy_from="copied"),
            AddField("rate", "float", default=-0.0), AddField("word", "string", default='"\\ \u00e9'),
            AddField("many", "integer", copy_from="n"),
        ],
        3: [AddField("note", "string", nullable=True)],
    },
)  # fmt: skip
FLOATS = SchemaHistory(
    "floats", first=Schema(Field("x", "float")), steps={2: [AddField("y", "float", copy_from="x")]}
)
RENAMED = SchemaHistory(
    "renamed",
    first=Schema(Field("a", "string"), Field("b", "string", nullable=True)),
    steps={2: [RenameField("a", "c")], 3: [AddField("a", "string", default="x")], 4: [DropField("b")]},
)

Written = tuple[bytes, bytes, Report]


def written(manager: DataVersionManager, data: bytes, target: int | None, way: Way, out: bool) -> Written:
    passed, aside = io.BytesIO(), io.BytesIO()
    report = migrate_file(manager, io.BytesIO(data), passed if out else None, aside, target=target, way=way)
    return passed.getvalue(), aside.getvalue(), report


def assert_same(
    manager: DataVersionManager, data: bytes, target: int | None, way: Way = "upgrade", out: bool = True
) -> None:
    """Hold the typed way to the close one."""
    typed = written(manager, data, target, way, out)
    with patch.object(files, "typed_lines", lambda *_: None):
        assert typed == written(manager, data, target, way, out)


# ── What it takes on ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("version", USERS.versions)
def test_users_are_read_by_types_and_only_broken_ones_are_left(version: int) -> None:
    users = list(make_users(500, seed=3, version=version, broken=0.1))
    lines = [json.dumps(user).encode() + b"\n" for user in users]
    typed = typed_lines(USERS, json.dumps(users[0]).encode(), 3)
    assert typed
    sure, left = typed.read(lines)
    broken = [at for at, user in enumerate(users) if not DataVersionManager().validate_schema(user)["valid"]]
    assert left == broken
    assert len(sure) == len(lines) - len(left) > 400
    assert_same(DataVersionManager(), b"".join(lines), 3)


@pytest.mark.parametrize(
    ("history", "line", "target"),
    [
        (FLOATS, b'{"x": 1.5}', 2),  # msgspec takes an integer for a float
        (RENAMED, b'{"a": "1", "b": "2"}', 2),
        (RENAMED, b'{"a": "1", "b": "2"}', 3),
        (RENAMED, b'{"c": "1", "b": "2", "a": "3", "schema_version": 3}', 4),
        (USERS, json.dumps(next(make_users(1, seed=1, version=3))).encode(), 2),
    ],
)
def test_for_other_types_and_other_steps_there_is_no_typed_way(
    history: SchemaHistory, line: bytes, target: int
) -> None:
    assert typed_lines(history, line, target) is None


# ── Spellings of a record, right and wrong ───────────────────────────────────────────────────────────────────────


_SPACE = st.sampled_from(["", "", "", " ", "\t", "\r", "  "])
ODD = [
    "null", "true", "1", "-0", "1.0", "1e0", "01", "NaN", "-Infinity", "1e999", "9223372036854775807", "9223372036854775808",
    "-9223372036854775808", "-9223372036854775809", "18446744073709551616", "9" * 400, '""', '"x"', "[]", '["a"]', "{}", '{"id":"1"}',
    '{"id":"1","id":"1"}', r'"\ud83d"', r'"\ude00\ud83d"', r'"\ud83d\ude00"', r'"\\"', r'"\""', r'"\\\""', '"\\\\\\\\"', r'"a\\\":"',
    r'"\u0022"', r'"\n"', r'"\/"', '":"', '" :"', '"€€€"', '"🙂"', '"é\u2028"', '"xxxx"', '"' + "x" * 256 + '"', '"2024-02-30"',
    '"2024-01-01T24:00:00"', '"2024-01-01 10:00:00"', '"2024-W01-1"', '"2024-01-01T10:00:00+01:00"', '"2024-01-01T10:00:00.5Z"',
    r'"2024-01-01\n"', r'"2024-01-0\u0031"', '"0001-01-01T00:00:00+00:01"',
]  # fmt: skip
_ODD = st.sampled_from(ODD)
_BYTES = st.sampled_from([
    b'"', b"\\", b"{", b"}", b"[", b":", b" :", b",", b"\n", b"\r\n", b"\x00", b"\xff", b"\xe2\x82", b"\xed\xa0\xbd", b"\xef\xbb\xbf",
    b"{}", b"null", b"\\ud83d", b"\\u0022",
])  # fmt: skip


def _escaped(draw: st.DrawFn, text: str) -> str:
    if draw(st.integers(0, 9)):
        return json.dumps(text, ensure_ascii=draw(st.booleans()))
    return '"' + "".join(rf"\u{ord(char):04x}" if ord(char) < 0x10000 else char for char in text) + '"'


@st.composite
def spelled(draw: st.DrawFn, history: SchemaHistory, version: int) -> bytes:
    """One line: mostly a valid record of this version in any spelling, with perhaps something added, replaced or repeated."""
    record = draw(strategies.records(history, version, portable=True))
    pairs = [(name, _escaped(draw, v) if isinstance(v, str) else json.dumps(v)) for name, v in record.items()]
    names = st.sampled_from([*history.schema(history.latest).names, "schema_version", "x", ""])
    match draw(st.integers(0, 11)):
        case 0:
            pairs = draw(st.permutations(pairs))
        case 1:  # added, or repeated
            pairs.insert(draw(st.integers(0, len(pairs))), (draw(names), draw(_ODD)))
        case 2:
            pairs.append(draw(st.sampled_from(pairs)))
        case 3:
            at = draw(st.integers(0, len(pairs) - 1))
            pairs[at] = pairs[at][0], draw(_ODD)
        case 4:
            del pairs[draw(st.integers(0, len(pairs) - 1))]
    a, b, c = draw(st.tuples(_SPACE, _SPACE, _SPACE))
    line = "{" + ",".join(f"{b}{_escaped(draw, name)}{a}:{c}{value}{b}" for name, value in pairs) + "}" + a
    data = line.encode("utf-8", "surrogatepass")
    if not draw(st.integers(0, 7)):
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(_BYTES) + data[at + draw(st.integers(0, 2)) :]
    return data


@st.composite
def contents(draw: st.DrawFn, history: SchemaHistory) -> bytes:
    """A file whose lines are mostly of one version."""
    version = draw(st.sampled_from(history.versions))
    usual = spelled(history, version)
    other = st.one_of(
        usual, st.sampled_from(history.versions).flatmap(lambda v: spelled(history, v)), st.binary(max_size=9)
    )
    lines = draw(st.lists(usual, min_size=1, max_size=4)) + draw(st.lists(other, max_size=4))
    return draw(st.sampled_from([b"", b"", b"\xef\xbb\xbf"])) + draw(st.sampled_from([b"\n", b"\r\n"])).join(
        lines
    )


@given(
    st.data(), st.sampled_from([USERS, THINGS, RENAMED, FLOATS]), st.sampled_from(["keep", "drop", "forbid"])
)
@settings(max_examples=150)
def test_bytes_and_counts_are_those_of_the_close_way(
    data: st.DataObject, history: SchemaHistory, extra: Any
) -> None:
    manager = DataVersionManager(history, extra=extra)
    target = data.draw(st.sampled_from([None, *history.versions, history.latest, history.latest]))
    way = data.draw(st.sampled_from(["upgrade", "upgrade", "upgrade", "downgrade"]))
    lines = data.draw(contents(history))
    assert_same(manager, lines, target, way, out=data.draw(st.booleans()))
    process(lines, target, way, history=history, extra=extra)  # every line is accounted for


@pytest.mark.parametrize("name", THINGS.schema(3).names)
def test_every_odd_value_in_every_field(name: str) -> None:
    plain = {"class": '"a"', "n": "1", "m": "null", "on": "true", "at": '"2024-01-01"', "__class__": '"x"'}
    for value in ODD:
        lines = [
            "{" + ",".join(f'"{key}":{value}' for key, value in pairs.items()) + "}\n"
            for pairs in (plain, plain | {name: value})
        ]
        assert_same(DataVersionManager(THINGS), "".join(lines).encode(), 3)


def test_validated_records_keep_the_order_of_their_keys() -> None:
    data = b'{"name":"Ana","id":"1","created_at":"2024-01-01"}\n'
    assert_same(DataVersionManager(), data, None)
    assert written(DataVersionManager(), data, None, "upgrade", True)[0] == data
