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
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, BinaryIO

import msgspec

from lib.stage.files import sync_folder
from lib.versioning.bulk import Quarantined, Report, Way, process, reason_of
from lib.versioning.history import SchemaHistory
from lib.versioning.manager import DataVersionManager
from lib.versioning.schema import DeclarationError, describe, is_unicode
from lib.versioning.suspects import drop_positions
from lib.versioning.typed_lines import UNREADABLE, strings_in_text, strings_in_values, typed_lines

#: So many lines, or so many bytes, are held in memory at a time; a longer line is held alone.
LINES, BYTES = 2_000, 4_000_000
#: So many bytes are asked for at once, so that very short lines don't become many more than `LINES`.
_READ = 16_000
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
    # Typed decoding does not tell in which order keys stood, so it is not for records that are written as they are.
    typed = way == "upgrade" and (target is not None or out is None)
    for lines, size in _chunks(source):
        sure, left = _read_typed(manager.history, lines, target, whole) if typed else ([], range(len(lines)))
        values, unreadable = _read(lines, left, first)
        batch = process(manager.history, manager.extra, list(values.values()), target, way)
        places = list(values)
        for entry in batch.quarantined:
            entry["line"] = places[entry["line"] - 1]
        aside = {entry["line"] for entry in batch.quarantined}
        passed = [place for place in places if place not in aside]
        entries = sorted(unreadable + batch.quarantined, key=lambda entry: entry["line"])
        for entry in entries:
            entry["raw"] = _raw(lines[entry["line"]])
            entry["line"] += first
        if out is not None:
            out.write(_encode_lines(_in_order(len(lines), left, sure, passed, batch.records)))
        quarantine.write(_encode_lines(entries))
        reasons = Counter(reason_of(error) for entry in unreadable for error in entry["errors"])
        whole += batch.report
        whole += Report(read=len(unreadable), quarantined=len(unreadable), reasons=reasons)
        first += len(lines)
        del lines, sure, values, batch  # the next ones take their place in the processor's cache
        if progress is not None:
            progress(size)
    return whole


def _read_typed(
    history: SchemaHistory, lines: list[bytes], target: int | None, whole: Report
) -> tuple[list[Any], Sequence[int]]:
    """Return the migrated records of lines that are surely valid, after counting them, and the places of the others."""
    typed = typed_lines(history, lines[0], target)
    if typed is None:
        return [], range(len(lines))
    sure, left = typed.read(lines)
    if sure:
        whole += Report(len(sure), len(sure), versions=Counter({typed.version: len(sure)}))
    return sure, left


def _in_order(
    count: int, left: Sequence[int], sure: list[Any], passed: list[int], records: list[Any]
) -> list[Any]:
    """Put records together: `records` have the places `passed`, those that are `sure` all places but `left`."""
    if not (sure and records):
        return sure or records
    done = dict(zip(drop_positions(range(count), left), sure, strict=True)) | dict(
        zip(passed, records, strict=True)
    )
    return [done[place] for place in sorted(done)]


def _check_defaults(history: SchemaHistory) -> None:
    for step in history.steps(1, history.latest):
        for part in (*step.before, *step.after, step.operation):
            default = getattr(part, "default", None)
            if type(default) is float and not math.isfinite(default):
                raise DeclarationError(
                    f"{history.name}: field {part.name!r}: its default {default} has no form in JSON"
                )


def _chunks(source: BinaryIO) -> Iterator[tuple[list[bytes], int]]:
    """Read lines, and with some of them the number of their bytes."""
    lines, size, ended = [], 0, False
    while not ended:
        some = source.readlines(_READ)
        length = sum(map(len, some))
        ended = length < _READ  # asked once more, a terminal would wait for more
        lines += some
        size += length
        if len(lines) >= LINES or size >= BYTES:
            yield lines, size
            lines, size = [], 0
    if lines:
        yield lines, size


def _read(lines: list[bytes], places: Sequence[int], first: int) -> tuple[dict[int, Any], list[Quarantined]]:
    """Decode the lines at some places (from 0); return the values by place, and quarantine entries where there are none.

    `first` is the number of the first line in the file.
    """
    unreadable: list[Quarantined] = []
    with suppress(*UNREADABLE):
        return dict(zip(places, _decode_all([lines[place] for place in places]), strict=True)), unreadable
    values: dict[int, Any] = {}
    for place in places:
        line = lines[place].removeprefix(_MARK) if place + first == 1 else lines[place]
        try:
            (values[place],) = _decode_all([line])
        except UNREADABLE as error:
            why = [_why_unreadable(line, error)]
            unreadable.append({"line": place, "version": 0, "errors": why, "raw": None})
    return values, unreadable


def _decode_all(lines: list[bytes]) -> list[Any]:
    """Decode lines; raises one of the errors in `UNREADABLE`, also if a key stands twice in an object."""
    values = list(map(_decode, lines))
    if strings_in_text(b"".join(lines)) != strings_in_values(values):
        for line in lines:
            json.loads(line, object_pairs_hook=_refuse_repeated_keys)
    return values


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
        for folder in {os.path.dirname(path) for _, _, path in renames}:
            sync_folder(folder)


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
