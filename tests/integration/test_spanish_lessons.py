"""The Spanish edition runs from the first cell to the last: lessons 04 and 10 in each run, all others before a release."""

from __future__ import annotations

from pathlib import Path

import pytest
from lesson_rules import output_text
from lessons import LESSONS, code_cells, lesson_paths, read
from translations import into

from notebooks import execute

ALWAYS = ("04", "10")
CHOSEN = [
    pytest.param(path, id=path.stem, marks=[] if path.name.startswith(ALWAYS) else pytest.mark.long)
    for path in lesson_paths()
]


@pytest.mark.parametrize("path", CHOSEN)
def test_the_spanish_edition_runs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LESSONS_LANGUAGE", "es")
    executed = execute(into("es")(path, read(path)), LESSONS)
    shown = "\n".join(output_text(output) for cell in code_cells(executed) for output in cell.outputs)
    assert "predicción" in shown and "distancia" in shown
