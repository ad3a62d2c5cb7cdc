"""Check before a release what takes too long for every push, step by step, and write down what came of it.

    python tools/release_check.py [browser]

The record is benchmarks/release-check.md, a row for each step, written anew after each. So an interrupted check goes on where it was,
from another checkout too: a step that has passed for this state of the repository is not run again, unless its row is removed. A step of
pytest in which no test ran has not passed, nor has one that had no engine, that left something behind, or in which a lesson said that the
machine was busy.
"""

import re
import shlex
import signal
import subprocess
import sys
import time
from os import environ

from lessons import lesson_paths, write_atomically
from project import ROOT, STATE, activated
from run_tests import measures

from lib.benchmark import environment

FOLDER = STATE / "release-check"
RECORD = ROOT / "benchmarks" / "release-check.md"
#: Tests whose outcome depends on time: kills, switches, queues, loads.
TIMED = """
    -n 2 --dist loadscope tests/test_benchmark.py tests/test_killed_kernel.py tests/stage tests/deployment tests/scaling
    tests/monitoring/test_names.py tests/versioning/test_run_migration.py tests/integration/test_killed_kernels.py
"""
#: What benchmarks and this check write, which makes no other state of the repository.
WRITTEN = ":!benchmarks/*.csv :!benchmarks/*.json :!benchmarks/*.md :!benchmarks/*.png :!site/code.md".split()
SUMMARY = re.compile(r"^(?:  (no engine: .*)|=*\s*((?:\d+ \w+(?:, )?)+) in [\d.]+s.*)$", re.MULTILINE)
HEAD = """# Release check

Made by `make release-check`: what takes too long for every push. The last step ran on {machine}.

| step | result | what it said | seconds | day | state of the repository |
|---|---|---|---|---|---|
"""


def steps() -> dict[str, str]:
    """The command of each step: all lessons in the browser and graded, full benchmarks, long tests, and ten times what depends on time."""
    tests, folder = "python tools/run_tests.py", "tests/integration"
    lessons = {path.name[:2]: path for path in lesson_paths()}
    once = {"grading": f"GRADING_LESSONS=all {tests} {folder}/test_grading.py"}
    once |= {f"browser {n}": f"BROWSER_LESSONS={n} {tests} {folder}/test_browser.py" for n in lessons}
    once["bench"] = "python benchmarks/run.py"
    once["long: code"] = f"LONG=1 {tests} tests --ignore=tests/after --ignore={folder} -m long"
    once["long: integration"] = "LONG=1 python tools/integration.py -m long"
    often = {"tests": f"{tests} {TIMED}"}
    measuring = {n: path for n, path in lessons.items() if measures(path)}
    often |= {f"lesson {n}": f"{tests} --notebook notebooks/{path.name}" for n, path in measuring.items()}
    return once | {f"repeats {i}: {name}": often[name] for i in range(1, 11) for name in often}


def state_of_repository() -> str:
    """The last commit that changed more than `WRITTEN`, with `-changed` behind it if such a file differs from it now."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments, "--", ".", *WRITTEN]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    return git("log", "-1", "--abbrev=12", "--format=%h") + "-changed" * bool(git("status", "--porcelain"))


def take(name: str, command: str) -> tuple[bool, str]:
    """Run a step; whether it passed, and what pytest counted or another command said last."""
    log, busy = FOLDER / f"{name}.log", FOLDER / "busy"
    busy.unlink(missing_ok=True)
    variables = activated(environ) | {"LESSONS_BUSY": str(busy)}
    with log.open("w", encoding="utf-8") as output:
        into = {"stdout": output, "stderr": subprocess.STDOUT}
        with subprocess.Popen(["env", *shlex.split(command)], cwd=ROOT, env=variables, **into) as process:
            try:
                process.wait()
            except KeyboardInterrupt:
                process.terminate()  # and it ends what it has started
                sys.exit(130)
    text = log.read_text(encoding="utf-8").replace(f"{ROOT}/", "").rstrip()
    counted = SUMMARY.search(text)  # the first one: the next is of what was left behind
    if busy.exists():
        return False, busy.read_text(encoding="utf-8").partition("\n")[0]
    said = counted[1] or counted[2] if counted else text.rpartition("\n")[2][:100].replace("|", "¦")
    return process.returncode == 0 and (not counted or " passed" in said), said


def check(only: str = "") -> None:
    """Run what has not passed of the steps whose names begin so, and end with status 1 if one of them fails."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    state, table = state_of_repository(), dict.fromkeys(steps(), "not run | | | |")
    known = re.findall(r"^\| ([^|]+) \| (.*) \|$", RECORD.read_text(encoding="utf-8"), re.MULTILINE)
    table |= {name: row for name, row in known if row.endswith(f"| {state}") and name in table}
    chosen = [name for name in table if name.startswith(only)]
    if not chosen:
        sys.exit(f"No step begins with {only!r}; the steps are {', '.join(table)}.")
    for name in [name for name in chosen if not table[name].startswith("passed")]:
        print(name, end=": ", flush=True)
        start = time.monotonic()
        passed, said = take(name, steps()[name])
        if (now := state_of_repository()) != state:
            passed, said = False, f"the repository changed to {now}"
        result = f"{'passed' if passed else '**FAILED**'} | {said} | {time.monotonic() - start:.0f}"
        print(result, flush=True)
        table[name] = f"{result} | {time.strftime('%Y-%m-%d')} | {state}"
        rows = "".join(f"| {name} | {row} |\n" for name, row in table.items())
        write_atomically(RECORD, (HEAD.format(machine=environment()) + rows).encode())
    sys.exit(not all(table[name].startswith("passed") for name in chosen))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    check(" ".join(sys.argv[1:]))
