"""No figure hides its point: on the data of three recorded runs, one of them slow, nothing overlaps, and titles are sentences."""

from __future__ import annotations

from pathlib import Path

import figures
import matplotlib.pyplot as plt
import pytest
from lessons import lesson_paths, read

LESSONS = {path.name[:2]: read(path) for path in lesson_paths()}
FILES = sorted(figures.RECORDED.glob("*/*.xz"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_a_figure_can_be_read(file: Path) -> None:
    nb = LESSONS[file.name[:2]]
    [cell] = [cell for cell in nb.cells if cell.id == file.stem[3:]]
    drawn = figures.redraw(nb, cell, file)
    assert drawn and [problem for fig in drawn for problem in figures.problems(fig)] == []
    plt.close("all")


def test_each_figure_was_recorded_three_times() -> None:
    wanted = {f"{number}-{cell.id}.xz" for number, nb in LESSONS.items() for cell in figures.drawing(nb)}
    assert {
        run.name: wanted ^ {file.name for file in run.iterdir()} for run in figures.RECORDED.iterdir()
    } == {run: set() for run in ("quiet", "again", "busy")}


def test_what_overlaps_is_found() -> None:
    fig, ax = figures.plots.subplots()
    ax.plot([1, 1.5, 2], [1, 1.5, 2], label="measured")
    ax.legend(loc="center")
    (
        ax.text(1.2, 1.2, "one text"),
        ax.text(1.2, 1.2, "another"),
        fig.text(0.95, 0.5, "one that runs out of the figure"),
    )
    found = "\n".join(figures.problems(fig))
    plt.close(fig)
    for problem in (
        "'one text' over 'another'",
        "'one that runs out of the figure' is cut off",
        "a legend over data",
        "no title that is",
    ):
        assert problem in found
