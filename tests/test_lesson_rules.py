"""Every lesson keeps the rules that protect its readers; and a notebook that breaks one is told what to fix."""

from __future__ import annotations

import getpass
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import lesson_rules
import pytest
import sample_lesson as sample
from lesson_rules import RULES, check
from lessons import ROOT, code_cells, code_hash, lesson_paths
from nbformat import NotebookNode
from nbformat.v4 import new_output
from sample_lesson import cell, replace

Change = Callable[[NotebookNode], object]


def tag(cell_id: str, *tags: str) -> Change:
    """Give a cell other tags."""
    return lambda nb: cell(nb, cell_id).metadata.update(tags=list(tags))


def source(cell_id: str, text: str) -> Change:
    """Give a cell another source."""
    return lambda nb: cell(nb, cell_id).update(source=text)


def change(cell_id: str, old: str, new: str) -> Change:
    """Change the source of a cell by a regular expression."""
    return lambda nb: replace(nb, cell_id, old, new)


def text_output(text: str, name: str = "stdout") -> Change:
    """Give a cell another printed output."""
    stream = new_output("stream", name=name, text=text)
    return lambda nb: cell(nb, "add-numbers").update(outputs=[stream])


def picture(size: int = 8, alt: str = "A bar.", plain: str = "A bar.") -> Change:
    """Give a cell a figure."""
    data, about = {"image/png": "A" * size, "text/plain": plain}, {"image/png": {"alt": alt}}
    shown = new_output("display_data", data=data, metadata=about)
    return lambda nb: cell(nb, "draw-sum").update(outputs=[shown])


def rename(old: str, new: str) -> Change:
    """Give a cell another id."""
    return lambda nb: cell(nb, old).update(id=new)


def swap(first: str, second: str) -> Change:
    """Exchange the places of two cells."""

    def exchange(nb: NotebookNode) -> None:
        i, j = (nb.cells.index(cell(nb, name)) for name in (first, second))
        nb.cells[i], nb.cells[j] = nb.cells[j], nb.cells[i]

    return exchange


def prose(text: str) -> Change:
    """Write something else in a markdown cell."""
    return source("sum-means", text)


BROKEN: list[tuple[str, str, Change]] = [
    ("executed", "empty notebook", lambda nb: nb.cells.clear()),
    ("objectives", "unproved", tag("check-3-1")),
    ("objectives", "unknown", tag("check-3-3", "objective-5")),
    ("cell-ids", "random", rename("draw-sum", "1a2b3c4d")),
    ("cell-ids", "numbered", rename("draw-sum", "cell-12")),
    ("cell-ids", "capitals", rename("draw-sum", "Draw")),
    ("cell-ids", "meaningless", rename("draw-sum", "x1")),
    ("cell-ids", "twice", rename("draw-sum", "setup")),
    ("known-tags", "misspelt", tag("draw-sum", "hide-output")),
    ("compared", "not run", lambda nb: cell(nb, "draw-sum").update(execution_count=None)),
    ("compared", "misspelt", tag("draw-sum", "nbval-ignore-outputs")),
    ("compared", "skipped", tag("draw-sum", "nbval-skip")),
    ("compared", "comment", source("draw-sum", "# NBVAL_IGNORE_OUTPUT\nSTART")),
    ("compared", "semicolon", source("add-numbers", "sum(NUMBERS);")),
    ("compared", "semicolon and comment", source("add-numbers", "sum(NUMBERS);  # quiet")),
    ("compared", "shell assigned", source("add-numbers", "files = !ls")),
    ("compared", "line magic", source("add-numbers", "%timeit sum(NUMBERS)")),
    ("compared", "cell magic", source("add-numbers", "%%bash\nls")),
    ("executed", "out of order", lambda nb: cell(nb, "draw-sum").update(execution_count=77)),
    ("executed", "code is newer", lambda nb: nb.metadata.lesson.update(code_sha256="0" * 64)),
    ("executed", "error not meant", tag("mute-figure")),
    ("executed", "no error", tag("draw-sum", "raises-exception")),
    ("executed", "warning", text_output("UserWarning: old\n", "stderr")),
    ("ignored-outputs", "many", lambda nb: [tag(c.id, "nbval-ignore-output")(nb) for c in code_cells(nb)[:6]]),
    ("ignored-outputs", "not asserted", source("assert-sum", "elapsed < 60")),
    ("private-details", "home", text_output("/home/someone/data.csv\n")),
    ("private-details", "temporary", text_output("File '/tmp/ipykernel_77/1.py'\n")),
    ("private-details", "Windows", text_output("C:\\Users\\someone\n")),
    ("private-details", "source", source("draw-sum", "path = '/home/someone'")),
    ("private-details", "address", text_output("<object at 0x7f35155fe3e0>\n")),
    ("figures", "no alt", picture(alt="", plain="<Figure>")),
    ("figures", "alt not in the text", picture(plain="<Figure size 700x360>")),
    ("figures", "large", picture(size=80_004)),
    ("figures", "image without alt", prose("![](https://example.org/a.png) is a picture")),
    ("figures", "tag without alt", prose('<img src="https://example.org/a.png"> is a picture')),
    ("links", "no such lesson", prose("See [lesson 99](99_missing.ipynb).")),
    ("links", "no such heading", prose("See [terms](00_start_here.ipynb#Glossar).")),
    ("links", "no such heading here", prose("See [terms](#Nowhere).")),
    ("links", "no such file", prose('See <a href="../lib/missing.py">this</a>.')),
    ("links", "unsafe web", prose("See [this](http://example.org).")),
    ("links", "absolute", prose("See [this](/lib/plots.py).")),
    ("predictions", "none", tag("predict-sum")),
    ("predictions", "computed", source("predict-sum", "guess = sum(NUMBERS)")),
    ("predictions", "printed", source("predict-sum", "guess = 1\nprint(guess)")),
    ("exercises", "two of them", lambda nb: [nb.cells.remove(cell(nb, f"{kind}-3-3")) for kind in ("exercise", "check")]),
    ("exercises", "numbers", change("exercise-3-2-text", "3.2", "3.4")),
    ("exercises", "check first", swap("exercise-3-2", "check-3-2")),
    ("exercises", "other id", lambda nb: cell(nb, "check-3-1").metadata.nbgrader.update(grade_id="other")),
    ("exercises", "no markers", change("exercise-3-1", "### (BEGIN|END)", "#")),
    ("exercises", "markers elsewhere", source("draw-sum", "### BEGIN SOLUTION\n### END SOLUTION")),
    ("exercises", "mute assert", change("check-3-1", ", .add.*", "")),
    ("exercises", "no assert", source("check-3-1", "add_1(START)")),
]  # fmt: skip


