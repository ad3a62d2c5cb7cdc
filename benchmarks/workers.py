"""Real workers: how waiting scales with their number, what two cores bring, and what is lost while workers are killed.

    python benchmarks/run.py --only workers [--quick]

These run on all cores, for the workers are processes of their own. "A record" is a task; for partitions it is one, and for counting
it is a number. Their processor time is that of this process, and not that of the workers.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import dask
import joblib
import msgspec
from joblib.externals.loky import get_reusable_executor

from benchmarks.rows import Row, on_all_cores, rows_of
from lib.benchmark import Comparison, Timing, compare, environment
from lib.scaling.partitions import upgrade_file, upgrade_partitions
from lib.scaling.settings import EARLY, RESTORING, Delivery
from lib.scaling.workers import WorkerPool
from lib.stage.servers import Server, valkey
from lib.versioning import make_users


def waiting(broker: Server, tasks: int, rounds: int) -> Iterator[Row]:
    """Tasks that wait a quarter of a second, on 1, 2 and 5 workers that stand ready; all say how many were done."""
    with contextlib.ExitStack() as stack:
        pools = {n: stack.enter_context(WorkerPool(n, broker=broker)) for n in (1, 2, 5)}

        def done(pool: WorkerPool) -> int:
            return len(ids := pool.send("pause", [(0.25,)] * tasks)) - pool.wait(600, ids=ids)

        candidates = {f"{n} workers": lambda pool=pool: done(pool) for n, pool in pools.items()}
        compared = compare(candidates, baseline="1 workers", rounds=rounds, min_seconds=0.0)
    yield from rows_of("workers", "waiting", tasks, compared, goals={"2 workers": 1.9, "5 workers": 4.5})


def _count(numbers: int) -> int:
    """Work that needs a core and nothing else: no memory, no disk, no lock."""
    return sum(number * number for number in range(numbers))


def counting(parts: int, numbers: int, rounds: int) -> Iterator[Row]:
    """What two cores of this machine give to processes that share nothing: what partitions are to be seen against."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        candidates = {
            "one process": lambda: [_count(numbers) for _ in range(parts)],
            "multiprocessing, 2": lambda: pool.map(_count, [numbers] * parts, chunksize=1),
        }
        compared = compare(candidates, baseline="one process", rounds=rounds, min_seconds=0.0, control=True)
    yield from rows_of("workers", "counting, nothing else", parts * numbers, compared)


