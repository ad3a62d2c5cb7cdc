"""Partitions upgraded on workers: each record accounted for, what is done left alone, whatever dies in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lib.scaling.partitions import PartitionError, upgrade_file, upgrade_partitions
from lib.scaling.workers import WorkerPool
from lib.stage.servers import Server
from lib.versioning import DataVersionManager, UnknownVersionError, make_users

ROOT = Path(__file__).parents[2]
MANAGER = DataVersionManager()


def write(path: Path, records: list[dict[str, Any]]) -> None:
    """NDJSON in plain ASCII: some broken records hold half a surrogate pair."""
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def state(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """All files: inode, time of change, content."""
    files = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {
        at: (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes()) for at, path in files.items()
    }


def files_of(partition: str) -> list[str]:
    return [f"manifest/{partition}.json", partition, f"quarantine/{partition}"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Four partitions of users, about one in twenty broken."""
    for number in range(4):
        write(tmp_path / "users" / f"part-{number}.ndjson", list(make_users(500, seed=number, broken=0.05)))
    return tmp_path / "users"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "users.v3"


# ── One partition, without workers ───────────────────────────────────────────────────────────────────────────────


def test_a_file_that_is_gone_or_cut_off_is_written_again(source: Path, target: Path) -> None:
    first = upgrade_file(source / "part-0.ndjson", target, 3)
    good = {name: content for name, (_, _, content) in state(target).items()}
    for name in files_of("part-0.ndjson"):
        (target / name).unlink()
        assert upgrade_file(source / "part-0.ndjson", target, 3) == first
    (target / "manifest" / "part-0.ndjson.json").write_bytes(b"half a fi")
    assert upgrade_file(source / "part-0.ndjson", target, 3) == first
    assert {name: content for name, (_, _, content) in state(target).items()} == good


def test_another_source_or_version_is_upgraded_anew(source: Path, target: Path) -> None:
    upgrade_file(source / "part-0.ndjson", target, 3)
    for version, records in ((2, lines(source / "part-0.ndjson")), (3, list(make_users(10, seed=8)))):
        write(source / "part-0.ndjson", records)
        entry = upgrade_file(source / "part-0.ndjson", target, version)
        assert lines(target / "part-0.ndjson") == MANAGER.upgrade_many(records, version).records
        assert (entry.read, entry.version) == (len(records), version)


def test_what_one_that_was_killed_had_begun_is_removed_and_nothing_else(source: Path, target: Path) -> None:
    code = f"""
import os, signal
from pathlib import Path
from lib.scaling import partitions
partitions.migrate_file = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
partitions.upgrade_file(Path({str(source / "part-0.ndjson")!r}), Path({str(target)!r}), 3)
"""
    killed = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert killed.returncode == -signal.SIGKILL and len(list(target.rglob(".*.part"))) == 3
    other = target / ".part-1.ndjson.0123abcd.part"  # somebody may be at work on that one
    other.touch()
    upgrade_file(source / "part-0.ndjson", target, 3)
    other.unlink()
    assert sorted(state(target)) == files_of("part-0.ndjson")


# ── On workers ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def pool(broker: Server) -> Iterator[WorkerPool]:
    with WorkerPool(2, broker=broker) as pool:
        yield pool


def test_every_record_is_accounted_for_once(pool: WorkerPool, source: Path, target: Path) -> None:
    manifest = upgrade_partitions(pool, source, target, 3)
    assert list(manifest.index) == [f"part-{number}.ndjson" for number in range(4)]
    assert manifest["read"].sum() == 2000 == manifest["passed"].sum() + manifest["quarantined"].sum()
    for name, row in manifest.iterrows():
        quarantined = lines(target / "quarantine" / str(name))
        assert len(lines(target / str(name))) == row["passed"]
        assert len(quarantined) == row["quarantined"] == sum(row["reasons"].values())
    before = state(target)
    assert upgrade_partitions(pool, source, target, 3).equals(manifest)
    assert state(target) == before


def test_one_bad_partition_is_named(pool: WorkerPool, source: Path, target: Path) -> None:
    (source / "part-9.ndjson").mkdir()
    with pytest.raises(PartitionError, match=r"not upgraded:\npart-9.ndjson: IsADirectoryError: "):
        upgrade_partitions(pool, source, target, 3)
    assert sum(len(lines(target / f"part-{number}.ndjson")) for number in range(4)) > 1800
    (source / "part-9.ndjson").rmdir()
    assert len(upgrade_partitions(pool, source, target, 3)) == 4


def test_what_can_not_be_done_is_refused(pool: WorkerPool, source: Path, target: Path) -> None:
    with pytest.raises(UnknownVersionError, match="9"):
        upgrade_partitions(pool, source, target, 9)
    with pytest.raises(FileNotFoundError, match=r"no file that ends in \.ndjson"):
        upgrade_partitions(pool, source.parent, target, 3)
    with pytest.raises(ValueError, match="must not be the source folder"):
        upgrade_partitions(pool, source, source.parent / "x" / ".." / "users", 3)
    (source / "part-4.parquet").touch()
    with pytest.raises(ValueError, match=r"not NDJSON partitions: part-4\.parquet; convert"):
        upgrade_partitions(pool, source, target, 3)
    assert not target.exists()


def test_killed_in_the_middle_it_goes_on(pool: WorkerPool, tmp_path: Path, target: Path) -> None:
    """The only worker is killed at work, and a second call gives up waiting; other workers do what is left."""
    source = tmp_path / "users"
    for number, users in enumerate([list(make_users(20_000, seed=1))] * 12):
        write(source / f"part-{number}.ndjson", users)
    pool.scale(1)
    with ThreadPoolExecutor(1) as thread:
        first = thread.submit(upgrade_partitions, pool, source, target, 3)
        pool.kill(once=lambda _: len(list(target.glob("manifest/*.json"))) >= 2)
        done = {name: content for name, content in state(target).items() if name.endswith(".json")}
        with pytest.raises(TimeoutError, match=r"of 12 partitions not done within 0 s: call it again"):
            upgrade_partitions(pool, source, target, 3, timeout=0)  # nobody is there
        assert 2 <= len(done) < 12
        pool.scale(2)
        manifest = upgrade_partitions(pool, source, target, 3)
        assert list(manifest["passed"]) == [20_000] * 12
        assert {name: state(target)[name] for name in done} == done
        assert first.result().equals(manifest), "what was sent before comes back, too"
    assert not list(target.rglob("*.part")), "what a killed worker had begun is still there"
