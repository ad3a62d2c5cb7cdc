"""Read, migrate and write files of records, one JSON object a line (NDJSON), of any size, in constant memory.

Every input line is written once: migrated to the output, or unchanged to the quarantine, with its number and every reason.
Output files appear complete or not at all.
"""

from __future__ import annotations

import base64
import errno
import gzip
import io
import json
import math
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, BinaryIO, Final

import msgspec

from lib.stage.files import sync_folder
from lib.versioning.bulk import Quarantined, Report, Way, process, reason_of
from lib.versioning.history import SchemaHistory
from lib.versioning.manager import DataVersionManager
from lib.versioning.records import Record, record_version
from lib.versioning.schema import MISSING, VERSION_KEY, DeclarationError, describe
from lib.versioning.suspects import drop_positions
from lib.versioning.typed_lines import UNREADABLE, typed_lines

#: How many bytes are read at a time, plus the rest of the last line. Short lines take much more memory than their bytes.
SIZE = 100_000
#: The byte order mark that some editors put at the start of a file.
_MARK = b"\xef\xbb\xbf"

#: Types whose values can be written in only one way, except for escapes in strings, and -0.
_PLAIN: Final = {str, bool, int, type(None)}

_decode = msgspec.json.Decoder().decode
_decode_raw = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode_lines = msgspec.json.Encoder().encode_lines


def migrate_file(
    manager: DataVersionManager,
    source: BinaryIO,
    out: BinaryIO | None,
    quarantine: BinaryIO,
    *,
    target: int | None = None,
    way: Way = "upgrade",
    progress: Callable[[int], object] = lambda _: None,
) -> Report:
    """Validate every line of `source` and migrate it to `target` (None: leave it as it is), and return the counts.

    Records that pass go to `out` in their order, the others to `quarantine` as
    `{"line", "version", "errors", "raw"}`, where `raw` is the line's text, or `{"base64": …}` if its bytes are not UTF-8,
    without the final line feed. `progress` is called with the number of lines processed since the last call. Raises
    UnknownVersionError, and DeclarationError if the history has a default that JSON can't represent.
    """
    if target is not None:
        manager.history.check_version(target)
        _check_defaults(manager.history)
    whole, first = Report(), 1
    for lines in _chunks(source):
        structs, left = _upgrade_typed(manager.history, lines, target if way == "upgrade" else None, whole)
        values, texts, unreadable = _read(lines, left, first)
        batch = process(
            manager.history, list(values.values()), target, way, doubtful=len(left) < len(structs)
        )
        places = list(values)
        for entry in batch.quarantined:
            entry["line"] = places[entry["line"] - 1]
        entries = sorted(unreadable + batch.quarantined, key=lambda entry: entry["line"])
        for entry in entries:
            values.pop(entry["line"], None)
            entry["raw"] = _raw(lines[entry["line"]])
            entry["line"] += first
        if out is not None:
            for at, record in zip(values, batch.records, strict=True) if texts else ():
                _keep_spelling(record, values[at], texts.get(at, {}))
            places = drop_positions(range(len(lines)), left) if structs and batch.records else []
            out.write(_encode_lines(_in_order(places, structs, list(values), batch.records)))
        quarantine.write(_encode_lines(entries))
        whole += batch.report
        whole.read, whole.quarantined = whole.read + len(unreadable), whole.quarantined + len(unreadable)
        whole.reasons.update(reason_of(error) for entry in unreadable for error in entry["errors"])
        first += len(lines)
        progress(len(lines))
    return whole


