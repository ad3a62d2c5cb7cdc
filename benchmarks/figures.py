"""The figures of `make bench`: speed-ups by case, and growth with size."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.rows import Row
from lib import plots

#: Each case with a naive loop as its unit, and short names for those that fit on a figure.
CASES = {
    ("records", "types"): "types of records",
    ("records", "types and timestamps"): "types and timestamps",
    ("records", "validate and upgrade"): "validate and upgrade",
    ("files", "NDJSON to NDJSON"): "NDJSON to NDJSON",
    ("files", "Parquet to Parquet"): "Parquet to Parquet",
    ("tables", "quarantine"): "table: quarantine",
    ("tables", "upgrade"): "table: upgrade",
}
#: Names of candidates are written where they do not hide each other.
APART = 3.0


def speedups(rows: Sequence[Row]) -> Figure:
    """A line for each case, on it a mark for each candidate: how many times as fast as the naive loop."""
    by_case = {key: [row for row in rows if (row.suite, row.case) == key] for key in CASES}
    shown = {CASES[key]: found for key, found in by_case.items() if found}
    fig, ax = plots.subplots(width=8.0, height=0.6 + 0.62 * len(shown))
    for place, candidates in zip(range(len(shown), 0, -1), shown.values(), strict=True):
        above, last = True, 0.0
        for row in sorted(candidates[1:], key=lambda row: row.speedup):
            if row.candidate.endswith("(again)") or row.speedup <= 0:
                continue
            ours = row.candidate.startswith("lib")
            ax.plot(row.speedup, place, **plots.LOOKS["blue" if ours else "measured"] | {"linestyle": ""})
            above = not above if row.speedup < last * APART else True
            ax.annotate(row.candidate.partition(",")[0].removeprefix("naive "), (row.speedup, place), (0, 6 if above else -14),
                        textcoords="offset points", ha="center", fontsize=8,
                        color=plots.COLORS["blue" if ours else "measured"])  # fmt: skip
            last = row.speedup
    ax.axvline(1, **plots.LOOKS["predicted"])
    ax.set(xscale="log", xlabel="times as fast as the naive loop of the case (logarithmic)",
           yticks=range(len(shown), 0, -1), yticklabels=list(shown), ylim=(0.4, len(shown) + 0.7))  # fmt: skip
    return fig


def growth(rows: Sequence[Row]) -> Figure:
    """Seconds over size, for each form."""
    fig, ax = plots.subplots(width=7.0, height=3.6)
    measured = [row for row in rows if row.suite == "growth" and row.median_s > 0]
    for form, points in groupby(measured, key=lambda row: row.case):
        found = list(points)
        ax.plot([row.size for row in found], [row.median_s for row in found], label=form)
    ax.set(xscale="log", yscale="log", xlabel="records", ylabel="seconds")
    plots.label_lines(ax)
    return fig


def write(rows: Sequence[Row], folder: Path) -> None:
    """Write those figures for which there are rows."""
    if any((row.suite, row.case) in CASES for row in rows):
        alt = "Speed-up over the naive loop by case and library: a few times for records, thousands of times for the upgrade of a table."
        (folder / "speedups.png").write_bytes(plots.png(speedups(rows), alt))
    if any(row.suite == "growth" for row in rows):
        alt = "Seconds over records on logarithmic axes: records and files rise in a straight line, the upgrade of a table stays flat."
        (folder / "growth.png").write_bytes(plots.png(growth(rows), alt))