@pytest.mark.parametrize("path", lesson_paths(), ids=lambda path: path.stem)
def test_lesson_keeps_every_rule(path: Path) -> None:
    assert [str(finding) for finding in check(path)] == []


@pytest.mark.filterwarnings("ignore:Non-unique cell id")
@pytest.mark.parametrize(("rule", "case", "damage"), BROKEN, ids=[f"{one[0]}-{one[1]}" for one in BROKEN])
def test_broken_lesson_is_told_what_to_fix(rule: str, case: str, damage: Change, tmp_path: Path) -> None:
    nb = sample.build_executed()
    damage(nb)
    if case != "code is newer":
        nb.metadata.lesson.code_sha256 = code_hash(nb)
    messages = [one.message for one in check(sample.write(tmp_path, nb)) if one.rule == rule]
    assert messages and all(len(message) > 10 for message in messages), f"{case} was not noticed"


def test_every_rule_is_broken_by_some_notebook() -> None:
    assert {rule for rule, _, _ in BROKEN} == set(RULES)


@pytest.mark.parametrize(
    "text",
    [
        "GET /users/7 and /health, see ../work/x, ~/work, https://example.org/home/page and a/root/b\n",
        "root cause; 127.0.0.1:8000; 1/tmp\n",
    ],
)
def test_innocent_text_passes(text: str, tmp_path: Path) -> None:
    nb = sample.build_executed()
    text_output(text)(nb)
    assert check(sample.write(tmp_path, nb)) == []


@pytest.mark.parametrize("name", ["host", "user"])
def test_names_of_this_machine_are_noticed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "some-host")
    monkeypatch.setattr(getpass, "getuser", lambda: "some-user")
    nb = sample.build_executed()
    text_output(f"at some-{name}: done\n")(nb)
    assert {finding.rule for finding in check(sample.write(tmp_path, nb))} == {"private-details"}


def test_command_line_names_what_it_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nb = sample.build_executed()
    replace(nb, "add-numbers", "print", "show")
    path = sample.write(tmp_path, nb)
    monkeypatch.setattr(sys, "argv", ["lesson_rules.py", str(path)])
    assert lesson_rules.main() == 1
    assert "executed: its code changed after its outputs were stored" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["lesson_rules.py", "--only", "compared", str(path)])
    assert lesson_rules.main() == 0
    assert capsys.readouterr().out == "1 notebook(s), 0 finding(s)\n"
    monkeypatch.setattr(sys, "argv", ["lesson_rules.py", "no.ipynb"])
    with pytest.raises(SystemExit, match="No such notebook: no.ipynb"):
        lesson_rules.main()


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=["lint", "format"])
def test_ruff_is_content(command: list[str]) -> None:
    ruff = [sys.executable, "-m", "ruff", *command, "--no-cache", "."]
    run = subprocess.run(ruff, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
