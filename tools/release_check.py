"""Check before a release what takes too long for every push, step by step, and write down what came of it.

    python tools/release_check.py [--only browser] [--again]

The record is benchmarks/release-check.md, a row for each step, written anew after each. So an interrupted check goes on where it was,
from another checkout too: a step that has passed for this state of the repository is not run again (`--again` does it). A step of pytest
in which no test ran has not passed, nor has one that had no engine, that left something behind, or in which a lesson said that the machine
was busy.
"""

from __future__ import annotations

import argparse
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import run_tests
from lessons import lesson_paths, print_utf8, write_atomically
from project import ROOT, STATE

from lib.benchmark import environment

FOLDER = STATE / "release-check"
RECORD = ROOT / "benchmarks" / "release-check.md"
PIECES = ("grading", "browser", "bench", "long", "repeats")
REPEATS = 10
#: Tests whose outcome depends on time: kills, switches, queues, loads.
TIMED = """
    tests/test_benchmark.py tests/test_killed_kernel.py tests/stage tests/deployment tests/scaling
    tests/monitoring/test_names.py tests/versioning/test_run_migration.py tests/integration/test_killed_kernels.py
""".split()
#: What benchmarks and this check write, which makes no other state of the repository.
WRITTEN = ":!benchmarks/*.csv :!benchmarks/*.json :!benchmarks/*.md :!benchmarks/*.png :!README.md".split()
COUNTED = re.compile(r"^=*\s*((?:\d+ \w+(?:, )?)+) in [\d.]+s", re.MULTILINE)
NO_ENGINE = re.compile(r"^  (no engine: .*)$", re.MULTILINE)
HEAD = """# Release check

Made by `make release-check`: what takes too long for every push. The last step ran on {machine}.

| step | result | what it said | seconds | day | state of the repository |
|---|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Step:
    """One command, of the piece that its name begins with, and variables that it needs."""

    name: str
    command: list[str]
    environ: dict[str, str] = field(default_factory=dict)


def steps() -> Iterator[Step]:
    """All steps: grading and browser for all lessons, benchmarks at full size, the long tests, and ten times all that depends on time."""
    grading = ["tests/integration/test_grading.py", "tests/integration/test_grading_lessons.py"]
    yield Step("grading", [*run_tests.PYTEST, *grading], {"GRADING_LESSONS": "all"})
    for path in lesson_paths():
        browser = [*run_tests.PYTEST, "tests/integration/test_browser.py"]
        yield Step(f"browser {path.name[:2]}", browser, {"BROWSER_LESSONS": path.name[:2]})
    yield Step("bench", [sys.executable, "benchmarks/run.py"])
    yield Step("long: code", [*run_tests.PYTEST, "tests", *run_tests.APART, "-m", "long"], {"LONG": "1"})
    yield Step("long: integration", [sys.executable, "tools/integration.py", "-m", "long"], {"LONG": "1"})
    for number in range(1, REPEATS + 1):
        yield Step(f"repeats {number}: tests", [*run_tests.PYTEST, *run_tests.SIDE_BY_SIDE, *TIMED])
        for path in filter(run_tests.measures, lesson_paths()):
            yield Step(
                f"repeats {number}: lesson {path.name[:2]}", [*run_tests.PYTEST, *run_tests.STRICT, str(path)]
            )


def state_of_repository() -> str:
    """The last commit that changed more than `WRITTEN`, with `-changed` behind it if such a file differs from it now."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments, "--", ".", *WRITTEN]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    return git("log", "-1", "--abbrev=12", "--format=%h") + "-changed" * bool(git("status", "--porcelain"))


def take(step: Step) -> tuple[bool, str]:
    """Run a step in a home folder of its own; whether it passed, and what pytest counted or another command said last."""
    log = FOLDER / f"{re.sub(r'[^a-z0-9]+', '-', step.name)}.log"
    with run_tests.run_folder() as folder, log.open("w", encoding="utf-8") as output:
        busy = folder / "busy"
        environ = run_tests.run_environment(folder) | step.environ | {"LESSONS_BUSY": str(busy)}
        into = {"stdout": output, "stderr": subprocess.STDOUT}
        passed = run_tests.run(run_tests.Stage(step.name, step.command), environ, **into)
        text = log.read_text(encoding="utf-8", errors="replace").replace(f"{ROOT}/", "")
        # The step of integration has two summaries: of its tests, and of what they have left behind.
        integration = "tools/integration.py" in step.command
        counted = COUNTED.findall(text)[: 1 if integration else None]
        said = (NO_ENGINE.findall(text) or counted or text.strip().splitlines() or ["nothing"])[-1]
        said = said[:100].replace("|", "¦")
        passed &= " passed" in said or not (integration or "pytest" in step.command)
        after = run_tests.Stage("nothing left behind", [*run_tests.PYTEST, "tests/after"])
        if "pytest" in step.command and not run_tests.run(after, environ, **into):
            passed, said = False, f"{said}; something was left behind"
        if busy.exists():
            passed, said = False, busy.read_text(encoding="utf-8").splitlines()[0]
    return passed, said


def check(pieces: list[str], again: bool = False) -> bool:
    """Run what is still to be run of these pieces; whether all of their steps have passed."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    state, table = state_of_repository(), {step.name: "not run | | | |" for step in steps()}
    record = RECORD.read_text(encoding="utf-8") if RECORD.exists() else ""
    found = re.findall(r"^\| ([^|]+) \| (.*) \|$", record, re.MULTILINE)
    table |= {name: row for name, row in found if row.endswith(f"| {state}") and name in table}
    chosen = [step for step in steps() if re.match(r"\w+", step.name)[0] in pieces]
    for number, step in enumerate(chosen, start=1):
        if table[step.name].startswith("passed") and not again:
            continue
        print(f"[{number}/{len(chosen)}] {step.name}", flush=True)
        start = time.monotonic()
        passed, said = take(step)
        if (now := state_of_repository()) != state:
            passed, said = False, f"the repository changed to {now}"
        word, seconds = "passed" if passed else "**FAILED**", time.monotonic() - start
        table[step.name] = f"{word} | {said} | {seconds:.0f} | {time.strftime('%Y-%m-%d')} | {state}"
        print(f"      {word}: {said} ({seconds:.0f} s)", flush=True)
        rows = "".join(f"| {name} | {row} |\n" for name, row in table.items())
        write_atomically(RECORD, (HEAD.format(machine=environment()) + rows).encode())
    return all(table[step.name].startswith("passed") for step in chosen)


def main() -> None:
    """Check the pieces named on the command line, or all."""
    parser = argparse.ArgumentParser(description="Check before a release what takes too long for every push.")
    parser.add_argument("--only", action="append", choices=PIECES, help="this piece (may be repeated)")
    parser.add_argument("--again", action="store_true", help="run what has passed already, too")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print_utf8()
    run_tests.adopt_orphans()
    sys.exit(not check(options.only or list(PIECES), options.again))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
