"""Run the benchmarks and store what they measured: `make bench`.

    python benchmarks/run.py [--quick] [--only records] [--into FOLDER]

Writes results.csv, with the environment in each row, and results.md, the same as tables to read. Candidates of a case are
compared for equal results first, then timed in turn, round by round, on one core.
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

from benchmarks import deployment, records, rows, scaling, tables, workers
from benchmarks.rows import Row

SUITES: dict[str, Callable[[bool], Iterator[Row]]] = {
    "records": records.rows,
    "tables": tables.rows,
    "scaling": scaling.rows,
    "workers": workers.rows,
    "deployment": deployment.rows,
}
INTRODUCTION = """# What was measured

Made by `make bench`, on {environment}. Candidates of a case do the same work, are compared for equal results before they are
timed, and are timed in turn, round by round, on one core. *Speed-up* is the median over the rounds against the first candidate
of the case; *half of the rounds* lie within the spread given. The line "(again)" is the first candidate against itself: a
difference smaller than its distance from 1 means nothing here. Goals that were missed are called so.
"""


def markdown(measured: Iterable[Row]) -> str:
    """All rows as one table a suite."""
    measured = list(measured)
    parts = [INTRODUCTION.format(environment=measured[0].environment)]
    for suite, part in groupby(measured, key=lambda row: row.suite):
        table = [rows.HEAD, ["---"] * len(rows.HEAD), *map(rows.as_text, part)]
        parts.append(
            f"## {suite.capitalize()}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in table) + "\n"
        )
    return "\n".join(parts)


def main() -> int:
    """Run, show, and store at the end: an interrupted run changes nothing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that it works, not how fast")
    parser.add_argument(
        "--only", action="append", choices=sorted(SUITES), help="this suite (may be repeated)"
    )
    parser.add_argument(
        "--into", type=Path, help="folder for the results (default: benchmarks/; with --quick: none)"
    )
    args = parser.parse_args()
    rows.on_one_core()
    measured, start = [], time.perf_counter()
    for name in args.only or SUITES:
        print(f"── {name} ──", flush=True)
        for row in SUITES[name](args.quick):
            rows.show([row])
            measured.append(row)
    into = args.into or (None if args.quick else Path(__file__).parent)
    if into is not None:
        into.mkdir(parents=True, exist_ok=True)
        with open(into / "results.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows.columns(), lineterminator="\n")
            writer.writeheader()
            writer.writerows(map(rows.stored, measured))
        (into / "results.md").write_text(markdown(measured), encoding="utf-8")
    print(
        f"{len(measured)} rows in {time.perf_counter() - start:.0f} s"
        + (f", stored in {into}" if into else "")
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
