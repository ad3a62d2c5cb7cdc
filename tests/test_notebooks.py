"""Executing a lesson: what is stored, what is left alone, and what is said."""

from __future__ import annotations

import copy
import signal
import subprocess
import sys
from pathlib import Path

import lesson_rules
import pytest
import sample_lesson as sample
from lessons import ROOT, code_cells, dumps, read
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_output
from sample_lesson import cell
from waiting import until

import notebooks
from notebooks import refresh


@pytest.fixture
def lesson(tmp_path: Path) -> Path:
    """The sample lesson as one run left it."""
    return sample.write(tmp_path, sample.build_executed())


def stand_in(monkeypatch: pytest.MonkeyPatch, changes: dict[str, list[NotebookNode]]) -> None:
    """Replace the kernel: a run gives the outputs of the sample lesson, but for these cells."""

    def execute(nb: NotebookNode, folder: Path) -> NotebookNode:
        ran, known = copy.deepcopy(nb), sample.build_executed()
        for one in code_cells(ran):
            before = cell(known, one.id)
            one.update(execution_count=before.execution_count, outputs=changes.get(one.id, before.outputs))
        return notebooks.tidy(ran)

    monkeypatch.setattr(notebooks, "execute", execute)


def rewrite(path: Path, nb: NotebookNode) -> bytes:
    """Store a notebook as an author's editor would."""
    path.write_text(dumps(nb), encoding="utf-8")
    return path.read_bytes()


def test_run_in_a_real_kernel_is_stored_and_keeps_every_rule(tmp_path: Path, kernel_path: None) -> None:
    path = sample.write(tmp_path, sample.build())
    assert "stored (changed: code; outputs of setup, parameters, predict-sum" in refresh(path)
    assert lesson_rules.check(path) == []
    nb = read(path)
    assert [one.id for one in nb.cells] == sample.ORDER
    assert "image/png" in cell(nb, "draw-sum").outputs[0].data


def test_bad_cell(lesson: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The cell is named and nothing is stored."""
    nb = read(lesson)
    nb.cells = [new_code_cell("raise RuntimeError(open('note.txt').read())", id="read-note")]
    (lesson.parent / "note.txt").write_text("cells run in the folder of their notebook")
    before = rewrite(lesson, nb)
    files = sorted(lesson.parent.iterdir())
    monkeypatch.setattr(sys, "argv", ["notebooks.py", str(lesson)])
    assert notebooks.main() == 1
    said = capsys.readouterr().out
    assert "s: FAILED, file left as it was: cell 'read-note' failed:" in said
    assert "RuntimeError: cells run in the folder of their notebook" in said
    assert lesson.read_bytes() == before and sorted(lesson.parent.iterdir()) == files


def test_interrupted_run_leaves_neither_a_kernel_nor_a_changed_file(lesson: Path) -> None:
    nb = read(lesson)
    sleep = "import os, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(300)"
    nb.cells = [new_code_cell(sleep, id="sleep")]
    before, note = rewrite(lesson, nb), lesson.with_name("pid")
    command = [sys.executable, str(ROOT / "tools" / "notebooks.py"), str(lesson)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        until(lambda: note.exists() and note.read_text() != "")
        run.send_signal(signal.SIGTERM)
        said, _ = run.communicate(timeout=300)
    assert run.returncode == 1 and said.endswith("interrupted; the file was left as it was\n"), said
    assert lesson.read_bytes() == before
    until(lambda: not Path("/proc", note.read_text()).exists())


def test_a_run_is_stored_whole_and_if_it_counts(lesson: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timing = [new_output("execute_result", data={"text/plain": "0.123"}, execution_count=6)]
    stand_in(monkeypatch, {"time-sum": timing})
    nb = read(lesson)
    cell(nb, "draw-sum").outputs[0].data["image/png"] = "AAAA"
    before = rewrite(lesson, nb)
    written = lesson.stat().st_mtime_ns
    assert refresh(lesson) == "unchanged, nothing stored"
    assert (lesson.read_bytes(), lesson.stat().st_mtime_ns) == (before, written)
    assert refresh(lesson, force=True) == "stored (changed: nothing, but --force was given)"
    assert cell(read(lesson), "time-sum").outputs == timing
    stand_in(monkeypatch, {"add-numbers": [new_output("stream", name="stdout", text="7\n")]})
    assert refresh(lesson) == "stored (changed: outputs of add-numbers)"
    assert cell(read(lesson), "time-sum").outputs == []


def test_noise_is_taken_out(lesson: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, {})
    clean, nb = lesson.read_bytes(), read(lesson)
    nb.metadata.widgets = {}
    nb.metadata.language_info.version = "3.11.2"
    cell(nb, "draw-sum").metadata.update(execution={"shell": "12:00"}, scrolled=True)
    rewrite(lesson, nb)
    assert refresh(lesson) == "stored (changed: format)"
    assert lesson.read_bytes() == clean


def test_a_widget_is_stored_as_its_picture() -> None:
    """Without its kernel it could not be moved, and JupyterLab would show an error in its place."""
    clean, nb = sample.build_executed(), sample.build_executed()
    cell(nb, "draw-sum").outputs[0].data[notebooks.WIDGET] = {"model_id": "1"}
    assert notebooks.tidy(nb) == notebooks.tidy(clean)


def test_traceback_holds_no_place_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: ROOT.parent)
    text = f"File {ROOT}/lib/plots.py:3, ~/{ROOT.name}/lib/x.py, {sys.prefix}/lib/y.py"
    assert notebooks.shorten_paths(text) == "File lib/plots.py:3, lib/x.py, site/lib/y.py"
