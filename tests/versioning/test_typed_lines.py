"""Typed decoding of lines: it writes and counts what the way by dicts writes and counts, however a line is spelled."""

from __future__ import annotations

import io
import json
from unittest.mock import patch

from lib.versioning import AddField, DataVersionManager, Field, RenameField, Schema, SchemaHistory, files

#: Every type that is read so, nullable and not, names that Python has, every way to add a field, and what is not read so.
THINGS = SchemaHistory("things", first=Schema(
    Field("class", "string", nullable=True, length=3), Field("on", "boolean", nullable=True), Field("off", "boolean"),
    Field("at", "timestamp", nullable=True), Field("__class__", "string"),
), steps={
    2: [AddField("seen", "timestamp", nullable=True, copy_from="at"), AddField("word", "string", default='"\\ é'),
        AddField("again", "string", nullable=True, length=3, copy_from="class")],
    3: [AddField("also", "timestamp", nullable=True, copy_from="seen"), AddField("rate", "float", default=-0.0)],
    4: [RenameField("__class__", "kind")],
})  # fmt: skip
VALUES = {"class": '"c"', "on": "true", "off": "false", "at": "null", "__class__": '"d"'}
ODD = [
    "null", "true", "-0", "1.0", "NaN", '""', '"x"', '"xxxx"', "[]", '{"at": 1}', r'"\ud83d"', r'"\\"', r'"\""', r'"\\\""', r'"\u0022"',
    '":"', '"€"', '"2024-01-01"', '"2024-02-30"', '"2024-01-01T24:00:00"', '"2024-01-01 10:00:00"', '"2024-01-01T10:00:00.5+01:00"',
]  # fmt: skip


def written(data: str, target: int) -> tuple[list[str], bytes, object]:
    """Return what `migrate_file` writes and reports: records without the spelling of escapes, and the quarantine."""
    manager, out, aside = DataVersionManager(THINGS), io.BytesIO(), io.BytesIO()
    report = files.migrate_file(manager, io.BytesIO(data.encode()), out, aside, target=target)
    return [json.dumps(json.loads(line)) for line in out.getvalue().splitlines()], aside.getvalue(), report


def test_a_line_spelled_in_any_way_comes_out_the_same() -> None:
    pairs = {name: f'"{name}": {value}' for name, value in VALUES.items()}
    usual = ", ".join(pairs.values())
    for label in ("", ', "schema_version": 1'):
        good, typed = f"{{{usual}{label}}}", files.typed_lines(THINGS, 1, bool(label), 3)
        lines = [good, good.replace("}", ', "x": 1}'), "{}", good.replace(": 1", ": 2")]
        assert typed and typed.upgrade([line.encode() for line in lines])[1] == [1, 2, 3][: 3 if label else 2]
    for name in (*VALUES, "seen", "x", "schema_version", r"\u0061t"):
        for odd in (f'"{name}": {value}' for value in ODD):
            for line in (f"{usual}, {odd}", f"{odd}, {usual}", ", ".join((pairs | {name: odd}).values())):
                plain = f"{{{usual}}}\n{{{line}}}\n{{{usual}}}"
                for data, target in ((plain, 3), (plain.replace("}\n", ', "schema_version": 1}\n'), 2)):
                    found = written(data, target)
                    with patch.object(files, "typed_lines", lambda *_: None):
                        assert found == written(data, target)
    # Numbers keep their spelling, and a field that gets another name is no field of the struct.
    assert not files.typed_lines(THINGS, 3, True, 3) and not files.typed_lines(THINGS, 1, False, 4)
