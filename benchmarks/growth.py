"""How time grows with size, from ten thousand to ten million records: exponents of a power law, fitted to medians.

    python benchmarks/run.py --only growth [--quick]

Ten million dicts would take four gigabytes, so records and lines of files come as a stream: a block of ten thousand again and
again, of which the results are dropped. Tables are whole; ten million rows take half a gigabyte. An exponent of 1 is a time that is
proportional to the size, 0 one that does not grow.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Iterator
from itertools import repeat
from types import SimpleNamespace
from typing import Any, Final, cast

import msgspec
import numpy as np
import pyarrow as pa

from benchmarks.rows import Row
from lib.benchmark import environment, measure
from lib.versioning import DataVersionManager, make_users
from lib.versioning.files import migrate_file
from lib.versioning.tables import upgrade_table

BLOCK: Final = 10_000
#: The exponent of each form, and how far from it the fitted one may be.
GOALS: Final = {"records": (1.0, 0.05), "files": (1.0, 0.05), "table upgrade": (0.0, 0.1)}


def fitted_exponent(sizes: list[int], seconds: list[float]) -> float:
    """The slope of log(seconds) over log(size), by least squares."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def records_job(size: int) -> Callable[[], Any]:
    """Validate and upgrade so many records, block by block."""
    block, manager = list(make_users(BLOCK, seed=7)), DataVersionManager()

    def job() -> None:
        for _ in range(size // BLOCK):
            assert len(manager.upgrade_many(block, 3).records) == BLOCK

    return job


def files_job(size: int) -> Callable[[], Any]:
    """Migrate so many lines of NDJSON into a file that forgets them."""
    block = [msgspec.json.encode(record) + b"\n" for record in make_users(BLOCK, seed=7)]

    def job() -> None:
        again = repeat(block, size // BLOCK)  # longer than what is asked for, as of a file that has not ended
        source = cast(Any, SimpleNamespace(readlines=lambda _: next(again, [])))
        with open(os.devnull, "wb") as nowhere:
            assert migrate_file(DataVersionManager(), source, nowhere, nowhere, target=3).passed == size

    return job


def table_job(size: int) -> Callable[[], Any]:
    """Upgrade a valid table of so many rows, often enough to be timed."""
    block = pa.Table.from_pylist(list(make_users(BLOCK, seed=7)))
    table = pa.concat_tables([block] * (size // BLOCK)).combine_chunks()
    return lambda: upgrade_table(table, 3, validated=True)


def growth(
    form: str, make: Callable[[int], Callable[[], Any]], sizes: list[int], calls: int, most: int = 7
) -> Iterator[Row]:
    """One row a size, with `most` rounds and fewer the longer one takes; at last the exponent against its goal."""
    medians = []
    for size in sizes:
        job, rounds = make(size), most if size < 10**6 else 3 if size < 10**7 or calls > 1 else 1
        before = pa.total_allocated_bytes()
        result = job() if rounds > 1 else None  # warm; the largest is so by the one before
        assert not result or result.table.num_rows == size
        added = f", {(pa.total_allocated_bytes() - before) / size:.3f} bytes a row added" if result else ""
        del result
        wall, cpu = zip(*(measure(job, calls) for _ in range(rounds)), strict=True)
        medians.append(statistics.median(wall))
        speedup = (medians[0] / sizes[0]) / (medians[-1] / size)
        lower, upper = (min(wall), max(wall)) if rounds < 4 else statistics.quantiles(wall, n=4)[::2]
        yield Row("growth", form, size, f"lib{added}", medians[-1], upper - lower, statistics.median(cpu), rounds,
                  speedup, None, None, environment())  # fmt: skip
    exponent, (meant, within) = fitted_exponent(sizes, medians), GOALS[form]
    text = f"exponent {exponent:.3f}, meant to be {meant:g} ± {within:g}"
    inside = within / max(abs(exponent - meant), within / 100)
    yield Row("growth", form, sizes[-1], text, 0.0, 0.0, 0.0, len(sizes), inside, None, 1.0, environment())


def rows(quick: bool = False) -> Iterator[Row]:
    """All forms; a quick run shows that it works, not how fast."""
    sizes, most = ([BLOCK, 2 * BLOCK, 4 * BLOCK], 3) if quick else ([10**4, 10**5, 10**6, 10**7], 7)
    yield from growth("table upgrade", table_job, sizes, 100, most)
    yield from growth("records", records_job, sizes, 1, most)
    yield from growth("files", files_job, sizes, 1, most)
