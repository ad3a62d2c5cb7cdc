"""Files of records and the command line: every line accounted for, output whole or not at all, whatever comes."""

from __future__ import annotations

import base64
import bz2
import contextlib
import gzip
import importlib
import io
import json
import lzma
import os
import pty
import shlex
import signal
import stat
import subprocess
import sys
import termios
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st
from waiting import until

from lib.versioning import DataVersionManager, DeclarationError, Field, Report, Schema, reason_of
from lib.versioning import __main__ as command_line
from lib.versioning.files import SIZE, migrate_file
from lib.versioning.history import SchemaHistory
from lib.versioning.operations import AddField, ConvertField, RenameField
from lib.versioning.sql import PHASES
from lib.versioning.users import USERS, make_users

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "lib.versioning"]
#: As in a user's shell: with standard output that is buffered.
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""}
ANA = {"id": "1", "name": "Ana", "created_at": "2024-01-01"}
ANA_AT_3 = ANA | {"email": None, "updated_at": "2024-01-01", "phone": None, "schema_version": 3}
LINE = json.dumps(ANA).encode()
#: So many lines are read in more than one part.
LINES = 2_000
assert LINES * len(LINE) > SIZE


def ndjson(*records: Any) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def entries(data: bytes) -> list[Any]:
    return [json.loads(line) for line in data.splitlines()]


def raw_bytes(entry: dict[str, Any]) -> bytes:
    """The bytes of a quarantined line, without its line feed."""
    raw = entry["raw"]
    return raw.encode() if isinstance(raw, str) else base64.b64decode(raw["base64"], validate=True)


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def process(
    data: bytes, target: int | None = 3, way: Any = "upgrade", **manager: Any
) -> tuple[list[Any], list[Any], Report]:
    """Run bytes through `migrate_file`; return output, quarantine and counts, after holding them to the account."""
    vm = DataVersionManager(**manager)
    out, aside = io.BytesIO(), io.BytesIO()
    report = migrate_file(vm, io.BytesIO(data), out, aside, target=target, way=way)
    passed, quarantined = entries(out.getvalue()), entries(aside.getvalue())
    lines = data.split(b"\n")
    lines = lines[:-1] if not lines[-1] else lines
    lines = lines[:-1] if lines and not lines[-1].strip() else lines
    assert (report.read, report.passed, report.quarantined) == (len(lines), len(passed), len(quarantined))
    numbers = [entry["line"] for entry in quarantined]
    assert numbers == sorted(set(numbers))
    for entry in quarantined:
        assert raw_bytes(entry) == lines[entry["line"] - 1] and entry["errors"]
    assert report.reasons == Counter(reason_of(error) for entry in quarantined for error in entry["errors"])
    # What is not in the quarantine is in the output, in its order: as many, and each what its line becomes.
    rest = [line for number, line in enumerate(lines, start=1) if number not in set(numbers)]
    assert len(rest) == len(passed)
    migrate = vm.downgrade_data if way == "downgrade" else vm.upgrade_data
    for line, record in zip(rest, passed, strict=True):
        read = json.loads(line.removeprefix(b"\xef\xbb\xbf"), object_pairs_hook=without_repeats)
        assert record == (read if target is None else migrate(read, target, Report()))
    return passed, quarantined, report


# ── Lines ────────────────────────────────────────────────────────────────────────────────────────────────────────


def with_x(value: bytes) -> bytes:
    """The line with one more field."""
    return LINE[:-1] + b', "x": ' + value + b"}"


