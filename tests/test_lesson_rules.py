"""Every lesson keeps the rules that protect its readers; and a notebook that breaks one is told what to fix."""

from __future__ import annotations

import getpass
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import lesson_rules
import pytest
import sample_lesson as sample
from lesson_rules import check
from lessons import ROOT, code_cells, code_hash, lesson_paths, read
from nbformat import NotebookNode
from nbformat.v4 import new_output
from sample_lesson import cell, replace
from traces import files_of

Change = Callable[[NotebookNode], object]


def tag(cell_id: str, *tags: str) -> Change:
    """Give a cell other tags."""
    return lambda nb: cell(nb, cell_id).metadata.update(tags=list(tags))


def source(cell_id: str, text: str) -> Change:
    """Give a cell another source."""
    return lambda nb: cell(nb, cell_id).update(source=text)


def text_output(text: str, name: str = "stdout") -> Change:
    """Give a cell another printed output."""
    stream = new_output("stream", name=name, text=text)
    return lambda nb: cell(nb, "add-numbers").update(outputs=[stream])


def picture(alt: str = "A bar.", plain: str = "A bar.") -> Change:
    """Give a cell a figure."""
    return lambda nb: cell(nb, "draw-sum").update(outputs=[sample.picture(alt, plain)])


def rename(old: str, new: str) -> Change:
    """Give a cell another id."""
    return lambda nb: cell(nb, old).update(id=new)


def both(*changes: Change) -> Change:
    return lambda nb: [change(nb) for change in changes]


def prose(text: str) -> Change:
    """Write something else in a markdown cell."""
    return source("sum-means", text)


BROKEN: list[tuple[str, str, Change]] = [
    ("known-tags", "unproved", tag("check-3-1")),
    ("known-tags", "no such objective", tag("check-3-2", "objective-2", "objective-5")),
    ("known-tags", "misspelt", tag("draw-sum", "hide-output")),
    ("cell-ids", "random", rename("draw-sum", "1a2b3c4d")),
    ("cell-ids", "numbered", rename("draw-sum", "cell-12")),
    ("cell-ids", "meaningless", rename("draw-sum", "x1")),
    ("cell-ids", "twice", rename("draw-sum", "setup")),
    ("compared", "not run", lambda nb: cell(nb, "draw-sum").update(execution_count=None)),
    ("compared", "not asserted", source("assert-sum", "elapsed < 60")),
    ("executed", "empty notebook", lambda nb: nb.cells.clear()),
    ("executed", "out of order", lambda nb: cell(nb, "draw-sum").update(execution_count=77)),
    ("executed", "code is newer", lambda nb: nb.metadata.lesson.update(code_sha256="0" * 64)),
    ("executed", "error not meant", tag("mute-figure")),
    ("executed", "no error", tag("draw-sum", "raises-exception")),
    ("executed", "warning", text_output("UserWarning: old\n", "stderr")),
    ("private-details", "home", text_output("/home/someone/data.csv\n")),
    ("private-details", "Windows", text_output("C:\\Users\\someone\n")),
    ("private-details", "source", source("draw-sum", "path = '/home/someone'")),
    ("private-details", "address", text_output("<object at 0x7f35155fe3e0>\n")),
    ("figures", "no alt", picture(alt="", plain="<Figure>")),
    ("figures", "alt not in the text", picture(plain="<Figure size 700x360>")),
    ("figures", "image without alt", prose("![](https://example.org/a.png) is a picture")),
    ("figures", "tag without alt", prose('<img src="https://example.org/a.png"> is a picture')),
    ("links", "no such lesson", prose("See [lesson 99](99_missing.ipynb).")),
    ("links", "no such heading", prose("See [terms](00_start_here.ipynb#Glossar).")),
    ("links", "no such file", prose('See <a href="../lib/missing.py">this</a>.')),
    ("links", "unsafe web", prose("See [this](http://example.org).")),
    ("links", "absolute", prose("See [this](/lib/plots.py).")),
    ("predictions", "none", tag("predict-sum")),
    ("predictions", "computed", source("predict-sum", "guess = sum(NUMBERS)")),
    ("predictions", "open", source("add-numbers", "print(guess)")),
    ("cell-sizes", "long", source("assert-sum", "x = 1\n" * 16)),
    ("cell-sizes", "long and folded", both(tag("setup", "hide-input"), source("setup", "# Sets up.\n" + "x = 1\n" * 25))),
    ("cell-sizes", "no label", tag("mute-figure", "hide-input")),
    ("cell-sizes", "mostly folded", both(tag("setup", "hide-input"), source("setup", "# Sets up.\n" + "x = 1\n" * 20))),
    ("minutes", "other", source("title", "# 03\n\n| Working time | 10 minutes |")),
    ("minutes", "over an hour", source("title", "# 03\n\n| Working time | 95 minutes |\n" + "word " * 10_000)),
    ("solutions", "check first", lambda nb: nb.cells.append(nb.cells.pop(-2))),
    ("solutions", "other id", lambda nb: cell(nb, "check-3-1").metadata.nbgrader.update(grade_id="other")),
    ("solutions", "no markers", lambda nb: replace(nb, "exercise-3-1", "### (BEGIN|END)", "#")),
    ("solutions", "markers elsewhere", source("draw-sum", "### BEGIN SOLUTION\n### END SOLUTION")),
    ("solutions", "mute assert", lambda nb: replace(nb, "check-3-1", ", .add.*", "")),
    ("solutions", "no assert", source("check-3-1", "add_1(START)")),
]  # fmt: skip


