"""The benchmarks run, compare what is equal, and store what they measured. Speed is no business of a test."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    into = tmp_path_factory.mktemp("bench")
    command = [sys.executable, ROOT / "benchmarks" / "run.py", "--quick", "--only", "records", "--into", into]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with open(into / "results.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file)), (into / "results.md").read_text(encoding="utf-8")


def test_every_case_has_a_baseline_and_a_candidate_of_lib_or_a_peer(measured):
    rows, _ = measured
    cases = {row["case"] for row in rows}
    assert len(cases) == 6
    for case in cases:
        names = [row["candidate"] for row in rows if row["case"] == case]
        assert names[0].startswith("naive")
        assert len(names) >= 2


def test_peers_run_in_the_same_run(measured):
    names = " ".join(row["candidate"] for row in measured[0])
    for peer in ("pydantic", "msgspec", "jsonschema", "fastjsonschema"):
        assert peer in names


def test_rows_tell_their_environment_and_their_noise(measured):
    for row in measured[0]:
        assert "CPython" in row["environment"]
        assert float(row["median_s"]) > 0
        assert int(row["rounds"]) >= 3
    assert any(row["noise"] for row in measured[0])


def test_the_table_says_of_each_goal_whether_it_was_met(measured):
    rows, text = measured
    goals = [row for row in rows if row["goal"]]
    assert len(goals) == 5
    assert text.count(": met") + text.count(": missed") == len(goals)


def test_the_simulation_is_held_against_its_goal(tmp_path):
    command = [
        sys.executable,
        ROOT / "benchmarks" / "run.py",
        "--quick",
        "--only",
        "scaling",
        "--into",
        tmp_path,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with open(tmp_path / "results.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["candidate"] for row in rows][:2] == ["the goal", "lib, simulate"]
    assert [row["goal"] for row in rows][:2] == ["", "1.0"]
