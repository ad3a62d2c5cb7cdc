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


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A check of three pieces with small steps: each leaves a line in `ran`. Its repository never changes by itself."""
    (tmp_path / "test_good.py").write_text("def test_good(): pass\n", encoding="utf-8")
    (tmp_path / "test_skipped.py").write_text(
        "import pytest\npytest.skip('no', allow_module_level=True)\n", encoding="utf-8"
    )
    count = f"open({str(tmp_path / 'ran')!r}, 'a').write(__import__('sys').argv[1] + ' ')"

    def step(name: str, status: int = 0) -> Step:
        return Step(
            name,
            [
                sys.executable,
                "-c",
                f"{count}; print('said'); raise SystemExit({status})",
                name.replace(" ", "-"),
            ],
        )

    pieces = {
        "good": lambda: [step("good 1"), step("good 2")],
        "bad": lambda: [step("bad", 3)],
        "tests": lambda: [
            Step("tests good", [*PYTEST, str(tmp_path / "test_good.py")]),
            Step("tests skipped", [*PYTEST, str(tmp_path / "test_skipped.py")]),
        ],
    }
    monkeypatch.setattr(release_check, "PIECES", pieces)
    monkeypatch.setattr(release_check, "FOLDER", tmp_path / "state")
    monkeypatch.setattr(release_check, "RECORD", tmp_path / "record.md")
    monkeypatch.setattr(release_check, "RESULTS", tmp_path / "record.json")
    monkeypatch.setattr(release_check, "ROOT", tmp_path)
    monkeypatch.setattr(release_check, "state_of_repository", lambda: "abc")
    monkeypatch.setattr(release_check, "run", run_simply)
    # The real one ends all children of its process afterwards: here, those of other tests.
    monkeypatch.setattr(release_check, "run_folder", lambda: contextlib.nullcontext(tmp_path))
    monkeypatch.setattr(release_check, "run_environment", lambda folder: dict(os.environ))
    return tmp_path


def run_simply(stage: object, environ: dict[str, str], **settings: object) -> bool:
    """Without `os.wait`, which would take the children of other tests; there is nothing to look back on."""
    return (
        stage.name == "nothing left behind"
        or subprocess.run(stage.command, env=environ, **settings).returncode == 0
    )


def ran(folder: Path) -> list[str]:
    return (folder / "ran").read_text(encoding="utf-8").split()


def rows(folder: Path) -> dict[str, tuple[str, str]]:
    lines = (folder / "record.md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return {row[0]: (row[1], row[2]) for row in cells[1:]}


def test_the_record_says_what_passed_failed_was_skipped_and_is_missing(folder: Path) -> None:
    assert release_check.check(["good"])
    assert rows(folder) == {
        "good 1": ("passed", "said"),
        "good 2": ("passed", "said"),
        **dict.fromkeys(["bad", "tests good", "tests skipped"], ("not run", "")),
    }
    assert "2 of 5 steps passed, 3 have not been run." in (folder / "record.md").read_text(encoding="utf-8")
    assert not release_check.check(["good", "bad", "tests"])
    assert rows(folder)["bad"] == ("**FAILED**", "said")
    assert rows(folder)["tests good"] == ("passed", "1 passed")
    assert rows(folder)["tests skipped"] == ("**FAILED**", "1 skipped"), (
        "a step in which nothing ran is no success"
    )
    assert "3 of 5 steps passed, 2 failed." in (folder / "record.md").read_text(encoding="utf-8")


def test_it_goes_on_after_an_interruption_and_repeats_what_failed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(stage: object, environ: dict[str, str], **settings: object) -> bool:
        if stage.name == "good 2":
            raise KeyboardInterrupt
        return run_simply(stage, environ, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(release_check, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            release_check.check(["good", "bad"])
    assert (ran(folder), rows(folder)["good 2"][0]) == (["good-1"], "not run")
    assert not release_check.check(["good", "bad"])
    assert ran(folder) == ["good-1", "good-2", "bad"]
    assert not release_check.check(["good", "bad"])
    assert ran(folder) == ["good-1", "good-2", "bad", "bad"]
    assert release_check.check(["good"], again=True)
    assert ran(folder) == ["good-1", "good-2", "bad", "bad", "good-1", "good-2"]


def test_a_result_holds_for_its_state_of_the_repository_only(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert release_check.check(["good"])
    monkeypatch.setattr(release_check, "state_of_repository", lambda: "def")
    assert not release_check.check(["bad"])
    assert rows(folder)["good 1"] == ("not run", "")
    states = iter(["def", "def-changed"])
    monkeypatch.setattr(release_check, "state_of_repository", lambda: next(states, "def-changed"))
    assert not release_check.check(["good"])
    assert rows(folder)["good 1"] == ("**FAILED**", "the repository changed to def-changed")


def test_the_record_does_not_tell_where_the_checkout_lies(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(f"1 of 2\nstored in {release_check.ROOT / 'benchmarks'}\n", encoding="utf-8")
    assert release_check.told(log) == "stored in benchmarks"


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
    for name in ("README.md", "benchmarks/results.csv", "benchmarks/release-check.json"):
        assert commit(name, "2") == state
    (tmp_path / "README.md").write_text("3", encoding="utf-8")
    assert release_check.state_of_repository() == state
    (tmp_path / "lib" / "code.py").write_text("3", encoding="utf-8")
    assert release_check.state_of_repository() == f"{state}-changed"
    assert commit("benchmarks/run.py", "4") != state, "how it is measured is no result"


def test_the_steps_are_there_and_run_what_exists() -> None:
    steps = [step for piece in release_check.PIECES.values() for step in piece()]
    assert len({step.name for step in steps}) == len(steps) > 60
    assert len({release_check.log_of(step) for step in steps}) == len(steps)
    assert all(step.piece in release_check.PIECES for step in steps)
    files = {
        word
        for step in steps
        if step.piece != "grading"
        for word in step.command
        if word.startswith(("tests/", "benchmarks/"))
    }
    assert [name for name in files if not (release_check.ROOT / name).exists()] == []