@pytest.mark.parametrize("path", lesson_paths(), ids=lambda path: path.stem)
def test_lesson_keeps_every_rule(path: Path) -> None:
    assert check(path) == []


@pytest.mark.parametrize("path", lesson_paths()[1:], ids=lambda path: path.stem)
def test_recall_asks_three_questions_with_three_options_of_which_one_is_right(path: Path) -> None:
    [recall] = [cell.source for cell in read(path).cells if cell.source.startswith("### Recall")]
    for question in re.split(r"^\*\*\d\. ", recall, flags=re.MULTILINE)[1:]:
        options = re.findall(r"<summary>([ABC])\. .+</summary>\n\n(Right|Wrong)\. ", question)
        letters, words = zip(*options, strict=True)
        assert letters == ("A", "B", "C") and words.count("Right") == 1
    assert len(re.findall(r"^\*\*\d\. ", recall, re.MULTILINE)) == 3


#: Turns of a translation that readers found more than once.
TURNS = re.compile(r"(?i)\b(whoever|tells? of|for who|holds? a watch|in vain|thought to|to be had)\b")


def test_no_turn_of_a_translation_is_left() -> None:
    """No measure of good prose: readers are."""
    files = [path for path in files_of(ROOT) if path.suffix in (".py", ".md", ".ipynb", ".yml", ".yaml")]
    own = [path for path in files if "tests" not in path.parts]
    texts = {path: re.sub(r'"image/png": "[^"]*"', "", path.read_text("utf-8")) for path in own}
    assert {path.name: TURNS.findall(text) for path, text in texts.items() if TURNS.search(text)} == {}


#: A comment that nbval obeys, what hides an output, and a command whose failure passes; of the magics, %ipytest alone is used.
ESCAPES = r"(?m)^\s*#\s*(NBVAL|PYTEST_VALIDATE)_|;\s*(#.*)?\Z|^\s*(\w+\s*=\s*)?(!|%(?!%ipytest\b))"


@pytest.mark.parametrize("path", lesson_paths(), ids=lambda path: path.stem)
def test_no_cell_escapes_the_comparison_by_its_code(path: Path) -> None:
    assert [cell.id for cell in code_cells(read(path)) if re.search(ESCAPES, cell.source.rstrip())] == []
    for code in ("# NBVAL_SKIP\nx", "x;  # quiet", "files = !ls", "%timeit x"):
        assert re.search(ESCAPES, code), code


@pytest.mark.filterwarnings("ignore:Non-unique cell id")
@pytest.mark.parametrize(("rule", "case", "damage"), BROKEN, ids=[f"{one[0]}-{one[1]}" for one in BROKEN])
def test_broken_lesson_is_told_what_to_fix(rule: str, case: str, damage: Change, tmp_path: Path) -> None:
    nb = sample.build_executed()
    damage(nb)
    if case != "code is newer":
        nb.metadata.lesson.code_sha256 = code_hash(nb)
    assert check(sample.write(tmp_path, nb), only=rule), f"{case} was not noticed"


def test_innocent_text_passes(tmp_path: Path) -> None:
    nb = sample.build_executed()
    text_output(
        "GET /users/7, ../work/x, ~/work, https://example.org/home/page, a/root/b; root cause; 1/tmp\n"
    )(nb)
    assert check(sample.write(tmp_path, nb)) == []


def test_names_of_this_machine_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "some-host")
    monkeypatch.setattr(getpass, "getuser", lambda: "some-user")
    nb = sample.build_executed()
    text_output("some-host: done; some-user: too\n")(nb)
    host, user = check(sample.write(tmp_path, nb))
    assert "[add-numbers]: private-details: holds 'some-host: done" in host and "'some-user: too" in user


def test_command_line_names_what_it_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nb = sample.build_executed()
    replace(nb, "add-numbers", "print", "show")
    monkeypatch.setattr(sys, "argv", ["lesson_rules.py", str(sample.write(tmp_path, nb))])
    assert lesson_rules.main() == 1
    assert "executed: its code changed after its outputs were stored" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["lesson_rules.py", "no.ipynb"])
    with pytest.raises(SystemExit, match="No such notebook: no.ipynb"):
        lesson_rules.main()


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=["lint", "format"])
def test_ruff_is_content(command: list[str]) -> None:
    ruff = [sys.executable, "-m", "ruff", *command, "--no-cache", "."]
    run = subprocess.run(ruff, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
