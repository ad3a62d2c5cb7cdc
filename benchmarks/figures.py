"""The figures of `make bench`: speed-ups by case, and growth with size."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.rows import Row
from lib import plots
from lib.benchmark import CONTROL

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
#: What the title counts: the forms of `lib` for many records. (The upgrade of a table copies nothing, so that its ratio
#: grows with the rows.)
BULK = ("lib, validate_many", "lib, upgrade_many", "lib, migrate_file", "lib, validate_table")


def speedups(rows: Sequence[Row]) -> Figure:
    """A line for each candidate, under the name of its case: how many times as fast as the naive loop it is."""
    lines: list[tuple[str, Row | None]] = []
    for key, name in CASES.items():
        if candidates := [row for row in rows if (row.suite, row.case) == key and row.speedup > 0][1:]:
            lines.append((name, None))
            lines += [(row.candidate, row) for row in candidates if not row.candidate.endswith(CONTROL)]
    fig, ax = plots.subplots(width=8.0, height=0.8 + 0.22 * len(lines))
    ax.axvline(1, **plots.LOOKS["predicted"])
    ax.set(xscale="log", xlabel="times as fast as the naive loop of the case (logarithmic)", ylim=(len(lines) - 0.4, -0.8),
           yticks=range(len(lines)), yticklabels=[text for text, _ in lines])  # fmt: skip
    for place, (label, (_, row)) in enumerate(zip(ax.get_yticklabels(), lines, strict=True)):
        if row is None:
            label.set_fontweight("bold")
            continue
        look = "blue" if row.candidate.startswith("lib") else "measured"
        label.set_color(plots.COLORS[look])
        ax.plot(row.speedup, place, **plots.LOOKS[look] | {"linestyle": ""})
        speedup = f"{row.speedup:,.0f}" if row.speedup >= 100 else f"{row.speedup:.2g}"
        ax.annotate(speedup, (row.speedup, place), (8, -3), textcoords="offset points", fontsize=8)
    ours = [row.speedup for _, row in lines if row is not None and row.candidate in BULK]
    ax.set_title(f"In bulk, lib is {min(ours):.1f} to {max(ours):.0f} times as fast as the naive loop")
    ax.margins(x=0.12)
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