def partitions(broker: Server, parts: int, records: int, rounds: int) -> Iterator[Row]:
    """A folder of NDJSON files upgraded to another folder, by one process and by two, of four kinds that stand ready.

    Every candidate does the same `upgrade_file`; that all count alike, what was kept and lost too, is told by the manifest: to read all
    files here would be work for one core in the time of all.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "in").mkdir()
        for part in range(parts):
            lines = (msgspec.json.encode(user) + b"\n" for user in make_users(records, seed=part))
            (folder / "in" / f"{part}.ndjson").write_bytes(b"".join(lines))
        sources, out = sorted((folder / "in").iterdir()), folder / "out"
        spawn = multiprocessing.get_context("spawn")
        pool = stack.enter_context(spawn.Pool(2))
        futures = stack.enter_context(ProcessPoolExecutor(2, mp_context=spawn))
        pools = {n: stack.enter_context(WorkerPool(n, broker=broker)) for n in (1, 2)}
        jobs = [(path, out, 3) for path in sources]
        delayed = [dask.delayed(upgrade_file, pure=False)(*job) for job in jobs]
        ways: dict[str, Callable[[], Any]] = {
            "one process": lambda: [upgrade_file(*job) for job in jobs],
            "multiprocessing, 2": lambda: pool.starmap(upgrade_file, jobs, chunksize=1),
            "joblib, 2": lambda: joblib.Parallel(n_jobs=2, batch_size=1)(joblib.delayed(upgrade_file)(*job) for job in jobs),
            "dask, 2": lambda: dask.compute(*delayed, scheduler="processes", pool=futures),
            "celery, 1": lambda: upgrade_partitions(pools[1], folder / "in", out, 3),
            "celery, 2": lambda: upgrade_partitions(pools[2], folder / "in", out, 3),
        }  # fmt: skip

        def anew(way: Callable[[], Any]) -> list[str]:
            shutil.rmtree(out / "manifest", ignore_errors=True)  # what it calls done would be left alone
            way()
            return [path.read_bytes() for path in sorted((out / "manifest").iterdir())]

        candidates = {name: lambda way=way: anew(way) for name, way in ways.items()}
        compared = compare(candidates, baseline="one process", rounds=rounds, min_seconds=0.0, control=True)
        get_reusable_executor().shutdown(wait=True)  # joblib's workers would stay
    yield from rows_of("workers", "partitions", parts * records, compared, goals={"multiprocessing, 2": 1.8})
    timings = {name: compared.timings[name] for name in ("celery, 1", "celery, 2")}
    against_one = Comparison("celery, 1", timings, compared.environment)
    yield from rows_of(
        "workers", "partitions, Celery", parts * records, against_one, goals={"celery, 2": 1.8}
    )


def killed(broker: Server, delivery: Delivery, name: str, tasks: int, every: float) -> Row:
    """Tasks that book payments on 4 workers, of which one is killed in the middle of a task and replaced, again and again.

    What a kill between two tasks can do is counted apart, by `killed_between`.
    """
    with WorkerPool(4, broker=broker, delivery=delivery) as pool:
        start, sent, kills = time.perf_counter(), pool.send("book_once", [(0.25,)] * tasks), 0
        due = start + every
        while pool.queue_length():
            time.sleep(0.01)
            if time.perf_counter() > due:
                pool.kill()
                pool.scale(4)
                kills, due = kills + 1, time.perf_counter() + every
        left = pool.wait(60 if delivery.restore_interval else 5)
        seconds, booked = time.perf_counter() - start, Counter(pool.ledger().values())
    assert set(booked) <= {1}, f"booked more than once: {booked}"
    assert sum(booked.values()) + left >= len(sent)
    text = f"{name}: {kills} killed, {left} of {tasks} not done, {tasks - booked[1]} not booked"
    timing = Timing(text, (seconds,) * 2, (0.0,) * 2)
    return Row(
        "workers", "a worker killed again and again", tasks, text, timing.median, 0.0, 0.0, 1,
        1.0 if left == 0 else 0.0, None, 1.0 if delivery is RESTORING else None, environment(),
    )  # fmt: skip


def killed_between(broker: Server, kills: int) -> Row:
    """Tasks so short that a kill at random may fall between taking one and keeping its copy, which is what can be lost.

    Celery's main process takes a task off the list with one command, and keeps the copy with the next one.
    """
    moments = random.Random(1)
    with WorkerPool(1, kind="solo", broker=broker, delivery=RESTORING) as pool:
        start, sent = time.perf_counter(), pool.send("pause", [(0.002,)] * (kills * 50))
        for _ in range(kills):
            time.sleep(moments.uniform(0.0, 0.1))
            pool.workers[0].process.kill()
            pool.scale(1)
        while pool.queue_length():
            time.sleep(0.1)
        left = pool.wait(15)
        seconds = time.perf_counter() - start
    text = f"late, restored: {kills} killed, {left} of {len(sent)} lost"
    return Row(
        "workers", "killed at random, tasks of 2 ms", len(sent), text, seconds, 0.0, 0.0, 1,
        1.0 if left == 0 else 0.0, None, None, environment(),
    )  # fmt: skip


def rows(quick: bool = False) -> Iterator[Row]:
    """All cases; a quick run shows that it works, not how fast."""
    with on_all_cores(), valkey() as broker:
        yield from waiting(broker, *((5, 3) if quick else (20, 10)))
        yield from counting(*((4, 100_000, 3) if quick else (8, 5_000_000, 5)))
        yield from partitions(broker, *((4, 2_000, 3) if quick else (16, 100_000, 5)))
        for delivery, name in ((RESTORING, "late, restored"), (EARLY, "early")):
            yield killed(broker, delivery, name, *((40, 0.5) if quick else (200, 2.0)))
        yield killed_between(broker, 5 if quick else 80)
