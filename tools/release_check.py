"""Check before a release what takes too long for every push, piece by piece, and write down what came of it.

    python tools/release_check.py [--only browser] [--again]

Each step's result is kept in benchmarks/release-check.json as soon as it is there. So an interrupted check goes on where it was, from
another checkout too: a step that has passed for this state of the repository is not run again (`--again` does it). After each step the
record in benchmarks/release-check.md is written anew. It names what failed, what was skipped, and what has not been run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from environment import ROOT, STATE
from lessons import lesson_paths, print_utf8, write_atomically
from run_tests import (
    PYTEST,
    SIDE_BY_SIDE,
    STRICT,
    Stage,
    adopt_orphans,
    measures,
    run,
    run_environment,
    run_folder,
)

from lib.benchmark import environment

FOLDER = STATE / "release-check"
RECORD = ROOT / "benchmarks" / "release-check.md"
RESULTS = RECORD.with_suffix(".json")
REPEATS = 10
#: Tests whose outcome depends on time: kills, switches, queues, loads.
TIMED = """
    tests/test_benchmark.py tests/test_killed_kernel.py tests/stage
    tests/deployment/test_command.py tests/deployment/test_kubernetes.py tests/monitoring/test_names.py
    tests/deployment/test_rollout.py tests/deployment/test_service.py
    tests/scaling/test_partitions.py tests/scaling/test_workers.py tests/scaling/test_worker_metrics.py
    tests/scaling/test_workloads.py tests/versioning/test_run_migration.py
    tests/integration/test_killed_kernels.py
""".split()
#: What benchmarks and this check write, which makes no other state of the repository.
WRITTEN = ["benchmarks/*.csv", "benchmarks/*.json", "benchmarks/*.md", "benchmarks/*.png", "README.md"]
SUMMARY = re.compile(r"^=*\s*((?:\d+ \w+(?:, )?)+) in [\d.]+s", re.MULTILINE)
INTRODUCTION = """# Release check

Made by `make release-check`: what takes too long for every push. Checked is the state `{state}` of the repository, on {machine}.
**{verdict}**

"""


@dataclass(frozen=True)
class Step:
    """One command, of the piece that its name begins with."""

    name: str
    command: list[str]
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def piece(self) -> str:
        return self.name.partition(" ")[0]


@dataclass(frozen=True)
class Result:
    """What came of a step. `state` is that of the repository; `told` what pytest counted, or the last line of another command."""

    state: str
    passed: bool
    told: str
    seconds: float
    day: str


def grading() -> list[Step]:
    """The grading loop, for all lessons: three submissions each, and the points that they must get."""
    files = ["tests/integration/test_grading.py", "tests/integration/test_grading_lessons.py"]
    return [Step("grading", [*PYTEST, *files], {"GRADING_LESSONS": "all"})]


def browser() -> list[Step]:
    """Both editions of each lesson in a real JupyterLab and a real browser."""
    command = [*PYTEST, "tests/integration/test_browser.py"]
    numbers = [path.name[:2] for path in lesson_paths()]
    return [Step(f"browser {number}", command, {"BROWSER_LESSONS": number}) for number in numbers]


def long() -> list[Step]:
    """The tests that `make test-integration` skips for the time they take."""
    return [Step("long", [sys.executable, "tools/integration.py", "-m", "long"], {"LONG": "1"})]


def repeats() -> list[Step]:
    """What depends on time, ten times: the tests of `TIMED`, and each lesson that measures."""
    lessons = [path for path in lesson_paths() if measures(path)]
    steps = []
    for number in range(1, REPEATS + 1):
        steps.append(Step(f"repeats {number}: tests", [*PYTEST, *SIDE_BY_SIDE, *TIMED]))
        steps += [
            Step(f"repeats {number}: lesson {path.name[:2]}", [*PYTEST, *STRICT, str(path)])
            for path in lessons
        ]
    return steps


def bench() -> list[Step]:
    """All benchmarks at full size; they write results.csv and results.md beside the record."""
    return [Step("bench", [sys.executable, "benchmarks/run.py"])]


PIECES: dict[str, Callable[[], list[Step]]] = {
    "grading": grading,
    "browser": browser,
    "bench": bench,
    "long": long,
    "repeats": repeats,
}


def state_of_repository() -> str:
    """The last commit that changed more than `WRITTEN`, with `-changed` behind it if such a file differs from it now."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments, "--", ".", *(f":!{path}" for path in WRITTEN)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    return git("log", "-1", "--abbrev=12", "--format=%h") + "-changed" * bool(git("status", "--porcelain"))