def _upgrade_typed(
    history: SchemaHistory, lines: list[bytes], target: int | None, whole: Report
) -> tuple[list[Any], Sequence[int]]:
    """Upgrade the lines that are surely valid, count them, and return them and the positions of the others."""
    typed = None
    with suppress(*UNREADABLE):
        first = _decode(lines[0]) if lines and target is not None else None
        version, unknown = record_version(history, first)
        if target is not None and not unknown and version <= target:
            typed = typed_lines(history, version, VERSION_KEY in first, target)
    if typed is None:
        return [], range(len(lines))
    structs, left = typed.upgrade(lines)
    if structs:
        whole.read, whole.passed = whole.read + len(structs), whole.passed + len(structs)
        whole.versions[typed.version] += len(structs)
    return structs, left


def _keep_spelling(record: Record, value: Record, texts: dict[str, Any]) -> None:
    """Replace values that the migration did not change by their texts."""
    for name, text in texts.items():
        if record.get(name, MISSING) is value[name]:
            record[name] = text


def _in_order(places: list[int], structs: list[Any], others: list[int], records: list[Any]) -> list[Any]:
    if not (structs and records):
        return structs or records
    passed = dict(zip(places, structs, strict=True)) | dict(zip(others, records, strict=True))
    return [passed[place] for place in sorted(passed)]


def _check_defaults(history: SchemaHistory) -> None:
    for step in history.steps(1, history.latest):
        for part in (*step.before, *step.after, step.operation):
            default = getattr(part, "default", None)
            if type(default) is float and not math.isfinite(default):
                raise DeclarationError(
                    f"{history.name}: field {part.name!r}: JSON can't represent its default {default}"
                )


def _chunks(source: BinaryIO) -> Iterator[list[bytes]]:
    """Read lines in chunks. A blank last line does not count."""
    held: list[bytes] = []
    size = SIZE
    while size >= SIZE:  # after the end, reading a terminal would block again
        some = source.readlines(SIZE)
        size = sum(map(len, some))
        lines = held + some
        held = [lines.pop()] if lines and not lines[-1].strip() else []  # perhaps the last line of the file
        yield lines


def _read(
    lines: list[bytes], places: Sequence[int], first: int
) -> tuple[dict[int, Any], dict[int, dict[str, Any]], list[Quarantined]]:
    """Decode the lines at some places (from 0); return values and field texts by place, and quarantine entries for unreadable lines.

    The texts of the fields are kept for lines with numbers that can be written in several ways, such as 1e2 and 100.0. `first`
    is the number of the first line in the file.
    """
    values: dict[int, Any] = {}
    texts: dict[int, dict[str, Any]] = {}
    unreadable: list[Quarantined] = []
    for place in places:
        line = lines[place]
        if place + first == 1:
            line = line.removeprefix(_MARK)
        try:
            value = _decode(line)
            types = list(map(type, value.values())) if type(value) is dict else []
            strings = types.count(str)
            # JSON libraries silently use the last of two equal keys. Then the text has more strings than the value.
            if line.count(b'"') != 2 * (len(types) + strings) or not types:
                json.loads(line, object_pairs_hook=_refuse_repeated_keys)
            if strings < len(types) and (0 in value.values() or not _PLAIN.issuperset(types)):
                texts[place] = _decode_raw(line)
            values[place] = value
        except UNREADABLE as error:
            why = [_why_unreadable(line, error)]
            unreadable.append({"line": place, "version": 0, "errors": why, "raw": None})
    return values, texts, unreadable


class _RepeatedKey(ValueError):
    pass


def _refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> None:
    keys = [key for key, _ in pairs]
    if len(set(keys)) != len(keys):
        raise _RepeatedKey(next(key for key in keys if keys.count(key) > 1))


def _why_unreadable(line: bytes, error: Exception) -> str:
    if not line.strip():
        return "line: blank"
    if isinstance(error, _RepeatedKey):
        return f"line: duplicate key (got {describe(str(error))})"
    try:
        json.loads(line.decode(), parse_int=float)  # float has no limit on digits
    except UnicodeDecodeError as why:
        return f"line: not UTF-8 ({why.reason} at byte {why.start})"
    except (ValueError, RecursionError):
        return f"line: not JSON ({str(error).removeprefix('JSON is malformed: ')})"
    return "line: a value that JSON can't represent (NaN, a number out of range, or a lone surrogate)"