BAD_LINES = {
    "line: blank": [b"", b" \t ", b"\r"],
    "line: not JSON": [
        b"not JSON", LINE[:-1], LINE + b"}", LINE + LINE, LINE[:-1] + b",}", LINE.replace(b'"', b"'"), with_x(b"01"),
        LINE.replace(b"Ana", b"A\x00na"), b"\x00" + LINE, b"\xef\xbb\xbf" + LINE,
        b"[" * 100_000, b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    ],
    "line: not UTF-8": [
        LINE.replace(b"Ana", "Núria".encode("latin-1")), LINE.replace(b"Ana", b"Ana \xe2\x82"), b"\xff\xfe" + LINE,
        LINE.replace(b"Ana", b"\xed\xa0\xbd"),
    ],
    "line: a value that JSON can't represent": [
        *map(with_x, [b"NaN", b"Infinity", b"1e999", b"-" + b"9" * 5000]),
        LINE.replace(b"Ana", rb"Ana \ud83d"), LINE.replace(b"Ana", rb"\ude00\ud83d"), LINE[:-1] + rb', "\udc00": 1}',
    ],
    "line: duplicate key": [
        *(LINE[:-1] + b", " + key + b': "2"}' for key in (b'"id"', b'"id" ', b'"id"\t', b'"id"\r', rb'"\u0069d"')),
        with_x(b'{"a": 1, "a": 1}'), with_x(b'[[{"a": 1, "\\u0061" :1}]]'), b'{"":1,"":1}', b'{"a":1, "b" :2,"a":"\\":"}',
    ],
    "record: expected an object": [b"[]", b"[" + LINE + b"]", b'"text"', b"17", b"null", b"true"],
    "id: expected string": [LINE.replace(b'"1"', b"1")],
    "created_at: no such calendar day": [LINE.replace(b"2024-01-01", b"2024-02-30")],
    "schema_version: expected a version as an integer": [LINE[:-1] + b', "schema_version": 1.0}'],
    "schema_version: unknown version": [LINE[:-1] + b', "schema_version": 9}'],
}  # fmt: skip


@pytest.mark.parametrize(
    ("line", "reason"), [(line, why) for why, lines in BAD_LINES.items() for line in lines]
)
def test_a_bad_line_is_quarantined_with_its_number_bytes_and_reason(line: bytes, reason: str) -> None:
    passed, quarantined, report = process(LINE + b"\n" + line + b"\n" + LINE + b"\n")
    assert passed == [ANA_AT_3, ANA_AT_3]
    assert [entry["line"] for entry in quarantined] == [2]
    assert [reason_of(error) for error in quarantined[0]["errors"]] == [reason]
    assert report.reasons == {reason: 1}


@pytest.mark.parametrize(
    "line",
    [
        b" \t" + LINE.replace(b":", b" \t:\r ") + b"  \r",
        LINE.replace(b"id", rb"\u0069d"),
        LINE.replace(b"Ana", rb"\ud83d\ude00 \" \": \\ \u0000"),
        LINE.replace(b"Ana", json.dumps('🙂 ":', ensure_ascii=False)[1:-1].encode()),
        with_x(b'{"a": {"a": 1}, "b": [{"a": 1}, {"a": 1}]}'),
        with_x(b"[" * 200 + b"]" * 200),
        *map(with_x, [b"123456789012345678901234567890", b"-1e-999", b"18446744073709551616"]),
        LINE[:-1] + b', "": 1, " ": 2}',
    ],
)
def test_a_line_that_json_allows_passes_with_all_it_holds(line: bytes) -> None:
    passed, _, report = process(line + b"\n" + LINE)
    assert (report.read, report.passed, len(passed)) == (2, 2, 2)


@pytest.mark.parametrize("depth", [*range(900, 1010, 5), 4000])
def test_nesting_near_the_limit_of_recursion_is_either_written_or_quarantined(depth: int) -> None:
    line = with_x(b"[" * depth + b"]" * depth)
    out, aside = io.BytesIO(), io.BytesIO()
    report = migrate_file(DataVersionManager(), io.BytesIO(line), out, aside, target=3)
    assert report.passed + report.quarantined == 1
    assert out.getvalue().count(b"[") + aside.getvalue().count(b"[[") > 0


def test_numbers_of_lines_go_on_through_the_parts_in_which_a_file_is_read() -> None:
    good, bad = ndjson(ANA), b"bad\n"
    _, quarantined, report = process(bad + good * (LINES - 1) + bad + good * (LINES - 2) + bad + bad[:-1])
    assert [entry["line"] for entry in quarantined] == [1, LINES + 1, 2 * LINES, 2 * LINES + 1]
    assert report.versions == {1: report.passed}


