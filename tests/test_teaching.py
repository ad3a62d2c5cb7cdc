"""What TEACHING tells a teacher is true of the lessons: cells, sections, minutes, a workflow and a script to copy."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from documents import ROOT, blocks, tables, text_of
from lessons import LESSONS, code_cells, headings, lesson_paths, read, tags

PAGE = LESSONS / "TEACHING.md"
TEXT = text_of(PAGE)
PLANS = TEXT.partition("## Plans")[2].partition("## Misconceptions")[0]
MISCONCEPTIONS = TEXT.partition("## Misconceptions")[2].partition("\n## ")[0]
PATHS = {path.name[:2]: path for path in lesson_paths()}


@pytest.mark.parametrize("path", PATHS.values(), ids=lambda path: path.stem)
def test_each_prediction_of_a_lesson_is_named_in_its_order_with_what_it_exposes(path: Path) -> None:
    title = headings(read(path).cells[0])[0][1]
    section = re.search(
        rf"^### {re.escape(title)}\n(.*?)(?=^### |\Z)", MISCONCEPTIONS, re.MULTILINE | re.DOTALL
    )
    assert section, f"TEACHING.md has no section '### {title}' under Misconceptions"
    [table] = tables(section[1])
    predictions = [cell.id for cell in code_cells(read(path)) if "predict" in tags(cell)]
    assert [row[0].strip("`") for row in table] == predictions
    assert all(len(row) == 3 and len(row[1].split()) > 8 and row[2].endswith("?") for row in table)
    assert "Also common:" in section[1]


def test_each_lesson_has_one_section_and_there_is_no_other() -> None:
    titles = [headings(read(path).cells[0])[0][1] for path in PATHS.values()]
    assert re.findall(r"^### (.*)$", MISCONCEPTIONS, re.MULTILINE) == titles


def test_the_plans_fill_their_meetings_and_name_what_is_there() -> None:
    meetings = tables(PLANS)
    assert len(meetings) == 1 + 2 + 5
    for meeting in meetings:
        assert sum(int(minutes) for minutes, _, _ in meeting) == 90, meeting
        for _, lesson, what in meeting:
            nb = read(PATHS[lesson])
            sections = {text for cell in nb.cells for _, text in headings(cell)}
            assert set(re.findall(r"\*(.+?)\*", what)) <= sections, what
            assert set(re.findall(r"`(predict-[\w-]+)`", what)) <= {cell.id for cell in nb.cells}, what
            titles = " ".join(sections)
            named = re.findall(r"\b(\d\d?\.\d)\b", what)
            assert [number for number in named if f"Exercise {number} " not in titles] == [], what


def test_the_workflow_is_short_valid_and_pinned_as_ours(tmp_path: Path) -> None:
    [workflow] = blocks(PAGE, "yaml")
    file = tmp_path / "lesson.yml"
    file.write_text(workflow, encoding="utf-8")
    schema = ["-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", file]
    done = subprocess.run([sys.executable, *schema], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(workflow.splitlines()) <= 10
    ours = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    assert all(use in ours for use in re.findall(r"uses: \S+ # \S+", workflow))
    assert yaml.safe_load(workflow)["permissions"] == {"contents": "read"}
