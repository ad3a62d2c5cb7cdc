"""Check notebooks against the rules of this collection: its anatomy and its lint.

    python tools/lesson_rules.py [notebooks/03_schema_versions.ipynb …]

Without a name it checks all lessons. One line for each finding, with what to do; exit status 1 when there is one.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import lesson_anatomy
import lesson_lint
import lesson_outputs
from lessons import Lesson, Problem, display_path, named_paths, print_utf8, read

RULES = (*lesson_anatomy.RULES, *lesson_lint.RULES, *lesson_outputs.RULES)


@dataclass(frozen=True)
class Finding:
    """What one rule found in one cell ("" means the whole notebook)."""

    path: Path
    cell: str
    rule: str
    message: str

    def __str__(self) -> str:
        return (
            f"{display_path(self.path)}{f' [{self.cell}]' if self.cell else ''}: {self.rule}: {self.message}"
        )


def rule_name(rule: Callable[[Lesson], Iterator[Problem]]) -> str:
    """The name under which findings of a rule are reported."""
    return rule.__name__.replace("_", "-")


def check(path: Path) -> list[Finding]:
    """All findings in one notebook, rule by rule; empty when it keeps every rule."""
    lesson = Lesson(path.resolve(), read(path))
    if not lesson.nb.cells:
        return [Finding(path, "", "title", "the notebook is empty.")]
    return [Finding(path, cell, rule_name(rule), message) for rule in RULES for cell, message in rule(lesson)]


def main() -> int:
    """Print the findings of the notebooks named on the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("notebooks", nargs="*", help="paths of notebooks; default: all lessons")
    print_utf8()
    paths = named_paths(parser.parse_args().notebooks)
    findings = [finding for path in paths for finding in check(path)]
    for finding in findings:
        print(finding)
    print(f"{len(paths)} notebook(s), {len(findings)} finding(s)")
    return 1 if findings else 0


if __name__ == "__main__":
    raise SystemExit(main())
