"""Every cell is written, executed and stored as it should be; and a notebook that is not is told so."""

from __future__ import annotations

import getpass
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import lesson_lint
import lesson_outputs
import lesson_rules
import pytest
import sample_lesson as sample
from lesson_rules import check, rule_name
from lessons import ROOT, code_cells, code_hash, lesson_paths, read
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_output
from nbval_frame import sanitize_rules
from sample_lesson import cell, replace

from notebooks import SANITIZE

RULES = {rule_name(rule) for rule in (*lesson_lint.RULES, *lesson_outputs.RULES)}
Change = Callable[[NotebookNode], object]


def found(path: Path) -> dict[str, list[str]]:
    """The findings of the lint rules in a notebook: rule → lines."""
    lines: dict[str, list[str]] = {}
    for finding in check(path):
        if finding.rule in RULES:
            lines.setdefault(finding.rule, []).append(str(finding))
    return lines


def tag(cell_id: str, *tags: str) -> Change:
    """Give a cell other tags."""
    return lambda nb: cell(nb, cell_id).metadata.update(tags=list(tags))


def source(cell_id: str, text: str) -> Change:
    """Give a cell another source."""
    return lambda nb: cell(nb, cell_id).update(source=text)


def output(cell_id: str, kind: str, **content: object) -> Change:
    """Give a cell another output."""
    return lambda nb: cell(nb, cell_id).update(outputs=[new_output(kind, **content)])


def text_output(text: str) -> Change:
    """Give a cell another printed output."""
    return output("add-numbers", "stream", name="stdout", text=text)


def picture(size: int = 8, alt: str = "A bar.", plain: str = "A bar.") -> Change:
    """Give a cell a figure."""
    data = {"image/png": "A" * size, "text/plain": plain}
    return output("draw-sum", "display_data", data=data, metadata={"image/png": {"alt": alt}})


def rename(old: str, new: str) -> Change:
    """Give a cell another id."""
    return lambda nb: cell(nb, old).update(id=new)


def prose(text: str) -> Change:
    """Write something else in a markdown cell."""
    return source("sum-means", text)


BROKEN: list[tuple[str, str, Change]] = [
    ("heading-levels", "too deep", prose("#### Deep\n\nA word.")),
    ("cell-ids", "random", rename("draw-sum", "1a2b3c4d")),
    ("cell-ids", "random words", rename("draw-sum", "deadbeef-1234")),
    ("cell-ids", "numbered", rename("draw-sum", "cell-12")),
    ("cell-ids", "capitals", rename("draw-sum", "Draw")),
    ("cell-ids", "meaningless", rename("draw-sum", "x1")),
    ("cell-ids", "twice", rename("draw-sum", "setup")),
    ("prose-first", "code below code", lambda nb: nb.cells.remove(cell(nb, "draw-means"))),
    ("prose-first", "heading only", prose("## A heading")),
    ("long-cells", "26 lines", source("add-numbers", "START\n" * 26)),
    ("statements", "semicolon", source("add-numbers", "sum(NUMBERS);")),
    ("statements", "semicolon and comment", source("add-numbers", "sum(NUMBERS);  # quiet")),
    ("statements", "shell", source("add-numbers", "!ls")),
    ("statements", "shell assigned", source("add-numbers", "files = !ls")),
    ("statements", "plt.show", source("add-numbers", "plt.show()")),
    ("magics", "line", source("add-numbers", "%timeit sum(NUMBERS)")),
    ("magics", "cell", source("add-numbers", "%%bash\nls")),
    (
        "magics",
        "ipytest in a check",
        source("check-3-1", "%%ipytest\ndef test_add(): assert add_1(1) == 2, 'no'"),
    ),
    ("magics", "ipytest in data", source("data-3-1", "%%ipytest\nOFFSET = 0")),
    ("known-tags", "misspelt", tag("draw-sum", "nbval-ignore-outputs")),
    ("known-tags", "skipped", tag("draw-sum", "nbval-skip")),
    ("known-tags", "comment", source("draw-sum", "# NBVAL_IGNORE_OUTPUT\nSTART")),
    (
        "ignored-outputs",
        "too many",
        lambda nb: [tag(c.id, "nbval-ignore-output")(nb) for c in code_cells(nb)[:6]],
    ),
    ("ignored-outputs", "not asserted", source("assert-sum", "elapsed < 60")),
    ("predict-cells", "computed", source("predict-sum", "guess = sum(NUMBERS)")),
    ("predict-cells", "printed", source("predict-sum", "guess = 1\nprint(guess)")),
    ("predict-cells", "empty", source("predict-sum", "# what do you think?")),
    ("graded-cells", "other id", lambda nb: cell(nb, "check-3-1").metadata.nbgrader.update(grade_id="other")),
    ("graded-cells", "no markers", lambda nb: replace(nb, "exercise-3-1", "### (BEGIN|END)", "#")),
    ("graded-cells", "markers elsewhere", source("draw-sum", "### BEGIN SOLUTION\n### END SOLUTION")),
    ("graded-cells", "mute assert", lambda nb: replace(nb, "check-3-1", ", .add.*", "")),
    ("graded-cells", "no assert", source("check-3-1", "add_1(START)")),
    ("executed", "not run", lambda nb: cell(nb, "draw-sum").update(execution_count=None)),
    ("executed", "out of order", lambda nb: cell(nb, "draw-sum").update(execution_count=77)),
    ("executed", "code is newer", lambda nb: nb.metadata.lesson.update(code_sha256="0" * 64)),
    ("executed", "error not meant", tag("mute-figure")),
    ("executed", "no error", tag("draw-sum", "raises-exception")),
    ("private-details", "home", text_output("/home/someone/data.csv\n")),
    ("private-details", "home in quotes", text_output("open('/root/data.csv')\n")),
    ("private-details", "temporary", text_output("File /tmp/ipykernel_77/1.py\n")),
    ("private-details", "Windows", text_output("C:\\Users\\someone\n")),
    ("private-details", "source", source("draw-sum", "path = '/home/someone'")),
    (
        "private-details",
        "traceback",
        output("mute-figure", "error", ename="E", evalue="", traceback=["File /opt/x/y.py"]),
    ),
    ("private-details", "address", text_output("<object at 0x7f35155fe3e0>\n")),
    ("stderr", "warning", output("add-numbers", "stream", name="stderr", text="UserWarning: old\n")),
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
    ("hygiene", "widgets", lambda nb: nb.metadata.update(widgets={})),
    ("hygiene", "language version", lambda nb: nb.metadata.language_info.update(version="3.11.2")),
    ("hygiene", "kernel name", lambda nb: nb.metadata.kernelspec.update(name="mine")),
    ("hygiene", "time stamps", lambda nb: cell(nb, "draw-sum").metadata.update(execution={"shell": "12:00"})),
    ("hygiene", "view state", lambda nb: cell(nb, "draw-sum").metadata.update(scrolled=True)),
    ("hygiene", "measures not said", lambda nb: nb.metadata.lesson.pop("measures")),
    ("hygiene", "empty cell", lambda nb: nb.cells.append(new_markdown_cell(" ", id="nothing"))),
]