def test_a_byte_order_mark_counts_only_at_the_start_of_the_file() -> None:
    mark = b"\xef\xbb\xbf"
    assert process(mark + LINE)[0] == [ANA_AT_3]
    _, quarantined, _ = process(mark + b"{}\n" + LINE)
    assert raw_bytes(quarantined[0]) == mark + b"{}", "untouched"
    many = (mark + LINE + b"\n") * (LINES + 1)
    assert process(many)[2].quarantined == LINES, "not at the start of a part"


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b" \t\n", b" "])
@pytest.mark.parametrize("lines", [1, LINES - 1, LINES])
def test_a_last_line_that_is_blank_is_no_record(end: bytes, lines: int) -> None:
    assert process(ndjson(*[ANA] * lines) + end)[2] == Report(lines, lines, versions=Counter({1: lines}))
    blank = process(ndjson(*[ANA] * (lines - 1)) + b"\n" + LINE + b"\n\n")[1]
    assert [entry["line"] for entry in blank] == [lines]


@pytest.mark.parametrize("number", [
    "1.0", "1e2", "1E+2", "0.1000", "-0", "-0.0", "1e-999", "123456789012345678.5", "12345678901234567890123", "5e-324", "-" + "9" * 400,
])  # fmt: skip
@pytest.mark.parametrize("value", ["{}", "[{}, 1]", '{{"y": [{}]}}', "[1 ,\t{}]"])
def test_numbers_that_a_migration_leaves_alone_stay_as_they_were_written(number: str, value: str) -> None:
    text = value.format(number).encode()
    data = with_x(text) + b"\n"
    for target in (3, None):
        out = io.BytesIO()
        migrate_file(DataVersionManager(), io.BytesIO(LINE + b"\n" + data), out, io.BytesIO(), target=target)
        assert b'"x":' + text in out.getvalue()
    assert process(data)[2].passed == 1


def test_a_number_that_a_migration_changes_is_written_anew() -> None:
    first = Schema(Field("n", "integer"), Field("x", "float"), Field("y", "float"))
    step = [ConvertField("n", "float"), RenameField("y", "z"), AddField("more", "float", copy_from="x")]
    history = SchemaHistory("readings", first=first, steps={2: step})
    out, line = io.BytesIO(), b'{"n": 5, "x": 1e2, "y": 1.50, "k": 1e1}'
    migrate_file(DataVersionManager(history), io.BytesIO(line), out, io.BytesIO(), target=2)
    expected = [b'"n":5.0', b'"x":1e2', b'"z":1.5', b'"k":1e1', b'"schema_version":2', b'"more":100.0']
    assert sorted(out.getvalue().strip(b"{}\n").split(b",")) == sorted(expected)


ODD = [
    "null", "true", "-0", "1e0", "01", "NaN", "1e999", "9223372036854775808", '""', "[]", '["a"]', '{"id":"1"}', '{"id":"1","id":"1"}',
    r'"\ud83d"', r'"\ud83d\ude00"', r'"\\"', r'"\""', r'"\\\""', r'"a\\\":"', r'"\u0022"', '":"', '"€"', '"2024-02-30"',
    '"2024-01-01T24:00:00"',
    r'"2024-01-01\n"', r'"2024-01-0\u0031"', '"0001-01-01T00:00:00+00:01"',
]  # fmt: skip
_BYTES = st.sampled_from([*rb'" \ { [ , {}'.split(), b" :", b"\n", b"\r\n", b"\0", b"\xff", b"\xef\xbb\xbf"])


@given(st.data(), st.sampled_from(["upgrade", "downgrade"]))
@settings(max_examples=60)
def test_every_line_is_accounted_for_however_it_is_spelled(data: st.DataObject, way: Any) -> None:
    lines = []
    for version in data.draw(st.lists(st.sampled_from(USERS.versions), max_size=6)):
        record = data.draw(strategies.records(USERS, version, portable=True))
        pairs = [(json.dumps(name), json.dumps(value)) for name, value in record.items()]
        if data.draw(st.booleans()):  # a field is added, or is there twice
            name = data.draw(st.sampled_from(['"x"', r'"\u0069d"', *(name for name, _ in pairs)]))
            pairs.insert(data.draw(st.integers(0, len(pairs))), (name, data.draw(st.sampled_from(ODD))))
        line = "{" + ", ".join(map(": ".join, pairs)) + "}"
        at = data.draw(st.integers(0, len(line)))
        lines.append(line[:at].encode() + data.draw(st.just(b"") | _BYTES) + line[at:].encode())
    process(b"\n".join(lines), data.draw(st.sampled_from([None, 1, 2, 3])), way)