def _raw(line: bytes) -> Any:
    line = line.removesuffix(b"\n")
    try:
        return line.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(line).decode()}


# ── Opening files ────────────────────────────────────────────────────────────────────────────────────────────────

#: The first bytes of compressed files that can't be read here.
_COMPRESSED: Final = {
    b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x04\x22\x4d\x18": "lz4", b"PK\x03\x04": "zip",
}  # fmt: skip


@contextmanager
def reading(path: str) -> Iterator[io.BufferedReader]:
    """Open a file of lines, or `-` for standard input; gzip is recognised by the first bytes.

    Raises ValueError for another compression, and OSError, also inside the block: an OSError without a file name counts as a
    read error, and gets the name.
    """
    name = "standard input" if path == "-" else path
    with open(0 if path == "-" else path, "rb", closefd=path != "-") as file:
        try:
            start = file.peek(6)
            if kind := [kind for magic, kind in _COMPRESSED.items() if start.startswith(magic)]:
                raise ValueError(
                    f"{name}: compressed with {kind[0]}; only gzip can be read: decompress it first"
                )
            is_gzip = start.startswith(b"\x1f\x8b")
            yield io.BufferedReader(gzip.GzipFile(fileobj=file)) if is_gzip else file
        except (OSError, EOFError, zlib.error) as error:
            if isinstance(error, OSError) and error.filename is not None:
                raise
            raise OSError(errno.EIO, f"can't be read: {error}", name) from None


class _Output(io.FileIO):
    """A file whose write errors show the name that the user gave."""

    def __init__(self, file: str | int, mode: str, shown: str) -> None:
        super().__init__(file, mode, closefd=isinstance(file, str))
        self._shown = shown

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            error.filename = self._shown
            raise


@contextmanager
def whole_or_nothing(*paths: str) -> Iterator[list[BinaryIO]]:
    """Open files for writing; all of them appear under their names if the block succeeds, and none otherwise.

    They are written under temporary names in the same folders, flushed to disk, and renamed at the end, the first file last.
    `-` is standard output; like a device or a pipe, it keeps what was written to it.
    """
    with ExitStack() as stack:
        renames: list[tuple[BinaryIO, str, str]] = []
        files = [_open(path, stack, renames) for path in paths]
        yield files
        for file in files:
            file.flush()
        for file, _, _ in renames:
            os.fsync(file.fileno())
        for _, part, path in reversed(renames):
            os.replace(part, path)
        for folder in {os.path.dirname(path) for _, _, path in renames}:
            sync_folder(folder)


def _open(path: str, stack: ExitStack, renames: list[tuple[BinaryIO, str, str]]) -> BinaryIO:
    """Open a file; a regular file through a temporary one, which is listed in `renames`, and removed if it is not renamed."""
    if path == "-":
        return stack.enter_context(io.BufferedWriter(_Output(1, "wb", "standard output")))
    if os.path.exists(path) and not os.path.isfile(path):
        return stack.enter_context(io.BufferedWriter(_Output(path, "wb", path)))
    shown, path = path, os.path.realpath(path)
    folder, name = os.path.split(path)
    part = os.path.join(folder, f".{name}.{os.urandom(4).hex()}.part")
    stack.callback(_remove, part)  # registered first, in case of an interruption
    try:
        file = stack.enter_context(io.BufferedWriter(_Output(part, "xb", shown)))
    except OSError as error:
        raise OSError(error.errno, f"can't write to {folder}: {error.strerror}", shown) from None
    with suppress(FileNotFoundError):
        os.chmod(part, os.stat(path).st_mode & 0o777)
    renames.append((file, part, path))
    return file


def _remove(part: str) -> None:
    with suppress(FileNotFoundError, NotADirectoryError):
        os.unlink(part)
