"""The lessons as their learners meet them: a real JupyterLab in a real browser, Run All, and a look at what is there.

`BROWSER_LESSONS=all` takes every lesson; `make release-check` does.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import browser
import pytest
from learner import generate
from learners import failures
from lessons import LESSONS, code_cells, is_check, lesson_paths, read
from playwright.sync_api import Browser

pytestmark = pytest.mark.skipif(
    browser.CHROMIUM is None, reason="no Chromium on PATH: apt-get install --no-install-recommends chromium"
)
CHOSEN = os.environ.get("BROWSER_LESSONS", "00 04").split()  # with 10, CI would take too long


PATHS = [path for path in lesson_paths() if CHOSEN == ["all"] or path.name[:2] in CHOSEN]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser.chromium() as started:
        yield started


@pytest.fixture
def folder(tmp_path: Path, kernel_path: None) -> Path:
    """Both editions, as in the repository: notebooks/ and work/."""
    shutil.copytree(LESSONS, tmp_path / "notebooks")
    generate(LESSONS, tmp_path / "work")
    return tmp_path


@pytest.mark.parametrize("edition", ["work", "notebooks"])
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_run_all_in_the_browser(path: Path, edition: str, folder: Path, chromium: Browser) -> None:
    file = folder / edition / path.name
    cells = code_cells(read(file))
    with browser.jupyterlab(folder) as server:
        page = browser.open_lesson(chromium, server, f"{edition}/{path.name}")
        browser.run_all(page, cells=len(cells))
        browser.save(page, file)
        sizes = [figure.bounding_box() for figure in browser.figures(page)]
        page.close()
    meant = failures(read(path))  # errors that the lesson shows on purpose
    checks = {cell.id: "AssertionError" for cell in cells if is_check(cell)}
    assert failures(read(file)) == (meant | checks if edition == "work" else meant)
    outputs = [output for cell in code_cells(read(path)) for output in cell.outputs]
    assert len(sizes) == sum("image/png" in output.get("data", {}) for output in outputs)
    assert [size for size in sizes if size is None or size["width"] < 300 or size["height"] < 100] == []
