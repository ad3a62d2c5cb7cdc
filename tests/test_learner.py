"""The learner's edition: what is cut, what stays, and that nothing a learner wrote is ever lost."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import sample_lesson as sample
from learner import MANIFEST, PROMPT, STUB, blank, generate, release
from learners import QUICK, run_all
from lessons import code_cells, display_path, dumps, is_check, is_solution, read, tags
from nbformat.v4 import new_code_cell, new_output
from sample_lesson import NAME, cell

NEWER = "03_sample.new.ipynb"


def test_run_all_of_a_learner_fails_only_in_checks(tmp_path: Path, kernel_path: None) -> None:
    """Of one lesson; tests/integration/test_learner_lessons.py does the same for the others, which start servers or take long."""
    run_all(QUICK, tmp_path)


def test_release_cuts_solutions_outputs_hidden_tests_and_guesses() -> None:
    solved = sample.build_executed()
    hidden = "assert add_1(5) == 6, 'it must add one to any x'"
    cell(solved, "check-3-1").source += f"\n### BEGIN HIDDEN TESTS\n{hidden}\n### END HIDDEN TESTS"
    before = copy.deepcopy(solved)
    nb = release(solved)
    assert solved == before
    assert cell(nb, "exercise-3-1").source == f"def add_1(x: int) -> int:\n    {STUB}"
    assert "HIDDEN" not in dumps(nb) and "SOLUTION" not in dumps(nb) and "add_1(5)" not in dumps(nb)
    guess = 'guess = {"sum": None, "parts": [None, None]}  # your numbers'
    assert cell(nb, "predict-sum").source == f"{PROMPT}\n{guess}"
    assert all(not one.outputs and one.execution_count is None for one in code_cells(nb))
    graded = [one.id for one in code_cells(nb) if is_solution(one) or is_check(one)]
    failing = [one.id for one in code_cells(nb) if "raises-exception" in tags(one)]
    assert failing == ["mute-figure", *graded]
    assert nb.metadata.lesson == {"measures": False, "edition": "learner"}


@pytest.mark.parametrize(
    ("solved", "blanked"),
    [
        ("a = -1.5  # per second", "a = None  # per second"),
        ('a = {"é": 38, "late": [1, 2]}  # ñ', 'a = {"é": None, "late": [None, None]}  # ñ'),
        ('a = {\n    "y": (3,),\n}\nb = True', 'a = {\n    "y": (None,),\n}\nb = None'),
        ('# ¿cuántos?\na = """two\nlines"""\nb = 2', "# ¿cuántos?\na = None\nb = None"),
    ],
)
def test_blank_keeps_all_but_the_values(solved: str, blanked: str) -> None:
    assert blank(solved) == blanked


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder of solved lessons: the sample, a first notebook, a data file, and what must not be copied."""
    path = sample.write(tmp_path / "notebooks", sample.build_executed()).parent
    hidden = [".ipynb_checkpoints/old.ipynb", "data/.hidden", "TEACHING.md", "EXAM.md"]
    for name in ["data/users.csv", "images/a/b.png", *hidden]:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(f"content of {name}")
    return path


@pytest.fixture
def target(source: Path, tmp_path: Path) -> Path:
    """The learner's edition, freshly generated."""
    target = tmp_path / "work"
    assert generate(source, target) == [f"made or updated 4 file(s) in {display_path(target)}"]
    return target


def edit(path: Path, cell_id: str, text: str) -> bytes:
    """A learner (or an author) writes in a cell."""
    nb = read(path)
    cell(nb, cell_id).source = text
    path.write_text(dumps(nb), encoding="utf-8")
    return path.read_bytes()


def files(target: Path) -> list[str]:
    """All files in a folder."""
    return sorted(path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file())


def test_learner_gets_lessons_and_what_they_need(source: Path, target: Path) -> None:
    assert files(target) == [MANIFEST, "00_start_here.ipynb", NAME, "data/users.csv", "images/a/b.png"]
    assert read(target / NAME) == release(read(source / NAME))
    assert (target / "data/users.csv").read_bytes() == (source / "data/users.csv").read_bytes()