def test_validated_records_keep_the_order_of_their_keys() -> None:
    out, data = io.BytesIO(), b'{"name":"Ana","id":"1","created_at":"2024-01-01"}\n'
    migrate_file(DataVersionManager(), io.BytesIO(data), out, io.BytesIO())
    assert out.getvalue() == data


def test_a_default_that_json_can_not_write_is_refused_before_anything_is_written() -> None:
    step = [AddField("value", "float", default=float("nan"))]
    history = SchemaHistory("readings", first=Schema(Field("id", "string")), steps={2: step})
    out = io.BytesIO()
    with pytest.raises(DeclarationError, match=r"field 'value': JSON can't represent its default nan"):
        migrate_file(DataVersionManager(history), io.BytesIO(b'{"id":"1"}'), out, io.BytesIO(), target=2)
    assert out.getvalue() == b""


# ── The command, in this process ─────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to stand in; signals and the path of imports are put back."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield tmp_path
    for number, handler in handlers.items():
        signal.signal(number, handler)


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Call the command line and return its exit status, standard output and standard error."""

    def call(line: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["versioning", *line.split()])
        try:
            status = command_line.main()
        except SystemExit as end:
            status = end.code
        return (status, *capfd.readouterr())

    return call


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_file_with_bad_lines_gives_status_1_and_a_summary(command: Command, folder: Path) -> None:
    ahead = ANA | {"email": "ana@example.org"}
    Path("users.txt").write_bytes(ndjson(ANA, ahead, ANA | {"id": 1}, ANA | {"id": 2}) + b"\n" + LINE)
    status, _, err = command("upgrade users.txt --to 3 --out out --quarantine bad")
    assert status == 1
    assert err.splitlines() == [
        "read 6, passed 3, quarantined 3 (in bad)",
        "        2  id: expected string",
        "        1  line: blank",
        "        1  email: a filled value was kept",
    ]
    assert [entry["line"] for entry in entries(files_in(folder)["bad"])] == [3, 4, 5]


def test_downgrade_and_validate(command: Command, folder: Path) -> None:
    Path("in").write_bytes(ndjson(ANA_AT_3 | {"phone": "600", "x": 1}, ANA))
    status, _, err = command("downgrade in --to 2 --out out")
    assert status == 1
    assert "        1  phone: a value was lost" in err.splitlines()
    assert "        1  schema_version: below the target version" in err.splitlines()
    expected = ANA | {"email": None, "updated_at": "2024-01-01", "schema_version": 2, "x": 1}
    assert entries(files_in(folder)["out"]) == [expected]
    status, out, err = command("validate in")
    assert (status, out, err) == (0, "", "read 2, passed 2, quarantined 0 (in in.quarantine.ndjson)\n")


def test_sql_is_what_the_manager_writes(command: Command) -> None:
    vm = DataVersionManager()
    scripts = {f"--phase {phase}": vm.create_migration_script(1, 3, phase=phase) for phase in PHASES}
    scripts["--from 2 --to 3 --dialect sqlite"] = vm.create_migration_script(2, 3, "sqlite")
    for options, script in ({"": vm.create_migration_script(1, 3)} | scripts).items():
        assert command(f"sql {options}")[1].strip() == script.strip()


def test_a_history_of_ones_own(command: Command) -> None:
    Path("shop.py").write_text(
        "from lib.versioning import *\n"
        "ORDERS = SchemaHistory('orders', first=Schema(Field('n', 'integer')), steps={2: [RenameField('n', 'number')]})\n"
    )
    Path("in").write_bytes(b'{"n": 5}\n')
    status, out, _ = command("upgrade in --history shop:ORDERS --to 2 --out - --quarantine bad")
    assert (status, json.loads(out)) == (0, {"number": 5, "schema_version": 2})


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import sys; sys.exit(1)", "SystemExit: 1"),
        ("raise OSError('two\\nlines')", "OSError: two lines"),
        ("H = 'H'", "not a SchemaHistory"),
    ],
)
def test_unusable_modules(command: Command, source: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are named in one line."""
    Path("own.py").write_text(source)
    monkeypatch.delitem(sys.modules, "own", raising=False)
    importlib.invalidate_caches()
    status, out, err = command("sql --history own:H")
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert err.startswith("error: --history own:H (MODULE:NAME) fails: ")
    assert words in err


