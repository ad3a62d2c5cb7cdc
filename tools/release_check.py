"""Run the checks that take too long for every push, before a release, step by step, and record the results.

    python tools/release_check.py [browser]

The record is benchmarks/release-check.md, which is rewritten after each step. So an interrupted check continues where it
stopped, even in another checkout: a step that has passed for this state of the repository is not repeated, unless you remove
its row. A step of pytest fails if no test ran, if there was no engine, if it left something behind, or if a lesson reported a
busy machine.
"""

import re
import sys
import time
from os import environ

from lessons import lesson_paths, write_atomically
from project import ROOT, STATE, activated

from lib.benchmark import environment
from lib.stage.processes import Process
from lib.stage.programs import run

FOLDER = STATE / "release-check"
RECORD = ROOT / "benchmarks" / "release-check.md"
#: Files that benchmarks and this check write; they do not count as a new state of the repository.
WRITTEN = ":!benchmarks/*.csv :!benchmarks/*.json :!benchmarks/*.md :!benchmarks/*.png :!site/code.md".split()
#: That there is no engine, or what pytest counted.
SUMMARY = re.compile(r"^[= ]*(no engine: .*|\d+ \w+(?:, \d+ \w+)*(?= in [\d.]+s))", re.MULTILINE)


def steps() -> dict[str, str]:
    """The command of each step: all lessons in the browser and graded, full benchmarks, long tests, and ten times all other tests."""
    tests, folder = "python tools/run_tests.py", "tests/integration"
    once = {"grading": f"GRADING_LESSONS=all {tests} {folder}/test_grading.py"}
    for number in [path.name[:2] for path in lesson_paths()]:
        once[f"browser {number}"] = f"BROWSER_LESSONS={number} {tests} {folder}/test_browser.py"
    once["bench"] = "python benchmarks/run.py"
    once["long: code"] = f"LONG=1 {tests} tests --ignore=tests/after --ignore={folder} -m long"
    once["long: integration"] = "LONG=1 python tools/integration.py -m long"
    often = {"tests": tests, "killed kernels": f"{tests} {folder}/test_killed_kernels.py"}
    return once | {f"repeats {i}: {name}": often[name] for i in range(1, 11) for name in often}


def state_of_repository() -> str:
    """The last commit that changed more than `WRITTEN`, with `-changed` behind it if such a file differs from it now."""
    git, files = ["git", "-C", str(ROOT)], ["--", ".", *WRITTEN]
    commit = run(*git, "log", "-1", "--abbrev=12", "--format=%h", *files).strip()
    return commit + "-changed" * bool(run(*git, "status", "--porcelain", *files))


def check(only: str = "") -> None:
    """Run the steps whose names begin with `only` and that have not passed; exit with status 1 if one fails."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    state, todo, busy = state_of_repository(), steps(), FOLDER / "busy"
    variables = activated(environ) | {"LESSONS_BUSY": str(busy)}
    head, ruler, rows = RECORD.read_text(encoding="utf-8").partition("|---|---|---|---|---|---|\n")
    known = dict(re.findall(rf"^\| ([^|]+) \| (.*\| {state}) \|$", rows, re.MULTILINE))
    table = {name: known.get(name, "not run | | | |") for name in todo}
    chosen = [name for name in table if name.startswith(only)]
    if not chosen:
        sys.exit(f"No step begins with {only!r}; the steps are {', '.join(table)}.")
    for name in [name for name in chosen if not table[name].startswith("passed")]:
        print(name, end=": ", flush=True)
        start, log = time.monotonic(), FOLDER / f"{name}.log"
        busy.unlink(missing_ok=True)
        argv = ["sh", "-c", f'exec env {todo[name]} > "$0" 2>&1', log]
        # However this check ends, the step and its descendants end with it.
        with Process().run(argv, cwd=ROOT, env=variables, grace=60) as process:
            status = process.wait()
        text = log.read_text(encoding="utf-8").replace(f"{ROOT}/", "").rstrip()
        counted = SUMMARY.search(text)  # the first one: the next is of what was left behind
        said = counted[1] if counted else text.rpartition("\n")[2][:100].replace("|", "¦")
        passed = status == 0 and (not counted or " passed" in said)
        if busy.exists():
            passed, said = False, busy.read_text(encoding="utf-8").partition("\n")[0]
        if (now := state_of_repository()) != state:
            passed, said = False, f"the repository changed to {now}"
        result = f"{'passed' if passed else '**FAILED**'} | {said} | {time.monotonic() - start:.0f}"
        print(result, flush=True)
        table[name] = f"{result} | {time.strftime('%Y-%m-%d')}, {environment()} | {state}"
        rows = "".join(f"| {name} | {row} |\n" for name, row in table.items())
        write_atomically(RECORD, (head + ruler + rows).encode())
    sys.exit(not all(table[name].startswith("passed") for name in chosen))


if __name__ == "__main__":
    check(" ".join(sys.argv[1:]))
