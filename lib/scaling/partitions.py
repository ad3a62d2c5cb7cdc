"""Upgrade a partitioned data set with a pool of workers: finished partitions stay finished, every record is accounted for.

    with WorkerPool(3) as pool:
        manifest = upgrade_partitions(pool, "users", "users.v3", version=3)

`users` holds files of records (NDJSON). Afterwards `users.v3` holds a file of the same name for each; the quarantined records
are in `quarantine/`, and the result of each partition is in `manifest/`. Workers and owner share these folders.
"""

from __future__ import annotations

import glob
import hashlib
import math
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from lib.stage.locks import file_lock
from lib.stage.ranges import check_range
from lib.versioning.files import migrate_file, whole_or_nothing
from lib.versioning.history import SchemaHistory
from lib.versioning.manager import DataVersionManager
from lib.versioning.users import USERS

if TYPE_CHECKING:
    import pandas as pd


class Pool(Protocol):
    """Sends tasks to workers and reports what happened to them, such as `lib.scaling.workers.WorkerPool`."""

    def send(self, task: str, arguments: Iterable[Sequence[Any]]) -> list[str]: ...
    def wait(self, timeout: float, *, ids: Iterable[str]) -> int: ...
    def events(self) -> pd.DataFrame: ...


class PartitionError(RuntimeError):
    """Some partitions could not be upgraded; the message names them. The others are finished."""


class Entry(msgspec.Struct):
    """The result of a partition. `source` is the SHA-256 of the input file."""

    partition: str
    version: int
    source: str
    read: int
    passed: int
    quarantined: int
    kept: dict[str, int]
    lost: dict[str, int]
    reasons: dict[str, int]


def upgrade_partitions(
    pool: Pool,
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    version: int,
    *,
    history: SchemaHistory = USERS,
    timeout: float = 600.0,
) -> pd.DataFrame:
    """Upgrade each file of users in the folder `source` to a version, on the workers of a pool, into the folder `target`.

    After an interruption, call it again to continue: finished partitions are skipped unless their input has changed. Returns
    the manifest, one row for each partition: records read, passed, quarantined, and what was kept and lost.
    history: of the users in the workers' code, if they run another release.
    Raises UnknownVersionError, PartitionError, FileNotFoundError if there is no partition, ValueError if both folders are the
    same or the source has other files, and TimeoutError.
    """
    import pandas as pd

    history.check_version(version)
    check_range(0, timeout=timeout)
    source, target = Path(source).resolve(), Path(target).resolve()
    if source == target:
        raise ValueError(f"{target}: the target must not be the source folder, which is never changed")
    partitions = sorted(source.glob("*.ndjson"))
    if not partitions:
        raise FileNotFoundError(f"{source}: no file that ends in .ndjson")
    others = [path.name for path in sorted(source.glob("[!.]*")) if path.is_file() and path not in partitions]
    if others:
        raise ValueError(
            f"{source}: these are not NDJSON partitions: {', '.join(others)}; convert or move them"
        )
    sent = pool.send("upgrade_partition", [(str(path), str(target), version) for path in partitions])
    if left := pool.wait(timeout, ids=sent):
        raise TimeoutError(
            f"{left} of {len(partitions)} partitions not done within {timeout:g} s: call it again to continue"
        )
    events = pool.events()
    errors = events[events["task"].isin(sent) & (events["outcome"] == "failure")].set_index("task")["error"]
    if len(errors):
        names = dict(zip(sent, partitions, strict=True))
        raise PartitionError(
            "\n".join(["not upgraded:", *(f"{names[at].name}: {why}" for at, why in errors.items())])
        )
    entries = [_entry(target, path.name) for path in partitions]
    return pd.DataFrame(list(map(msgspec.to_builtins, entries))).set_index("partition")


def upgrade_file(source: Path, target: Path, version: int) -> Entry:
    """Upgrade one partition, unless it is finished already. May be called twice at the same time: the second call waits.

    All its files appear together, the manifest entry last; unfinished files of a killed process are removed. Raises OSError;
    then nothing is left in the target.
    """
    name = source.name
    paths = [target / "manifest" / f"{name}.json", target / name, target / "quarantine" / name]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
    with file_lock(paths[0].with_name(f".{name}.lock"), wait=math.inf):  # a killed process holds no lock
        with source.open("rb") as records:
            checksum = hashlib.file_digest(records, "sha256").hexdigest()
        entry = _entry(target, name)
        if entry and (entry.source, entry.version) == (checksum, version) and all(map(Path.exists, paths)):
            return entry
        for path in paths:
            for part in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
                part.unlink()
        with whole_or_nothing(*map(str, paths)) as (note, out, quarantine):
            with source.open("rb") as records:
                report = migrate_file(DataVersionManager(), records, out, quarantine, target=version)
            counts = {"read": report.read, "passed": report.passed, "quarantined": report.quarantined}
            entry = Entry(name, version, checksum, **counts,
                          kept=report.kept, lost=report.lost, reasons=report.reasons)  # fmt: skip
            note.write(msgspec.json.format(msgspec.json.encode(entry)))
        return entry


def _entry(target: Path, name: str) -> Entry | None:
    with suppress(FileNotFoundError, msgspec.MsgspecError):  # an unreadable entry proves nothing
        return msgspec.json.decode((target / "manifest" / f"{name}.json").read_bytes(), type=Entry)
    return None
