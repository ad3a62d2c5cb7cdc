"""The check before a release goes on where it was, and its record says honestly what failed and what has not been run."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import release_check
from release_check import Step

PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null"]
SCRIPT = "import os, sys; open('ran', 'a').write(sys.argv[1] + ' '); print('said'); "
BUSY = "open(os.environ['LESSONS_BUSY'], 'w').write('This machine is busy.')"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A check with small steps: each leaves a word in the file `ran`. Its repository never changes by itself."""
    (tmp_path / "test_good.py").write_text("def test_good(): pass\n", encoding="utf-8")
    skip = "import pytest\npytest.skip('no', allow_module_level=True)\n"
    (tmp_path / "test_skipped.py").write_text(skip, encoding="utf-8")
    codes = {"bench": "", "browser": "", "grading": "raise SystemExit(3)", "repeats": BUSY}
    scripts = [Step(name, [sys.executable, "-c", SCRIPT + code, name]) for name, code in codes.items()]
    tests = [Step(f"long: {name}", [*PYTEST, f"test_{name}.py"]) for name in ("good", "skipped")]
    monkeypatch.setattr(release_check, "steps", lambda: [*scripts, *tests])
    monkeypatch.setattr(release_check, "FOLDER", tmp_path / "state")
    monkeypatch.setattr(release_check, "RECORD", tmp_path / "record.md")
    monkeypatch.setattr(release_check, "state_of_repository", lambda: "abc")
    monkeypatch.setattr(release_check.run_tests, "run", run_simply)
    # The real one ends all children of its process afterwards: here, those of other tests.
    monkeypatch.setattr(release_check.run_tests, "run_folder", lambda: contextlib.nullcontext(tmp_path))
    monkeypatch.setattr(
        release_check.run_tests,
        "run_environment",
        lambda folder: {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_simply(stage: object, environ: dict[str, str], **settings: object) -> bool:
    """Without `os.wait`, which would take the children of other tests; there is nothing to look back on."""
    after = stage.name == "nothing left behind"
    return after or subprocess.run(stage.command, env=environ, **settings).returncode == 0


def rows() -> dict[str, tuple[str, str]]:
    """The record: what became of each step, and what it said."""
    lines = Path("record.md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return {row[0]: (row[1], row[2]) for row in cells[1:]}


def test_the_record_says_what_passed_failed_was_skipped_and_is_missing(folder: Path) -> None:
    assert release_check.check(["bench"])
    others = ["browser", "grading", "repeats", "long: good", "long: skipped"]
    assert rows() == {"bench": ("passed", "said"), **dict.fromkeys(others, ("not run", ""))}
    assert not release_check.check(list(release_check.PIECES))
    assert rows() == {
        "bench": ("passed", "said"),
        "browser": ("passed", "said"),
        "grading": ("**FAILED**", "said"),
        "repeats": ("**FAILED**", "This machine is busy."),
        "long: good": ("**FAILED**", "This machine is busy."),  # the file is still there: one folder for all
        "long: skipped": ("**FAILED**", "This machine is busy."),
    }
    Path("busy").unlink()
    assert not release_check.check(["long"])
    assert rows()["long: good"] == ("passed", "1 passed")
    assert rows()["long: skipped"] == ("**FAILED**", "1 skipped"), (
        "a step in which nothing ran has not passed"
    )


@pytest.mark.parametrize(
    ("prints", "row"),
    [
        ("4 passed, 1 skipped in 9.00s\n5 passed in 1.00s", ("passed", "4 passed, 1 skipped")),
        ("2 skipped in 9.00s\n5 passed in 1.00s", ("**FAILED**", "2 skipped")),
        (
            "  no engine: no root\n1 passed, 8 skipped in 9.00s\n5 passed in 1.00s",
            ("**FAILED**", "no engine: no root"),
        ),
    ],
)
def test_integration_is_judged_by_its_engine_and_its_own_summary(
    folder: Path, monkeypatch: pytest.MonkeyPatch, prints: str, row: tuple[str, str]
) -> None:
    step = Step("long: integration", [sys.executable, "-c", f"print({prints!r})", "tools/integration.py"])
    monkeypatch.setattr(release_check, "steps", lambda: [step])
    assert release_check.check(["long"]) == (row[0] == "passed")
    assert rows() == {step.name: row}


def test_it_goes_on_where_it_was_and_repeats_what_failed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(stage: object, environ: dict[str, str], **settings: object) -> bool:
        if stage.name == "browser":
            raise KeyboardInterrupt
        return run_simply(stage, environ, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(release_check.run_tests, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            release_check.check(["bench", "browser"])
    assert rows()["browser"][0] == "not run"
    for _ in range(2):
        release_check.check(["bench", "browser", "grading"])
    assert Path("ran").read_text() == "bench browser grading grading "
    assert release_check.check(["bench"], again=True)
    assert Path("ran").read_text() == "bench browser grading grading bench "


def test_a_result_holds_for_its_state_of_the_repository_only(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert release_check.check(["bench"])
    states = iter(["def", "def-changed"])
    monkeypatch.setattr(release_check, "state_of_repository", lambda: next(states))
    assert not release_check.check(["browser"])
    assert rows()["bench"] == ("not run", "")
    assert rows()["browser"] == ("**FAILED**", "the repository changed to def-changed")


def test_what_benchmarks_write_makes_no_other_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def commit(name: str, text: str) -> str:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
        git = ["git", "-C", str(tmp_path), "-c", "user.name=test", "-c", "user.email=test@localhost"]
        subprocess.run([*git, "add", "."], check=True)
        subprocess.run([*git, "commit", "--quiet", "--message", name], check=True)
        return release_check.state_of_repository()

    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    monkeypatch.setattr(release_check, "ROOT", tmp_path)
    state = commit("lib/code.py", "1")
    for name in ("README.md", "benchmarks/results.csv", "benchmarks/release-check.md"):
        assert commit(name, "2") == state
    (tmp_path / "lib" / "code.py").write_text("3", encoding="utf-8")
    assert release_check.state_of_repository() == f"{state}-changed"
    assert commit("benchmarks/run.py", "4") != state, "how it is measured is no result"


def test_every_step_runs_what_exists() -> None:
    steps = list(release_check.steps())
    assert len({step.name for step in steps}) == len(steps) > 60
    words = {word for step in steps for word in step.command if word.startswith(("tests/", "benchmarks/"))}
    assert [name for name in words if not (release_check.ROOT / name).exists()] == []
    assert {step.name.split()[0].rstrip(":") for step in steps} == set(release_check.PIECES)
