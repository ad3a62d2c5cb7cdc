"""The collection stays small, and its parts stay apart: lines of code, and who may import whom."""

from __future__ import annotations

import ast
import io
import subprocess
import sys
from functools import cache
from pathlib import Path
from tokenize import COMMENT, DEDENT, ENDMARKER, INDENT, NEWLINE, NL, generate_tokens

import pytest

ROOT = Path(__file__).resolve().parents[1]
#: Lines of code of each folder; CONTRIBUTING.md says the same. Wrong answers to exercises are data.
LIMITS = {"lib": 7_200, "tools": 1_600, "tests": 11_000}
DATA = [ROOT / "tests" / "wrong_answers.py"]
MODULE, FUNCTION = 250, 40
LAYOUT = {COMMENT, NL, NEWLINE, INDENT, DEDENT, ENDMARKER}
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@cache
def code_lines(text: str) -> set[int]:
    """The numbers of the lines that hold code: blank lines, comments and docstrings do not count."""
    tokens = generate_tokens(io.StringIO(text).readline)
    spans = [(token.start[0], token.end[0]) for token in tokens if token.type not in LAYOUT]
    lines = {line for first, last in spans for line in range(first, last + 1)}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, Documented) and ast.get_docstring(node, clean=False) is not None:
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return lines


def modules(folder: str) -> dict[str, str]:
    """The modules of a folder, by their paths, without those that are data."""
    paths = [path for path in sorted((ROOT / folder).rglob("*.py")) if path not in DATA]
    return {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in paths}


def test_code_is_counted_without_docstrings_comments_and_blank_lines() -> None:
    text = '"""What.\n\nMore.\n"""\n\n# why\ndef f():\n    """Do it."""\n    return """a\n\nb"""  # so\n'
    assert code_lines(text) == {7, 9, 10, 11}


@pytest.mark.parametrize("folder", LIMITS)
def test_a_folder_stays_within_its_limit_which_contributing_states(folder: str) -> None:
    counted = {name: len(code_lines(text)) for name, text in modules(folder).items()}
    assert sum(counted.values()) <= LIMITS[folder], counted
    assert f"`{folder}/` {LIMITS[folder]:,}" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_no_module_of_lib_is_too_long_to_be_read_in_a_sitting() -> None:
    counted = {name: len(code_lines(text)) for name, text in modules("lib").items()}
    assert {name: lines for name, lines in counted.items() if lines > MODULE} == {}


@pytest.mark.parametrize("folder", ["lib", "tools"])
def test_no_function_is_longer_than_a_screen(folder: str) -> None:
    long = []
    for name, text in modules(folder).items():
        lines = code_lines(text)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                count = len(lines & set(range(node.lineno, node.end_lineno + 1)))
                long += [f"{name}: {node.name} has {count}"] * (count > FUNCTION)
    assert long == []


def test_imports_keep_the_contracts_of_pyproject() -> None:
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", code, "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout
