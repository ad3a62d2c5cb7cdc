"""The strict run notices what nbval alone lets pass. One run of pytest executes all the bad notebooks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from queue import Empty
from unittest import mock
from xml.etree import ElementTree

import nbval.kernel
import nbval_frame
import pytest
import sample_lesson as sample
from lessons import ROOT, code_cells, dumps
from nbformat import from_dict
from nbformat.v4 import new_code_cell, new_notebook, new_output

import notebooks

ERROR = new_output("error", ename="ValueError", evalue="", traceback=[])
NOTEBOOKS: dict[str, list[dict[str, object]]] = {
    "good": [{"source": "a = 1"}, {"source": "a + 1;"}],
    "output": [{"source": "print(1)", "outputs": [new_output("stream", name="stdout", text="2\n")]}],
    "dead": [{"source": "a = 1"}, {"source": "import os\nos._exit(9)"}, {"source": "a"}],
    "no-error": [{"source": "1;", "outputs": [ERROR], "metadata": {"tags": ["raises-exception"]}}],
    "uncounted": [{"source": "a = 1", "execution_count": None}],
    "unknown-tag": [{"source": "a = 1", "metadata": {"tags": ["nbval-variable-output"]}}],
    "skipped": [{"source": "a = 1", "metadata": {"tags": ["nbval-skip"]}}],
}
FAILURES = {
    ("output", 0): "Cell outputs differ",
    ("dead", 1): "The kernel died while it ran this cell",
    ("dead", 2): "Kernel dead on test start",
    ("no-error", 0): "Cell outputs differ",
    ("uncounted", 0): "was never executed",
    ("unknown-tag", 0): "nbval does not know",
    ("skipped", 0): "a cell that never runs tests nothing",
}


Outcomes = dict[tuple[str, int], tuple[str, str]]


def options(folder: Path) -> list[str]:
    """The command line of a strict run of all notebooks in a folder, apart from this repository's own settings."""
    place = ["--rootdir", str(folder), "-c", os.devnull, str(folder)]
    return ["-p", "nbval_frame", "-p", "no:cacheprovider", "-p", "no:xdist", "--nbval", "-q", *place]


class Collector:
    """A pytest plugin that keeps which notebooks were collected."""

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.collected = [item.path.stem for item in session.items]


def store(folder: Path, name: str, cells: list[dict[str, object]], measures: bool = False) -> None:
    """Write a notebook of code cells that claims to have been executed."""
    for number, options in enumerate(cells, start=1):
        options.setdefault("execution_count", number)
    nb = new_notebook(cells=[new_code_cell(**options) for options in cells])
    nb.metadata = from_dict({"lesson": {"measures": measures}})
    (folder / f"{name}.ipynb").write_text(dumps(nb), encoding="utf-8")


@pytest.fixture(autouse=True, scope="module")
def nbval_as_it_was() -> Iterator[None]:
    """Take the patches of the plugin back, which the runs within this process leave behind."""
    kernel = nbval.kernel.RunningKernel
    kept = {name: getattr(kernel, name) for name in ("execute_cell_input", "await_reply")}
    yield
    for name, function in kept.items():
        setattr(kernel, name, function)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """The outcome of each cell of the sample lesson and of all bad notebooks, in one run: (notebook, cell) → how, why."""
    folder = tmp_path_factory.mktemp("strict")
    python_path = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tools")])}
    with mock.patch.dict(os.environ, python_path):
        lesson = sample.write(folder, sample.build())
        notebooks.refresh(lesson)
        lesson.with_name("00_start_here.ipynb").unlink()
        for name, cells in NOTEBOOKS.items():
            store(folder, name, cells)
        command = [
            sys.executable,
            "-m",
            "pytest",
            *options(folder),
            "--nbval-cell-timeout=20",
            "--junitxml=out.xml",
        ]
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert run.returncode == 1, run.stdout + run.stderr
    outcomes = {}
    for case in ElementTree.parse(folder / "out.xml").iter("testcase"):
        bad = next((child for child in case if child.tag in ("failure", "error")), None)
        key = case.attrib["classname"].removesuffix(".ipynb"), int(case.attrib["name"].removeprefix("Cell "))
        outcomes[key] = ("passed", "") if bad is None else ("failed", bad.text or "")
    return outcomes


@pytest.mark.parametrize(
    ("name", "number"), [(name, i) for name, cells in NOTEBOOKS.items() for i in range(len(cells))]
)
def test_cell_has_the_outcome_that_it_deserves(name: str, number: int, outcomes: Outcomes) -> None:
    outcome, text = outcomes[name, number]
    message = FAILURES.get((name, number))
    assert outcome == ("failed" if message else "passed"), text
    assert (message or "") in text


def test_stored_lesson_passes_strictly(outcomes: Outcomes) -> None:
    lesson = [outcome for (name, _), outcome in outcomes.items() if name == Path(sample.NAME).stem]
    assert lesson == [("passed", "")] * len(code_cells(sample.build()))


def test_lessons_that_measure_are_marked(tmp_path: Path) -> None:
    store(tmp_path, "measures", [{"source": "a = 1"}], measures=True)
    store(tmp_path, "counts", [{"source": "a = 1"}])
    for expression, name in (("measures", "measures"), ("not measures", "counts")):
        collector = Collector()
        pytest.main([*options(tmp_path), "--collect-only", "-m", expression], plugins=[collector])
        assert collector.collected == [name]


def test_sanitize_file_with_a_dead_rule_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = tmp_path / "rules.cfg"
    rules.write_text("regex: a\n\nreplace: b\n")
    status = pytest.main([*options(tmp_path), f"--nbval-sanitize-with={rules}"])
    assert status == pytest.ExitCode.USAGE_ERROR
    assert "2 'regex:'/'replace:' lines make only 0 rules" in capsys.readouterr().err


class Kernel:
    """A kernel that says what it is told to say."""

    def __init__(self, *messages: object, alive: bool = True) -> None:
        self.messages, self.alive = list(messages), alive

    def is_alive(self) -> bool:
        return self.alive

    def get_message(self, stream: str, timeout: float) -> object:
        if not self.messages:
            raise Empty
        return self.messages.pop(0)


def reply(msg_id: str, status: str = "ok") -> dict[str, dict[str, str]]:
    """A message as a kernel sends it."""
    return {"parent_header": {"msg_id": msg_id}, "content": {"status": status}}


def test_reply_is_awaited_while_the_kernel_lives() -> None:
    nbval_frame.await_reply(Kernel(reply("other"), reply("mine")), "mine", timeout=1)
    with pytest.raises(Empty):
        nbval_frame.await_reply(Kernel(), "mine", timeout=0)
    with pytest.raises(RuntimeError, match="died"):
        nbval_frame.await_reply(Kernel(alive=False), "mine")
    with pytest.raises(RuntimeError, match="aborted"):
        nbval_frame.await_reply(Kernel(reply("mine", "aborted")), "mine")