def told(log: Path) -> str:
    """What pytest counted; of another command the last line, without the place of this checkout."""
    text = log.read_text(encoding="utf-8", errors="replace").replace(f"{ROOT}{os.sep}", "")
    counted = SUMMARY.findall(text)
    return counted[-1] if counted else (text.strip().splitlines() or ["nothing"])[-1][:100]


def log_of(step: Step) -> Path:
    """Where the output of a step goes."""
    return FOLDER / f"{re.sub(r'[^a-z0-9]+', '-', step.name)}.log"


def take(step: Step, state: str) -> Result:
    """Run a step, in a home folder of its own. A step of pytest in which no test ran has not passed."""
    start, log, by_pytest = time.monotonic(), log_of(step), "pytest" in step.command
    with run_folder() as folder, log.open("w", encoding="utf-8") as output:
        environ = run_environment(folder) | step.environ
        into = {"stdout": output, "stderr": subprocess.STDOUT}
        passed = run(Stage(step.name, step.command), environ, **into)
        said = told(log)
        if by_pytest:
            passed &= " passed" in said
            if not run(Stage("nothing left behind", [*PYTEST, "tests/after"]), environ, **into):
                passed, said = False, f"{said}; something was left behind"
    return Result(state, passed, said, round(time.monotonic() - start, 1), time.strftime("%Y-%m-%d"))


def load() -> dict[str, Result]:
    """The results of earlier runs, by the name of the step."""
    try:
        stored = json.loads(RESULTS.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return {name: Result(**result) for name, result in stored.items()}


def store(results: dict[str, Result]) -> None:
    """Keep the results, whole."""
    text = json.dumps({name: asdict(result) for name, result in results.items()}, indent=1)
    write_atomically(RESULTS, f"{text}\n".encode())


def record(steps: list[Step], results: dict[str, Result], state: str) -> str:
    """The record as Markdown, of results for this state of the repository only."""
    valid = {step.name: results[step.name] for step in steps if step.name in results}
    valid = {name: result for name, result in valid.items() if result.state == state}
    failed = [name for name, result in valid.items() if not result.passed]
    open_ = [step.name for step in steps if step.name not in valid]
    verdict = f"{len(valid) - len(failed)} of {len(steps)} steps passed"
    verdict += f", {len(failed)} failed" * bool(failed) + f", {len(open_)} have not been run" * bool(open_)
    lines = ["| step | result | what it said | seconds | day |", "|---|---|---|---|---|"]
    for step in steps:
        if result := valid.get(step.name):
            word = "passed" if result.passed else "**FAILED**"
            said = result.told.replace("|", "\\|")
            lines.append(f"| {step.name} | {word} | {said} | {result.seconds:.0f} | {result.day} |")
        else:
            lines.append(f"| {step.name} | not run | | | |")
    return (
        INTRODUCTION.format(state=state, machine=environment(), verdict=verdict + ".")
        + "\n".join(lines)
        + "\n"
    )


def check(chosen: list[str], again: bool = False) -> bool:
    """Run what is still to be run of the chosen pieces; whether all of their steps have passed."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    state, results = state_of_repository(), load()
    steps = [step for piece in PIECES.values() for step in piece()]
    mine = [step for step in steps if step.piece in chosen]
    if again:
        results = {
            name: result for name, result in results.items() if name not in {step.name for step in mine}
        }
    for number, step in enumerate(mine, start=1):
        earlier = results.get(step.name)
        if earlier and earlier.passed and earlier.state == state:
            continue
        print(f"[{number}/{len(mine)}] {step.name}", flush=True)
        results[step.name] = result = take(step, state)
        if (now := state_of_repository()) != state:
            results[step.name] = result = replace(
                result, passed=False, told=f"the repository changed to {now}"
            )
        store(results)
        write_atomically(RECORD, record(steps, results, state).encode())
        word = "passed" if result.passed else f"FAILED, see {log_of(step).relative_to(ROOT)}"
        print(f"      {word}: {result.told} ({result.seconds:.0f} s)", flush=True)
    return all(step.name in results and results[step.name].passed for step in mine)


def main() -> None:
    parser = argparse.ArgumentParser(description="Check before a release what takes too long for every push.")
    parser.add_argument("--only", action="append", choices=list(PIECES), help="this piece (may be repeated)")
    parser.add_argument("--again", action="store_true", help="run what has passed already, too")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print_utf8()
    adopt_orphans()
    sys.exit(not check(options.only or list(PIECES), options.again))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
