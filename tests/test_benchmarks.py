"""The benchmarks run, compare what is equal, and store what they measured. Speed is no business of a test."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import files, rows, run  # noqa: E402


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    into = tmp_path_factory.mktemp("bench")
    suites = [f"--only={suite}" for suite in ("records", "files", "growth", "scaling")]
    command = [sys.executable, ROOT / "benchmarks" / "run.py", "--quick", *suites, "--into", into]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with open(into / "results.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file)), (into / "results.md").read_text(encoding="utf-8"), into


def test_every_case_has_a_baseline_and_a_candidate_of_lib_or_a_peer(measured):
    found = [row for row in measured[0] if row["suite"] in ("records", "files")]
    cases = {row["case"] for row in found}
    assert len(cases) == 11
    for case in cases:
        names = [row["candidate"] for row in found if row["case"] == case]
        assert names[0].startswith("naive") or "against" in case
        assert len(names) >= 2
    names = " ".join(row["candidate"] for row in found)
    peers = {"pydantic", "msgspec", "jsonschema", "fastjsonschema", "jsonschema-rs", "fastavro", "polars"}
    assert [peer for peer in peers if peer not in names] == []
    assert any(row["noise"] for row in measured[0])
    for row in measured[0]:
        assert "CPython" in row["environment"] and int(row["rounds"]) >= 3
        assert float(row["median_s"]) > 0 or row["candidate"].startswith("exponent")


def test_the_table_shows_both_figures_and_says_of_each_goal_whether_it_was_met(measured):
    found, text, folder = measured
    goals = [row for row in found if row["goal"]]
    assert len(goals) == 5 + 2 + 1 + 3 + 2
    assert ("lib, simulate", "1.0") in [(row["candidate"], row["goal"]) for row in goals]
    assert text.count(": met") + text.count(": missed") == len(goals)
    for name in ("speedups.png", "growth.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG"), name
        assert f"]({name})" in text


def test_what_is_stored_is_read_again_and_kept_when_another_suite_is_measured(measured):
    stored = rows.read(measured[2] / "results.csv")
    kept = [row.suite for row in stored if row.suite in ("records", "scaling")]
    assert [row.suite for row in run.kept(measured[2], ["files", "growth"])] == kept
    as_read = [{name: getattr(row, name) for name in rows.columns()} for row in stored]
    assert [{**rows.stored(row)} for row in stored] == as_read


def test_files_that_differ_are_told_apart():
    """The comparison for equality before speed would notice a lost record, another reason, and another order."""
    source = b'{"id": "1", "name": "Ana", "created_at": "2024-02-30"}\n{"id": "2", "name": "Leo", "created_at": "2024-01-01"}\n'
    right = files.as_results(files.by_loop(source))
    assert right == files.as_results(files.by_lib(source)) == files.as_results(files.by_polars(source))
    assert right[1] == [(1, ["created_at: no such calendar day"])]
    good, aside = files.by_loop(source)
    assert right != files.as_results((good, b"")) and right != files.as_results((b"", aside))
    assert right != files.as_results((good, aside.replace(b"calendar", b"other")))
