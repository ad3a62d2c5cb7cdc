"""What a benchmark yields: one row a candidate, and how rows are shown and stored."""

from __future__ import annotations

import contextlib
import csv
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from lib.benchmark import CONTROL, Comparison


@dataclass(frozen=True)
class Row:
    """One candidate in one case. `speedup` is against the first candidate of the case, in the same rounds.

    Seconds are for one call over `size` records. `noise` is how far from 1 the baseline's speed-up over itself came out.
    """

    suite: str
    case: str
    size: int
    candidate: str
    median_s: float
    spread_s: float
    cpu_s: float
    rounds: int
    speedup: float
    noise: float | None
    goal: float | None
    environment: str


def rows_of(
    suite: str, case: str, size: int, compared: Comparison, goals: Mapping[str, float] | None = None
) -> Iterator[Row]:
    """The rows of one comparison; `goals` names the speed-up that a candidate is meant to reach."""
    frame, again = compared.to_frame(), compared.baseline + CONTROL
    noise = abs(compared.speedup(again) - 1) if again in compared.timings else None
    for name, row in frame.iterrows():
        yield Row(
            suite, case, size, str(name), row["median_s"], row["spread_s"], row["cpu_s"], int(row["rounds"]),
            row["speedup"], noise, (goals or {}).get(str(name)), compared.environment,
        )  # fmt: skip


def on_one_core() -> None:
    """Keep this process on one processor, so that no candidate wins by using more."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


@contextlib.contextmanager
def on_all_cores() -> Iterator[None]:
    """Let what is started here run on every core, and go back to one core."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def readable(seconds: float) -> str:
    """A time with three digits and the unit that suits it; nothing where none was taken."""
    for unit, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds * 1e9:.3g} ns" if seconds else ""


def as_text(row: Row) -> list[str]:
    """The cells of a row of the table."""
    spread = row.spread_s / row.median_s if row.median_s else 0.0
    goal = "" if row.goal is None else f"{row.goal:g}×: {'met' if row.speedup >= row.goal else 'missed'}"
    return [
        row.case,
        row.candidate,
        f"{row.size:,}",
        readable(row.median_s / row.size),
        f"± {spread:.0%}",
        readable(row.cpu_s / row.size),
        f"{row.speedup:,.2f}×",
        goal,
    ]


HEAD = ("case", "candidate", "records", "a record", "half of the rounds", "processor", "speed-up", "goal")


def show(rows: Iterable[Row]) -> None:
    """Print rows as they come."""
    for row in rows:
        case, candidate, *rest = as_text(row)
        print(f"{case:32} {candidate:30}", *(f"{cell:>12}" for cell in rest), flush=True)


def columns() -> list[str]:
    """The columns of the stored results."""
    return [field.name for field in fields(Row)]


def stored(row: Row) -> dict[str, object]:
    """A row as it is stored: rounded, so that no digit pretends."""
    return {
        name: float(f"{value:.4g}") if isinstance(value, float) else value
        for name, value in asdict(row).items()
    }


def read(path: Path) -> list[Row]:
    """The rows that are stored in a file."""
    with open(path, encoding="utf-8", newline="") as file:
        return [_row(cells) for cells in csv.DictReader(file)]


def _row(cells: dict[str, str]) -> Row:
    whole, optional = ("size", "rounds"), ("noise", "goal")
    texts = ("suite", "case", "candidate", "environment")
    values = {
        name: text
        if name in texts
        else None
        if name in optional and not text
        else int(text)
        if name in whole
        else float(text)
        for name, text in cells.items()
    }
    return Row(**values)  # type: ignore[arg-type]