def test_lesson_that_was_only_run_is_updated(source: Path, target: Path) -> None:
    nb = read(target / NAME)
    for count, one in enumerate(code_cells(nb), start=1):
        one.execution_count = count
        one.outputs = [new_output("stream", name="stdout", text="ran\n")]
    nb.cells.append(new_code_cell("", id="added-by-jupyterlab"))
    nb.metadata.language_info.version = "3.12.1"
    (target / NAME).write_text(dumps(nb), encoding="utf-8")
    ran = (target / NAME).read_bytes()
    assert generate(source, target) == [] and (target / NAME).read_bytes() == ran, "outputs stay"
    edit(source / NAME, "sum-means", "A better explanation.")
    assert generate(source, target) == [f"made or updated 1 file(s) in {display_path(target)}"]
    assert cell(read(target / NAME), "sum-means").source == "A better explanation."
    assert NEWER not in files(target)


def test_a_changed_lesson_is_left_alone_and_newer_ones_are_put_beside_it(source: Path, target: Path) -> None:
    mine = edit(target / NAME, "exercise-3-1", "def add_1(x): return x + 1")
    assert generate(source, target) == []
    edit(source / NAME, "sum-means", "Second edition.")
    [message] = generate(source, target)
    assert "You have changed" in message and NAME in message and NEWER in message
    assert (target / NAME).read_bytes() == mine
    assert cell(read(target / NEWER), "sum-means").source == "Second edition."
    assert generate(source, target) == []
    (target / NEWER).unlink()
    assert generate(source, target) == [] and NEWER not in files(target), "it is offered once"

    edit(source / NAME, "sum-means", "Third edition.")
    assert NEWER in generate(source, target)[0]
    third = edit(target / NEWER, "exercise-3-1", "def add_1(x): return 1 + x")
    edit(source / NAME, "sum-means", "Fourth edition.")
    assert "both stay as they are" in generate(source, target)[0]
    assert ((target / NAME).read_bytes(), (target / NEWER).read_bytes()) == (mine, third)
    (target / NEWER).rename(target / "mine.ipynb")
    assert "beside it" in generate(source, target)[0]
    assert cell(read(target / NEWER), "sum-means").source == "Fourth edition."

    (target / NEWER).replace(target / NAME)
    assert generate(source, target) == []
    edit(source / NAME, "sum-means", "Fifth edition.")
    generate(source, target)
    assert cell(read(target / NAME), "sum-means").source == "Fifth edition.", "who moved on gets updates"
    (target / NAME).unlink()
    generate(source, target)
    assert read(target / NAME) == release(read(source / NAME))


UNREADABLE = [(NAME, content) for content in (b"not json", b"[]", b'{"cells": 3}', b"\xff\xfe", b"")]


@pytest.mark.parametrize(("name", "content"), [*UNREADABLE, ("data/users.csv", b"mine")])
def test_what_no_tool_reads_is_the_learners(name: str, content: bytes, source: Path, target: Path) -> None:
    (target / name).write_bytes(content)
    edit(source / NAME, "sum-means", "Second edition.")
    (source / "data/users.csv").write_text("newer")
    assert f"{Path(name).stem}.new" in "".join(generate(source, target))
    assert (target / name).read_bytes() == content


@pytest.mark.parametrize("manifest", ["", "not json", "{}"])
def test_without_its_records_nothing_is_overwritten(manifest: str, source: Path, target: Path) -> None:
    mine = edit(target / NAME, "exercise-3-1", "def add_1(x): return x + 1")
    (target / MANIFEST).write_text(manifest)
    (message,) = generate(source, target)
    assert NEWER in message and (target / NAME).read_bytes() == mine


def test_crash_between_file_and_record_is_harmless(source: Path, target: Path) -> None:
    record = (target / MANIFEST).read_bytes()
    edit(source / NAME, "sum-means", "Second edition.")
    generate(source, target)
    (target / MANIFEST).write_bytes(record)
    assert generate(source, target) == []
    edit(source / NAME, "sum-means", "Third edition.")
    generate(source, target)
    assert cell(read(target / NAME), "sum-means").source == "Third edition." and NEWER not in files(target)
