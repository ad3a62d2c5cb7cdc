"""The strict run notices what nbval alone lets pass. One run of pytest within pytest executes all the bad notebooks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from queue import Empty

import nbval.kernel
import nbval_frame
import pytest
import sample_lesson as sample
from lessons import code_cells, dumps
from nbformat import from_dict
from nbformat.v4 import new_code_cell, new_notebook, new_output

ERROR = new_output("error", ename="ValueError", evalue="", traceback=[])
NOTEBOOKS: dict[str, list[dict[str, object]]] = {
    "good": [{"source": "a = 1"}, {"source": "a + 1;"}],
    "output": [{"source": "print(1)", "outputs": [new_output("stream", name="stdout", text="2\n")]}],
    "dead": [{"source": "a = 1"}, {"source": "import os\nos._exit(9)"}, {"source": "a"}],
    "hanging": [{"source": "import time\ntime.sleep(60)"}],
    "no-error": [{"source": "1;", "outputs": [ERROR], "metadata": {"tags": ["raises-exception"]}}],
    "uncounted": [{"source": "a = 1", "execution_count": None}],
    "unknown-tag": [{"source": "a = 1", "metadata": {"tags": ["nbval-variable-output"]}}],
    "skipped": [{"source": "a = 1", "metadata": {"tags": ["nbval-skip"]}}],
}
FAILURES = {
    ("output", 0): "Cell outputs differ",
    ("dead", 1): "The kernel died while it ran this cell",
    ("dead", 2): "Kernel dead on test start",
    ("hanging", 0): "Timeout of 3 seconds exceeded",
    ("no-error", 0): "Cell outputs differ",
    ("uncounted", 0): "was never executed",
    ("unknown-tag", 0): "nbval does not know",
    ("skipped", 0): "a cell that never runs tests nothing",
}


class Recorder:
    """A pytest plugin that keeps the outcome of each notebook cell of a run."""

    def __init__(self) -> None:
        self.collected: list[str] = []
        self.outcomes: dict[tuple[str, int], tuple[str, str]] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.collected = [item.path.stem for item in session.items]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.failed:
            key = Path(report.fspath).stem, int(report.nodeid.rsplit(" ", 1)[-1])
            self.outcomes[key] = report.outcome, str(report.longrepr or "")


def strict(folder: Path, *options: str) -> tuple[int, Recorder]:
    """Run the notebooks of a folder strictly, by pytest within pytest."""
    recorder = Recorder()
    plugins = ["-p", "no:cacheprovider", "-p", "no:xdist", "-p", "nbval_frame"]
    place = ["--rootdir", str(folder), "-c", os.devnull, str(folder)]
    return int(
        pytest.main([*plugins, "--nbval", "-q", "--color=no", *options, *place], plugins=[recorder])
    ), recorder


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
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], tuple[str, str]]:
    """The outcome of each cell of all bad notebooks, in one run."""
    folder = tmp_path_factory.mktemp("strict")
    for name, cells in NOTEBOOKS.items():
        store(folder, name, cells)
    status, recorder = strict(folder, "--nbval-cell-timeout=3")
    assert status == 1
    return recorder.outcomes


@pytest.mark.parametrize(
    ("name", "number"), [(name, i) for name, cells in NOTEBOOKS.items() for i in range(len(cells))]
)
def test_cell_has_the_outcome_that_it_deserves(
    name: str, number: int, outcomes: dict[tuple[str, int], tuple[str, str]]
) -> None:
    outcome, text = outcomes[name, number]
    message = FAILURES.get((name, number))
    assert outcome == ("failed" if message else "passed"), text
    assert (message or "") in text


def test_stored_lesson_passes_strictly(tmp_path: Path, kernel_path: None) -> None:
    import notebooks

    path = sample.write(tmp_path, sample.build())
    notebooks.refresh(path)
    (tmp_path / "00_start_here.ipynb").unlink()
    status, recorder = strict(tmp_path)
    assert status == 0 and len(recorder.outcomes) == len(code_cells(sample.build())), recorder.outcomes


def test_lessons_that_measure_are_marked(tmp_path: Path) -> None:
    store(tmp_path, "measures", [{"source": "a = 1"}], measures=True)
    store(tmp_path, "counts", [{"source": "a = 1"}])
    assert strict(tmp_path, "--collect-only", "-m", "measures")[1].collected == ["measures"]
    assert strict(tmp_path, "--collect-only", "-m", "not measures")[1].collected == ["counts"]


def test_sanitize_file_with_a_dead_rule_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = tmp_path / "rules.cfg"
    rules.write_text("regex: a\n\nreplace: b\n")
    assert strict(tmp_path, f"--nbval-sanitize-with={rules}")[0] == pytest.ExitCode.USAGE_ERROR
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
