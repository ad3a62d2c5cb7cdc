"""Every figure can be read: on the data of recorded runs, one of them slow, nothing overlaps, and titles are sentences."""

from __future__ import annotations

from pathlib import Path

import figures
import pytest
from lessons import lesson_paths

RUNS = ("quiet", "again", "busy", "es")
PATHS = {path.name[:2]: path for path in lesson_paths()}
FILES = sorted(figures.RECORDED.glob("*/*"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.name.partition('.')[0]}")
def test_a_figure_can_be_read(file: Path) -> None:
    path = PATHS[file.name[:2]]
    nb, files = figures.edition(path, file.parent.name), figures.data_of(path, file.parent.name)
    drawn = [fig for cell in nb.cells if files.get(cell.id) == file for fig in figures.redraw(nb, cell, file)]
    assert drawn and [problem for fig in drawn for problem in figures.problems(fig)] == []


def test_each_figure_was_recorded_in_each_run() -> None:
    wanted = {file for run in RUNS for path in PATHS.values() for file in figures.data_of(path, run).values()}
    assert wanted == set(FILES), (
        "tests/figures.py records what is missing; delete the data of figures that are gone"
    )


def test_each_problem_is_found() -> None:
    fig, ax = figures.plots.subplots()
    ax.plot([0, 4], [0, 4], label="measured")
    ax.legend(loc="center")
    ax.text(1, 3, "one text")
    ax.text(1, 3, "another")
    fig.text(0.95, 0.5, "one that leaves the figure")
    figures.plots.plt.close(fig)
    assert list(figures.problems(fig)) == [
        "'one text' over 'another'",
        "'one that leaves the figure' is cut off",
        "a legend over data",
        "no title that is a sentence: ['', '', '', '']",
    ]