def test_a_fault_in_the_program_is_no_quarantine(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_line, "run", lambda *_: 1 / 0)
    status, _, err = command("sql")
    assert (status, "ZeroDivisionError" in err) == (2, True)


def test_lines_compressed_by_gzip_are_read(command: Command) -> None:
    users = list(make_users(3_000, seed=1, broken=0.01))
    Path("users.ndjson").write_bytes(ndjson(*users))
    two_parts = gzip.compress(ndjson(*users[:10])) + gzip.compress(ndjson(*users[10:]))
    Path("users.ndjson.gz").write_bytes(two_parts)
    command("upgrade users.ndjson --to 3 --out plain --quarantine plain.bad")
    status, _, err = command("upgrade users.ndjson.gz --to 3 --out out")
    assert (status, "read 3,000" in err) == (1, True)
    assert Path("out").read_bytes() == Path("plain").read_bytes()
    assert Path("users.quarantine.ndjson").read_bytes() == Path("plain.bad").read_bytes()
    odd = two_parts[:1000] + bytes(1000) + two_parts[2000:]
    for broken in (two_parts[:-9], two_parts[:-8] + bytes(8), odd):
        Path("broken.gz").write_bytes(broken)
        status, _, err = command("upgrade broken.gz --to 3 --out new")
        assert (status, len(err.splitlines()), Path("new").exists()) == (2, 1, False)
        assert err.startswith("error: broken.gz: can't be read: ")


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (bz2.compress(LINE), "bzip2"),
        (lzma.compress(LINE), "xz"),
        (bytes.fromhex("28b52ffd") + LINE, "zstd"),
        (bytes.fromhex("04224d18") + LINE, "lz4"),
        (b"PK\x03\x04" + LINE, "zip"),
    ],
)
def test_other_compressions_are_named(command: Command, folder: Path, start: bytes, kind: str) -> None:
    Path("in").write_bytes(start)
    status, _, err = command("validate in")
    assert status == 2
    assert err == f"error: in: compressed with {kind}; only gzip can be read: decompress it first\n"
    assert files_in(folder) == {"in": start}


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ("upgrade none.ndjson --to 3 --out o", ["none.ndjson", "No such file"]),
        ("upgrade . --to 3 --out o --quarantine q", ["Is a directory"]),
        ("upgrade in --to 99 --out o", ["users", "unknown version", "99", "known: 1, 2, 3"]),
        ("upgrade in --to 3.0 --out o", ["--to", "invalid int value", "'3.0'"]),
        ("upgrade in --to 3", ["--out"]),
        ("upgrade in --to 3 --out ./sub/../in", ["three different files"]),
        ("upgrade in --to 3 --out o --quarantine o", ["three different files"]),
        ("validate hard --quarantine in", ["three different files"]),
        ("upgrade in --to 3 --out no/o", ["no/o", "can't write to", "No such file"]),
        ("upgrade in --to 3 --out o --quarantine sub", ["sub", "Is a directory"]),
        ("validate in --history nothing", ["--history nothing", "MODULE:NAME"]),
        ("validate in --history lib.versioning.users:X", ["no attribute 'X'", "MODULE:NAME"]),
        ("sql --from 0", ["unknown version", "0"]),
        ("sql --dialect oracle", ["oracle"]),
    ],
)  # fmt: skip
def test_what_can_not_be_done(command: Command, folder: Path, args: str, words: list[str]) -> None:
    """It is refused with status 2, and nothing is touched."""
    Path("in").write_bytes(ndjson(ANA, ANA | {"id": 1}))
    Path("o").write_bytes(b"old")
    (folder / "sub").mkdir()
    Path("hard").hardlink_to("in")
    status, out, err = command(args)
    assert (status, out) == (2, "")
    assert [word for word in words if word not in err] == []
    assert len(err.splitlines()) == 1 or err.startswith("usage: ")
    (folder / "sub").rmdir()
    Path("hard").unlink()
    assert files_in(folder) == {"in": ndjson(ANA, ANA | {"id": 1}), "o": b"old"}


