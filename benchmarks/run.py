"""Run the benchmarks and store what they measured: `make bench`.

    python benchmarks/run.py [--quick] [--only records] [--into FOLDER]

Writes results.csv, with the environment in each row, results.md, the same as tables to read, two figures, and the table of site/code.md
(with --into, all but that). With --only, the stored rows of other suites are kept. Candidates of a case are compared for equal
results first, then timed in turn, round by round, on one core. `--only collection` measures the collection itself; it takes
about twenty minutes and is no part of `make bench`.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import (
    collection,
    deployment,
    figures,
    files,
    growth,
    records,
    rows,
    scaling,
    summary,
    tables,
    workers,
)
from benchmarks.rows import Row

SUITES: dict[str, Callable[[bool], Iterator[Row]]] = {
    "records": records.rows,
    "tables": tables.rows,
    "files": files.rows,
    "growth": growth.rows,
    "scaling": scaling.rows,
    "workers": workers.rows,
    "deployment": deployment.rows,
}
APART = {"collection": collection.rows}
HERE = Path(__file__).resolve().parent
INTRODUCTION = """# What was measured

Made by `make bench`, on {environment}. Candidates of a case do the same work, are compared for equal results before they are
timed, and are timed in turn, round by round, on one core. *Speed-up* is the median over the rounds against the first candidate
of the case; *half of the rounds* lie within the spread given. The line "(again)" is the first candidate against itself: a
difference smaller than its distance from 1 means nothing here. Goals that were missed are called so. *Processor* is the time of this
process on a core: where it is far below *a record*, something else was running, or the work was done by other processes. A *floor*
does the least that must be done with each value, and says nothing of any: a goal above its speed-up is out of reach of code in Python.

![Speed-up of each candidate over the naive loop](speedups.png)

![Seconds over the number of records, from ten thousand to ten million](growth.png)
"""


def markdown(measured: Iterable[Row]) -> str:
    """All rows as one table a suite."""
    measured = list(measured)
    machines = "; ".join(dict.fromkeys(row.environment for row in measured))
    parts = [INTRODUCTION.format(environment=machines)]
    for suite, part in groupby(measured, key=lambda row: row.suite):
        table = [rows.HEAD, ["---"] * len(rows.HEAD), *map(rows.as_text, part)]
        parts.append(
            f"## {suite.capitalize()}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in table) + "\n"
        )
    return "\n".join(parts)


def kept(folder: Path, suites: Iterable[str]) -> list[Row]:
    """The rows that are stored of other suites than these."""
    path, gone = folder / "results.csv", set(suites)
    return [row for row in rows.read(path) if row.suite not in gone] if path.exists() else []


def store(measured: list[Row], folder: Path) -> None:
    """Write all that is made of the rows into a folder, in the order of the suites."""
    order = [*SUITES, *APART]
    measured = sorted(measured, key=lambda row: order.index(row.suite))
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "results.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows.columns(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(map(rows.stored, measured))
    (folder / "results.md").write_text(markdown(measured), encoding="utf-8")
    figures.write(measured, folder)


def main() -> int:
    """Run, show, and store at the end: an interrupted run changes nothing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that it works, not how fast")
    parser.add_argument(
        "--only", action="append", choices=sorted(SUITES | APART), help="this suite (may be repeated)"
    )
    parser.add_argument(
        "--into", type=Path, help="folder for the results (default: benchmarks/; with --quick: none)"
    )
    args = parser.parse_args()
    rows.on_one_core()
    measured, start, names = [], time.perf_counter(), args.only or list(SUITES)
    for number, name in enumerate(names, start=1):
        print(f"── {name}, {number} of {len(names)}, {time.perf_counter() - start:.0f} s ──", flush=True)
        for row in (SUITES | APART)[name](args.quick):
            rows.show([row])
            measured.append(row)
    into = args.into or (None if args.quick else HERE)
    if into is not None:
        store(kept(into, names) + measured, into)
        if into == HERE:
            summary.write()
    print(
        f"{len(measured)} rows in {time.perf_counter() - start:.0f} s"
        + (f", stored in {into}" if into else "")
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
