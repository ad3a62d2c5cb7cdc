"""Files of records, one JSON object a line (NDJSON), of any size: read, migrated and written in constant memory.

Every line that is read comes out once: migrated in the output, or untouched in the quarantine with its number and every
reason. Output files appear whole or not at all.
"""

from __future__ import annotations

import base64
import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, BinaryIO

import msgspec

from lib.versioning.bulk import Batch, Quarantined, Report, Way, process, reason_of
from lib.versioning.history import SchemaHistory
from lib.versioning.manager import DataVersionManager
from lib.versioning.schema import DeclarationError, describe, is_unicode

#: So many lines, or so many bytes, are held in memory at a time; a longer line is held alone.
LINES, BYTES = 2_000, 4_000_000
#: The byte order mark that some editors put at the start of a file.
_MARK = b"\xef\xbb\xbf"

_decode = msgspec.json.Decoder().decode
_encode_lines = msgspec.json.Encoder().encode_lines


def migrate_file(
    manager: DataVersionManager,
    source: BinaryIO,
    out: BinaryIO | None,
    quarantine: BinaryIO,
    *,
    target: int | None = None,
    way: Way = "upgrade",
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Validate every line of `source` and migrate it to `target` (None: leave it as it is), and return the counts.

    Records that pass go to `out` in their order, the others to `quarantine` as
    `{"line", "version", "errors", "raw"}`, where `raw` is the line's text, or `{"base64": …}` if its bytes are no UTF-8,
    without the line feed at its end. `progress` is called with the number of bytes read since the last call.
    Raises UnknownVersionError, and DeclarationError for a history with a default that JSON can't write.
    """
    if target is not None:
        manager.history.check_version(target)
        _check_defaults(manager.history)
    whole, first = Report(), 1
    for lines in _chunks(source):
        records, unreadable = _read(lines, first)
        batch = process(manager.history, manager.extra, list(records.values()), target, way)
        places = list(records)
        for entry in batch.quarantined:
            entry["line"] = places[entry["line"] - 1]
        entries = sorted(unreadable + batch.quarantined, key=lambda entry: entry["line"])
        for entry in entries:
            entry["raw"] = _raw(lines[entry["line"]])
            entry["line"] += first
        if out is not None:
            out.write(_encode_lines(batch.records))
        quarantine.write(_encode_lines(entries))
        whole += _with_unreadable(batch, unreadable)
        first += len(lines)
        if progress is not None:
            progress(sum(map(len, lines)))
    return whole


def _check_defaults(history: SchemaHistory) -> None:
    for step in history.steps(1, history.latest):
        for part in (*step.before, *step.after, step.operation):
            default = getattr(part, "default", None)
            if type(default) is float and not math.isfinite(default):
                raise DeclarationError(
                    f"{history.name}: field {part.name!r}: its default {default} has no form in JSON"
                )


def _with_unreadable(batch: Batch, unreadable: list[Quarantined]) -> Report:
    report = batch.report
    report.read += len(unreadable)
    report.quarantined += len(unreadable)
    report.reasons.update(reason_of(error) for entry in unreadable for error in entry["errors"])
    return report


def _chunks(source: BinaryIO) -> Iterator[list[bytes]]:
    lines, size = [], 0
    for line in source:
        lines.append(line)
        size += len(line)
        if len(lines) >= LINES or size >= BYTES:
            yield lines
            lines, size = [], 0
    if lines:
        yield lines


def _read(lines: list[bytes], first: int) -> tuple[dict[int, Any], list[Quarantined]]:
    """Decode lines; return the values by their place (from 0), and quarantine entries for lines that hold none.

    `first` is the number of the first of these lines in the file.
    """
    records: dict[int, Any] = {}
    unreadable: list[Quarantined] = []
    for place, line in enumerate(lines):
        if place + first == 1:
            line = line.removeprefix(_MARK)
        try:
            record = _decode(line)
            if _may_repeat_a_key(line, record):
                json.loads(line, object_pairs_hook=_refuse_repeated_keys)
            records[place] = record
        except (msgspec.MsgspecError, RecursionError, ValueError) as error:
            unreadable.append(
                {
                    "line": place,
                    "version": 0,
                    "errors": [_why_unreadable(line, error)],
                    "raw": None,
                }
            )
    return records, unreadable


def _may_repeat_a_key(line: bytes, record: Any) -> bool:
    """Tell quickly that no key of a flat object can stand there twice: JSON libraries silently take the last one."""
    size = len(record) if isinstance(record, dict) else -1
    return line.count(b'":') != size or b" :" in line or b"\t:" in line or b"\r:" in line


class _RepeatedKey(ValueError):
    pass


def _refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> None:
    keys = [key for key, _ in pairs]
    if len(set(keys)) != len(keys):
        raise _RepeatedKey(next(key for key in keys if keys.count(key) > 1))


def _why_unreadable(line: bytes, error: Exception) -> str:
    if not line.strip():
        return "line: blank"
    try:
        line.decode()
    except UnicodeDecodeError as why:
        return f"line: not UTF-8 ({why.reason} at byte {why.start})"
    if isinstance(error, RecursionError):
        return "line: nested too deep"
    if isinstance(error, _RepeatedKey):
        return f"line: a key stands there twice (got {describe(str(error))})"
    if isinstance(error, msgspec.ValidationError):
        return f"line: a number out of range ({error})"
    if _has_lone_surrogate(line):
        return "line: lone surrogate, which is no Unicode text"
    return f"line: not JSON ({str(error).removeprefix('JSON is malformed: ')})"


def _has_lone_surrogate(line: bytes) -> bool:
    """Tell whether a line would be JSON but for half a surrogate pair, which its grammar allows and Unicode does not."""
    try:
        return b"\\u" in line and not is_unicode(json.dumps(json.loads(line), ensure_ascii=False))
    except (ValueError, RecursionError):
        return False


def _raw(line: bytes) -> Any:
    line = line.removesuffix(b"\n")
    try:
        return line.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(line).decode()}


# ── Opening files ────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def whole_or_nothing(*paths: str) -> Iterator[list[BinaryIO]]:
    """Open files for writing so that all of them appear under their names when the block ends well, and none otherwise.

    They are written beside their places under temporary names, flushed to disk, and renamed at the end, the first last.
    `-` is standard output: what was written to it can't be taken back, as with a device or a pipe.
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


def _open(path: str, stack: ExitStack, renames: list[tuple[BinaryIO, str, str]]) -> BinaryIO:
    """Open a file; a regular one by way of a part, which is noted in `renames`, and removed where it is not renamed."""
    if path == "-":
        return sys.stdout.buffer
    if os.path.exists(path) and not os.path.isfile(path):
        return stack.enter_context(open(path, "wb"))
    path = os.path.realpath(path)
    folder, name = os.path.split(path)
    part = os.path.join(folder, f".{name}.{os.urandom(4).hex()}.part")
    stack.callback(_remove, part)  # before it is there, so that no interruption comes in between
    try:
        file = stack.enter_context(open(part, "xb"))
    except OSError as error:
        raise OSError(error.errno, f"can't write into {folder}: {error.strerror}", path) from None
    with suppress(FileNotFoundError):
        os.chmod(part, os.stat(path).st_mode & 0o777)
    renames.append((file, part, path))
    return file


def _remove(part: str) -> None:
    with suppress(FileNotFoundError, NotADirectoryError):
        os.unlink(part)
