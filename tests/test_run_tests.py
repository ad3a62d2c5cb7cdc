"""`tools/run_tests.py` on a small collection of its own: what passes, what fails, what it cleans up."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import run_tests
from leftovers import command_of, descendants, still_running
from nbformat import v4, write
from waiting import until

ROOT = Path(__file__).resolve().parents[1]
LEAKY_TEST = """
import pathlib, subprocess, sys, tempfile

def test_that_leaves_things_behind():
    leave = "import subprocess; subprocess.Popen(['sleep', '3000'], start_new_session=True)"
    subprocess.run([sys.executable, "-c", leave], check=True)
    pathlib.Path.home().joinpath(".left-in-home").touch()
    pathlib.Path(__file__).with_name("left_in_repository.txt").touch()
    pathlib.Path(tempfile.mkdtemp(prefix="left-in-tmp"))
"""


def write_lesson(path: Path, measures: bool, output: str = "3\n", also: str = "", *tags: str) -> None:
    """A lesson with one cell that prints 3, and does something else."""
    cell = v4.new_code_cell(f"print(1 + 2)\n{also}", id="sum", execution_count=1)
    cell.metadata["tags"] = list(tags)
    cell.outputs = [v4.new_output("stream", name="stdout", text=output)]
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    nb = v4.new_notebook(cells=[cell], metadata={"kernelspec": kernel, "lesson": {"measures": measures}})
    path.parent.mkdir(exist_ok=True)
    write(nb, path)


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    """A checkout with the real tools, a lesson that measures and one that does not, and one test."""
    folder = tmp_path / "a collection"
    for name in ("tools", "tests/after"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    # Without patience, and with one process for what runs side by side: each takes a second to start.
    quick = {"tests/after/test_nothing_left.py": ("10.0", "1.0"), "tools/run_tests.py": ('"4"', '"1"')}
    for path, change in ((folder / name, change) for name, change in quick.items()):
        path.write_text(path.read_text(encoding="utf-8").replace(*change), encoding="utf-8")
    for name in ("pyproject.toml", ".gitignore", "tests/leftovers.py"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "tests" / "conftest.py").write_text("import sys\nsys.path.insert(0, 'tools')\n")
    (folder / "tests" / "test_sum.py").write_text("def test_sum():\n    assert 1 + 2 == 3\n")
    (folder / "lib").mkdir()
    (folder / "lib" / "__init__.py").touch()
    write_lesson(folder / "notebooks" / "00_one.ipynb", measures=True)
    own_lib = "import lib\nassert lib.__file__.endswith('leçon à part/lib/__init__.py')"
    sockets = "from ipykernel.kernelapp import IPKernelApp as App\nassert App.instance().transport == 'ipc'"
    write_lesson(folder / "notebooks" / "01_two.ipynb", measures=False, also=f"{own_lib}\n{sockets}")
    git = ["git", "-C", str(folder), "-c", "user.name=Test", "-c", "user.email=test@example.org"]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "all"]):
        subprocess.run([*git, *command], check=True)
    return folder


def run_in(collection: Path, *arguments: str) -> tuple[int, str]:
    command = [sys.executable, "tools/run_tests.py", *arguments]
    run = subprocess.run(command, cwd=collection, capture_output=True, text=True, timeout=1200)
    return run.returncode, run.stdout + run.stderr


def summary(output: str) -> dict[str, str]:
    """The stages and how they ended."""
    return dict(re.findall(r"^(\S.*?) +(passed|FAILED) +\d+ s$", output, re.MULTILINE))


def test_everything_that_is_left_is_named(collection: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Later stages still run."""
    ignored = collection.parent / "home" / ".config" / "git" / "ignore"  # is gone in the run's own home
    ignored.parent.mkdir(parents=True)
    ignored.write_text("*.toml\n", encoding="utf-8")
    (collection / "new.toml").touch()
    monkeypatch.setenv("HOME", str(collection.parent / "home"))
    (collection / "tests" / "test_leaky.py").write_text(LEAKY_TEST, encoding="utf-8")
    write_lesson(collection / "notebooks" / "00_one.ipynb", measures=True, output="what is not computed")
    status, output = run_in(collection)
    failed = dict.fromkeys(["lessons that measure, one at a time", "nothing left behind"], "FAILED")
    passed = dict.fromkeys(["plain tests", "lessons side by side"], "passed")
    assert status == 1 and summary(output) == passed | failed, output
    # pytest reports it twice where CI is set.
    [number] = set(re.findall(r"still running:\n.*process (\d+): sleep 3000", output))
    found = [".left-in-home", "left_in_repository.txt", "1 more item", "left-in-tmp", "what is not computed"]
    assert [text for text in found if text not in output] == []
    assert command_of(int(number)) is None and "once more" not in output


def test_a_claim_about_times_is_refuted_when_it_fails_twice(collection: Path) -> None:
    here = "import pathlib\nbusy, seen = False, pathlib.Path('seen')"
    claim = f"{here}\nfirst = not seen.exists()\nseen.touch() if first else seen.unlink()\nassert busy or not first, 'too slow'"
    write_lesson(collection / "notebooks" / "00_one.ipynb", measures=True, also=claim)
    status, output = run_in(collection, "--only", "lessons")
    assert status == 0 and "too slow" in output and "once more: notebooks/00_one.ipynb" in output, output


def test_a_notebook_from_elsewhere(collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs as strictly as the lessons."""
    elsewhere, temporary = tmp_path / "a teacher's" / "my lesson.ipynb", tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setenv("PYTEST_ADDOPTS", "--no-such-option")
    write_lesson(elsewhere, False, "3\n", "", "nbval-ignore-output")
    status, output = run_in(collection, "--notebook", str(elsewhere))
    passed = dict.fromkeys(["outputs as stored", "nothing left behind"], "passed")
    assert summary(output) == passed | {"every cell can be compared": "FAILED"}, output
    assert status == 1 and "[sum]: compared: ignores its output" in output, output
    assert list(temporary.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, which only Linux has")
def test_an_interrupted_run_ends_all_its_processes(collection: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one passes."""
    test = "import subprocess\n\ndef test_long():\n    subprocess.run(['sleep', '3000'], start_new_session=True)\n"
    (collection / "tests" / "test_sum.py").write_text(test, encoding="utf-8")
    monkeypatch.setenv("TMPDIR", str(collection.parent))
    command = [sys.executable, "tools/run_tests.py", "tests/test_sum.py"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=collection, **quiet) as run:
        until(lambda: "sleep 3000" in descendants(run.pid).values())
        started = descendants(run.pid)
        run.terminate()
        assert run.wait(timeout=300) == 128 + signal.SIGTERM
    assert still_running(started) == []
    assert list(collection.parent.glob("lessons-*")) == []
    (collection / "tests" / "test_sum.py").write_text("def test_sum():\n    assert 1 + 2 == 3\n")
    status, output = run_in(collection, "tests/test_sum.py")
    assert status == 0 and summary(output) == {"chosen tests": "passed", "nothing left behind": "passed"}


@pytest.mark.parametrize("name", ["", "no/such.ipynb", "pyproject.toml"])
def test_a_notebook_that_is_not_there(name: str) -> None:
    with pytest.raises(SystemExit, match="No such notebook: .* make test-notebook NB=notebooks/"):
        run_tests.stages(None, name, [])