def test_a_replaced_file_keeps_its_mode_and_a_link_its_place(command: Command, folder: Path) -> None:
    Path("in").write_bytes(ndjson(ANA))
    Path("private").write_bytes(b"old")
    Path("private").chmod(0o600)
    Path("link").symlink_to("private")
    assert command("upgrade in --to 3 --out link --quarantine q")[0] == 0
    assert Path("link").is_symlink()
    assert json.loads(Path("private").read_bytes()) == ANA_AT_3
    assert stat.S_IMODE(Path("private").stat().st_mode) == 0o600
    mask = os.umask(0o022)
    os.umask(mask)
    assert stat.S_IMODE(Path("q").stat().st_mode) == 0o666 & ~mask


def test_devices_and_pipes_are_written_not_replaced(command: Command, folder: Path) -> None:
    Path("in").write_bytes(ndjson(ANA, {}))
    before = os.stat(os.devnull).st_ino
    assert command(f"validate in --quarantine {os.devnull}")[0] == 1
    assert os.stat(os.devnull).st_ino == before
    os.mkfifo("pipe")
    reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    assert command("upgrade in --to 3 --out pipe --quarantine q")[0] == 1
    assert json.loads(os.read(reader, 10_000)) == ANA_AT_3
    os.close(reader)
    assert stat.S_ISFIFO(os.stat("pipe").st_mode)


# ── The command, in a process of its own ─────────────────────────────────────────────────────────────────────────


def start(folder: Path, *args: str, **options: Any) -> subprocess.Popen[bytes]:
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE) | options
    return subprocess.Popen([*COMMAND, *args], cwd=folder, env=ENVIRONMENT, **pipes)


def shell(folder: Path, args: str) -> tuple[int, bytes, bytes]:
    """Run the command as a shell starts it, with its redirections; return exit status, standard output and standard error."""
    line = f"exec {shlex.join(COMMAND)} {args}"
    place: dict[str, Any] = {"cwd": folder, "env": ENVIRONMENT, "stdin": subprocess.DEVNULL}
    done = subprocess.run(line, shell=True, capture_output=True, timeout=60, **place)
    return done.returncode, done.stdout, done.stderr


def interrupted_midway(folder: Path, number: int, **options: Any) -> tuple[int, bytes]:
    """Send a signal to a command that has written a part of its output and waits for more input."""
    (folder / "out").write_bytes(b"old")
    process = start(folder, "upgrade", "-", "--to", "3", "--out", "out", "--quarantine", "bad", **options)
    assert process.stdin is not None
    process.stdin.write(ndjson(*make_users(5 * LINES, seed=1)))
    process.stdin.flush()
    until(lambda: sum(part.stat().st_size for part in folder.glob(".*.part")) >= 3 * LINES * 100)
    assert files_in(folder)["out"] == b"old", "the output appears at the end"
    process.send_signal(number)
    _, err = process.communicate()
    return process.returncode, err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_an_interruption_leaves_no_half_file(tmp_path: Path, number: int) -> None:
    status, err = interrupted_midway(tmp_path, number)
    left = files_in(tmp_path)
    assert (left.pop("out"), "bad" in left) == (b"old", False)
    if number == signal.SIGKILL:
        assert status == -signal.SIGKILL
    else:
        assert (status, err) == (130, b"interrupted: each output file is complete or unchanged\n")
        assert left == {}, "nor a part of one"


def test_a_signal_that_was_to_be_ignored_stays_ignored(tmp_path: Path) -> None:
    ignore = partial(signal.signal, signal.SIGHUP, signal.SIG_IGN)
    status, _ = interrupted_midway(tmp_path, signal.SIGHUP, preexec_fn=ignore)
    assert status == 0, "as under nohup"
    assert files_in(tmp_path)["out"].count(b"\n") == 5 * LINES