def test_there_are_lessons_to_check() -> None:
    assert {"00_start_here", "03_schema_versions"} <= {path.stem for path in lesson_paths()}


@pytest.mark.parametrize("path", lesson_paths(), ids=lambda path: path.stem)
def test_lesson_is_clean(path: Path) -> None:
    assert not found(path), "\n".join(line for lines in found(path).values() for line in lines)


@pytest.mark.filterwarnings("ignore:Non-unique cell id")
@pytest.mark.parametrize(
    ("rule", "case", "change"), BROKEN, ids=[f"{rule}-{case}" for rule, case, _ in BROKEN]
)
def test_broken_notebook_is_told_what_to_mend(rule: str, case: str, change: Change, tmp_path: Path) -> None:
    nb = sample.build_executed()
    change(nb)
    if rule != "executed":
        nb.metadata.lesson.code_sha256 = code_hash(nb)
    lines = found(sample.write(tmp_path, nb)).get(rule, [])
    assert lines and all(len(line.rsplit(f"{rule}: ")[-1]) > 10 for line in lines), f"{case} was not noticed"


def test_every_rule_has_a_notebook_that_breaks_it() -> None:
    assert {rule for rule, _, _ in BROKEN} == RULES


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
    assert found(sample.write(tmp_path, nb)) == {}


@pytest.mark.parametrize("name", ["host", "user"])
def test_names_of_this_machine_are_noticed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "some-host")
    monkeypatch.setattr(getpass, "getuser", lambda: "some-user")
    nb = sample.build_executed()
    text_output(f"at some-{name}: done\n")(nb)
    assert "private-details" in found(sample.write(tmp_path, nb))


def test_rules_run_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = sample.write(tmp_path, sample.build_executed())
    monkeypatch.setattr(sys, "argv", ["lesson_rules.py", str(path)])
    assert lesson_rules.main() == 0
    assert capsys.readouterr().out == "1 notebook(s), 0 finding(s)\n"
    nb = read(path)
    replace(nb, "add-numbers", "print", "show")
    sample.write(tmp_path, nb)
    assert lesson_rules.main() == 1
    assert "executed: its code changed after its outputs were stored" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["lesson_rules.py", "no.ipynb"])
    with pytest.raises(SystemExit, match="No such notebook: no.ipynb"):
        lesson_rules.main()


def test_every_sanitize_rule_is_used() -> None:
    rules = sanitize_rules(SANITIZE.read_text(encoding="utf-8"))
    texts = [
        str(value)
        for path in lesson_paths()
        for code in code_cells(read(path))
        for output in code.outputs
        for value in (output.get("text", ""), output.get("evalue", ""), *output.get("data", {}).values())
    ]
    unused = [regex for regex, _ in rules if not any(re.search(regex, text) for text in texts)]
    assert not unused, f"no stored output matches {unused}: delete these rules from {SANITIZE.name}"


@pytest.mark.parametrize(
    "text",
    [
        "regex: a\n\nreplace: b\n",
        "regex:a\nreplace: b\n",
        "regex:  a\n",
        "replace: b\nregex: a\n",
        "regex: a(\nreplace: b\n",
    ],
)
def test_sanitize_rule_that_nbval_would_drop_is_an_error(text: str) -> None:
    with pytest.raises((ValueError, re.error)):
        sanitize_rules(text)


def test_sanitize_rules_are_read() -> None:
    assert sanitize_rules("# why\nregex: \\d+ ms\nreplace: N ms\n") == [(r"\d+ ms", "N ms")]


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=["lint", "format"])
def test_ruff_is_content(command: list[str]) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "ruff", *command, "--no-cache", "."],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_ruff_reads_notebooks(tmp_path: Path) -> None:
    nb = sample.build_executed()
    replace(nb, "add-numbers", "^", "undefined_name\n")
    path = sample.write(tmp_path, nb)
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "ruff",
            "check",
            "--no-cache",
            "--config",
            str(ROOT / "pyproject.toml"),
            str(path),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1 and "F821" in run.stdout, run.stdout + run.stderr
