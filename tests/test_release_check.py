"""The check before a release goes on where it was, and its record says honestly what failed and what has not been run."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import release_check


def printed(*lines: str) -> str:
    """A step of tests that prints these lines, and the summary of what was left behind."""
    return shlex.join(["printf", "%s\n", *lines, "5 passed in 1.00s"])


STEPS = {
    "bench": "python -c \"open('ran', 'a').write('bench '); print('94 rows')\"",
    "grading": "python -c \"open('ran', 'a').write('grading '); raise SystemExit('3 | wrong')\"",
    "browser": "python -m pytest -p no:cacheprovider -c /dev/null test_good.py",
    "long: code": printed("4 passed, 1 skipped in 9.00s"),
    "long: nothing": printed("2 skipped in 9.00s"),
    "long: no engine": printed("  no engine: no root", "1 passed, 8 skipped in 9.00s"),
    "repeats 1": "python -c \"import os; open(os.environ['LESSONS_BUSY'], 'w').write('This machine is busy.')\"",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A check with small steps. Its repository never changes by itself."""
    (tmp_path / "test_good.py").write_text("def test_good(): pass\n", encoding="utf-8")
    (tmp_path / "record.md").write_text("# Release check\n\n|---|---|---|---|---|---|\n", encoding="utf-8")
    monkeypatch.setattr(release_check, "steps", lambda: STEPS)
    monkeypatch.setattr(release_check, "ROOT", tmp_path)
    monkeypatch.setattr(release_check, "FOLDER", tmp_path / "state")
    monkeypatch.setattr(release_check, "RECORD", tmp_path / "record.md")
    monkeypatch.setattr(release_check, "state_of_repository", lambda: "abc")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(only: str = "") -> bool:
    """Whether it passes."""
    with pytest.raises(SystemExit) as end:
        release_check.check(only)
    return end.value.code == 0


def rows() -> dict[str, str]:
    """The record: what became of each step, and what it said."""
    lines = Path("record.md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.split("|")] for line in lines if line.startswith("| ")]
    return {name: f"{result} | {said}" for _, name, result, said, *_ in cells}


def test_the_record_says_what_passed_failed_was_skipped_and_is_missing(folder: Path) -> None:
    assert check("bench")
    assert rows() == dict.fromkeys(STEPS, "not run | ") | {"bench": "passed | 94 rows"}
    for _ in range(2):  # what has passed is not run again
        assert not check()
        assert rows() == {
            "bench": "passed | 94 rows",
            "grading": "**FAILED** | 3 ¦ wrong",
            "browser": "passed | 1 passed",
            "long: code": "passed | 4 passed, 1 skipped",
            "long: nothing": "**FAILED** | 2 skipped",
            "long: no engine": "**FAILED** | no engine: no root",
            "repeats 1": "**FAILED** | This machine is busy.",
        }
    assert Path("ran").read_text() == "bench grading grading "
    with pytest.raises(SystemExit, match="No step begins with 'other'; the steps are bench"):
        release_check.check("other")


def test_a_result_holds_for_its_state_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check("bench")
    states = iter(["def", "def-changed"])
    monkeypatch.setattr(release_check, "state_of_repository", lambda: next(states))
    assert not check("browser")
    assert rows()["bench"] == "not run | "
    assert rows()["browser"] == "**FAILED** | the repository changed to def-changed"


def test_every_step_runs_what_exists() -> None:
    words = {word for command in release_check.steps().values() for word in command.split()}
    named = [word for word in words if word.startswith(("tests/", "tools/", "benchmarks/"))]
    assert len(named) > 5 and [name for name in named if not (release_check.ROOT / name).exists()] == []