@pytest.mark.parametrize("args", [
    "upgrade in --to 3 --out /dev/stdout --quarantine q >> in",
    "upgrade - --to 3 --out - --quarantine q < in >> in",
    "validate in --quarantine - >> in",
    "upgrade in --to 3 --out o --quarantine - > o",
])  # fmt: skip
def test_an_input_that_is_an_output_is_refused(tmp_path: Path, args: str) -> None:
    (tmp_path / "in").write_bytes(ndjson(ANA, {}))
    done = shell(tmp_path, args)
    assert done == (2, b"", b"error: input, output and quarantine must be three different files\n")
    assert files_in(tmp_path)["in"] == ndjson(ANA, {})


@pytest.mark.parametrize(
    ("args", "status", "words"),
    [
        ("upgrade in --to 3 --out - > /dev/full", 2, "standard output: No space left on device"),
        ("upgrade in --to 3 --out o --quarantine /dev/full", 2, "/dev/full: No space left on device"),
        ("--help > /dev/full", 2, "standard output: No space left on device"),
        ("upgrade in --to 3 --out - >&-", 2, "standard output: Bad file descriptor"),
        (">&-", 2, "standard output: Bad file descriptor"),
        ("validate - --quarantine q <&-", 2, "standard input: can't be read: [Errno 9] Bad file descriptor"),
        ("validate good >&- <&-", 0, "read 1, passed 1, quarantined 0"),
        ("upgrade good --to 3 --out - --quarantine q 2>&-", 0, ""),
        ("validate in 2>&-", 1, ""),
        ("upgrade good --to 3 --out - --quarantine /dev/null > /dev/null", 0, "read 1, passed 1"),
    ],
)  # fmt: skip
def test_streams_that_are_full_or_closed(tmp_path: Path, args: str, status: int, words: str) -> None:
    """They get a line, and their status."""
    if "/dev/full" in args and not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full on this system")
    (tmp_path / "in").write_bytes(ndjson(ANA, {}))
    (tmp_path / "good").write_bytes(ndjson(ANA))
    code, out, err = shell(tmp_path, args)
    assert (code, entries(out)) == (status, [ANA_AT_3] if "2>&-" in args and "good" in args else [])
    assert len(err.splitlines()) == bool(words)
    assert words in err.decode()
    if status == 2:
        assert files_in(tmp_path).keys() == {"in", "good"}


def test_a_reader_that_goes_away_is_told(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(ndjson(*make_users(3 * LINES, seed=1)))
    reader, end = os.pipe()
    os.close(reader)
    process = start(tmp_path, "upgrade", "in", "--to", "3", "--out", "-", stdout=end)
    os.close(end)
    _, err = process.communicate()
    assert (process.returncode, err) == (2, b"error: standard output: its reader has closed it\n")
    assert files_in(tmp_path).keys() == {"in"}


# ── A large file ─────────────────────────────────────────────────────────────────────────────────────────────────

PEAK = """
import re, sys
from lib.versioning.__main__ import main
status = main()
# The peak of this program alone: getrusage would count what the parent had in memory before exec.
print(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
sys.exit(status)
"""


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    part, peaks = ndjson(*make_users(10_000, seed=3)), []
    command = [sys.executable, "-c", PEAK, "upgrade", "in", "--to", "3", "--out", "out"]
    for times in (2, 10):
        (tmp_path / "in").write_bytes(part * times)
        peaks.append(int(subprocess.check_output(command, cwd=tmp_path, env=ENVIRONMENT)))
    assert peaks[1] < peaks[0] + 5_000, "kB"


def test_on_a_terminal_there_is_a_progress_bar(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(ndjson(*make_users(3 * LINES, seed=1)))
    terminal, end = pty.openpty()
    termios.tcsetwinsize(end, (24, 80))
    process = start(tmp_path, "upgrade", "in", "--to", "3", "--out", "out", stderr=end)
    os.close(end)
    seen = b""
    with contextlib.suppress(OSError):  # the other end is closed
        while part := os.read(terminal, 4096):
            seen += part
    os.close(terminal)
    process.communicate()
    assert b" lines" in seen and b"read 6,000, passed 6,000" in seen
