"""Make a graded assignment of a lesson's exercises: an nbgrader course folder, for a teacher.

    make assignment LESSON=05                                     all exercises of lesson 05, with their own points
    make assignment LESSON=05 EXERCISES="5.1 5.3" POINTS="5.3=5" DUE="Friday, 12:00" SEED=7

The folder `course/` then holds `source/` (with solutions and hidden tests, for you), `release/` (for students), and a README.
An assignment is the lesson's own set-up, parameters, data and exercises, without the rest of the lesson. Everything except
answers is locked: before grading, nbgrader restores the source's cells, whatever a student has changed.

A seed replaces the lesson's own in the parameters cell. Data generated from it change, and so do the results that the checks
expect. Each seed makes a separate assignment, such as `05_schema_compatibility-seed7`: give different ones to different
students.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import lessons
from learner import STUB, TEXT_STUB
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell
from project import activated

COURSE = lessons.ROOT / "course"
CONFIG = f'''"""Settings of nbgrader for this course. Made by `make assignment`."""

c = get_config()  # noqa: F821
c.CourseDirectory.course_id = "course"
c.ClearSolutions.code_stub = {{"python": "{STUB}"}}
c.ClearSolutions.text_stub = "{TEXT_STUB}"
c.Execute.timeout = 300
c.IncludeHeaderFooter.header = ""
c.OverwriteCells.add_missing_cells = True
c.FileNameCollectorPlugin.named_regexp = (
    r".*?/downloaded/[^/]+/extracted/(?P<student_id>[^/]+)/(?:.*/)?(?P<file_id>[^/]+\\.ipynb)$"
)
'''
README = Path(__file__).with_name("course_readme.md")


class AssignmentError(SystemExit):
    """The request is not possible. The message is all that a teacher sees: it says why, and what to do."""


@dataclass(frozen=True)
class Order:
    """The requested assignment. exercises: numbers such as "4.1"; empty: all. points: by number, if they differ from the lesson's."""

    lesson: str
    exercises: tuple[str, ...] = ()
    points: dict[str, int] = field(default_factory=dict)
    due: str = ""
    seed: int | None = None

    @property
    def path(self) -> Path:
        """The lesson's notebook."""
        known = {path.name[:2]: path for path in lessons.lesson_paths() if not path.name.startswith("00")}
        if self.lesson not in known:
            choice = ", ".join(known)
            raise AssignmentError(
                f"lesson {self.lesson!r}: no such lesson with exercises; choose one of {choice}"
            )
        return known[self.lesson]

    @property
    def name(self) -> str:
        """The name of the assignment: that of the lesson, with the seed if there is one."""
        return self.path.stem + ("" if self.seed is None else f"-seed{self.seed}")


def number(cell_id: str) -> str:
    """Return the number of the exercise that a cell belongs to, such as "4.1"; "" if none."""
    name = re.search(r"(?:exercise|check|data|written)-(\d+)-(\d+)", cell_id)
    return f"{name[1]}.{name[2]}" if name else ""


def graded_numbers(nb: NotebookNode) -> list[str]:
    """Return the numbers of the exercises that have a check."""
    return [number(cell.id) for cell in lessons.code_cells(nb) if lessons.is_check(cell)]


def source(order: Order) -> NotebookNode:
    """Return the assignment with its solutions, as a notebook for nbgrader.

    Raises AssignmentError for an exercise or seed that the lesson does not have.
    """
    nb = lessons.read(order.path)
    known = graded_numbers(nb)
    chosen = list(order.exercises) or known
    for name in [*chosen, *order.points]:
        if name not in chosen or name not in known:
            choice = ", ".join(known)
            raise AssignmentError(f"exercise {name!r} of lesson {order.lesson}: choose among {choice}")
    if order.seed is not None:
        _sow(nb, order, chosen)
    for cell in nb.cells:
        is_graded = lessons.is_solution(cell) or lessons.is_check(cell)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            if is_graded:
                cell.metadata.tags = [*lessons.tags(cell), "raises-exception"]
            if number(cell.id) in order.points and lessons.is_check(cell):
                cell.metadata.nbgrader.points = order.points[number(cell.id)]
        if not is_graded:
            about = {"grade": False, "solution": False, "locked": True, "task": False}
            cell.metadata.nbgrader = NotebookNode(about, grade_id=cell.id, schema_version=3)
    title = new_markdown_cell(_title(nb, order), id="title")
    nb.cells = [title, *_joined(cell for cell in nb.cells if _belongs(cell, chosen))]
    nb.metadata["lesson"] = {"edition": "assignment", "due": order.due, "seed": order.seed}
    return nb


def _belongs(cell: NotebookNode, chosen: list[str]) -> bool:
    """Whether a cell is needed: set-up, parameters, all data, and text, answers and checks of the chosen exercises."""
    if cell.cell_type == "code" and not lessons.is_solution(cell) and not lessons.is_check(cell):
        return cell.id == "setup" or bool({"parameters", "exercise-data"} & set(lessons.tags(cell)))
    return number(cell.id) in chosen


def _joined(cells: Iterable[NotebookNode]) -> list[NotebookNode]:
    """Move the cells between an answer and its check into the check, after its first line; text becomes comments.

    nbgrader puts a check that a student removed back only if the cell before it is an answer or another check.
    """
    kept = list[NotebookNode]()
    for cell in cells:
        if cell.cell_type == "code" and lessons.is_check(cell):
            between = list[str]()
            while not lessons.is_solution(kept[-1]):
                moved = kept.pop()
                is_text = moved.cell_type == "markdown"
                between.insert(0, textwrap.indent(moved.source, "# ") if is_text else moved.source)
            first, _, rest = cell.source.partition("\n")
            cell.source = "\n\n".join([first, *between, rest]) if between else cell.source
        kept.append(cell)
    return kept


def _title(nb: NotebookNode, order: Order) -> str:
    how = (
        "Write your answers where it says so, and nowhere else: all other cells are put back as they are when this is graded. "
        "*Restart the kernel and run all* before you hand it in, under the same name."
    )
    due = [f"Due: {order.due}"] if order.due else []
    return "\n\n".join([f"# Assignment: {lessons.headings(nb.cells[0])[0][1]}", *due, how])


def _sow(nb: NotebookNode, order: Order, chosen: list[str]) -> None:
    """Set the seed; refuse it if nothing would change."""
    [parameters] = [cell for cell in lessons.code_cells(nb) if "parameters" in lessons.tags(cell)]
    line = re.compile(r"^SEED = \d+", re.MULTILINE)
    parameters.source, found = line.subn(f"SEED = {order.seed}", parameters.source)
    if not found or not set(seeded(nb)) & set(chosen):
        raise AssignmentError(
            f"seed {order.seed}: no chosen exercise of lesson {order.lesson} has data that come from a seed; leave it "
            f"out, or choose among {', '.join(seeded(nb)) or 'other lessons'}"
        )


def seeded(nb: NotebookNode) -> list[str]:
    """Return the exercises whose check depends on SEED, directly or through other names."""
    names, found = {"SEED"}, list[str]()
    for cell in lessons.code_cells(nb):
        if "exercise-data" not in lessons.tags(cell) and not lessons.is_check(cell):
            continue
        for statement in lessons.parse(cell).body:
            inside = [node for node in ast.walk(statement) if isinstance(node, ast.Name)]
            if not names & {node.id for node in inside}:
                continue
            if lessons.is_check(cell):
                found.append(number(cell.id))
            elif isinstance(statement, ast.FunctionDef | ast.ClassDef):
                names.add(statement.name)
            else:
                names |= {node.id for node in inside if isinstance(node.ctx, ast.Store)}
    return list(dict.fromkeys(found))


def make(order: Order, course: Path, *, force: bool = False) -> str:
    """Make the assignment in a course folder; return a line with its place and its points.

    Raises AssignmentError.
    """
    name, nb = order.name, source(order)
    folder, place = course / "source" / name, lessons.display_path(course / "release" / name)
    if (course / "release" / name).exists() and not force:
        raise AssignmentError(f"{place} is there already: FORCE=1 makes it anew")
    lessons.write_atomically(course / "nbgrader_config.py", CONFIG.encode())
    try:
        lessons.write_atomically(folder / f"{name}.ipynb", lessons.dumps(nb).encode())
        if any("data/" in cell.source for cell in lessons.code_cells(nb)):
            shutil.copytree(lessons.LESSONS / "data", folder / "data", dirs_exist_ok=True)
        nbgrader(course, "generate_assignment", name, "--force", "--create")
    except BaseException:
        for kind in ("source", "release"):
            shutil.rmtree(course / kind / name, ignore_errors=True)
        raise
    write_readme(course)
    return f"{place}: {points(nb)} points"


def points(nb: NotebookNode) -> int:
    """Return the total points of an assignment."""
    return sum(cell.metadata.nbgrader.get("points", 0) for cell in nb.cells if lessons.is_check(cell))


def write_readme(course: Path) -> None:
    """Return the README for the teacher: the contents of the course folder, and how to use it."""
    rows = []
    for path in sorted(course.glob("source/*/*.ipynb")):
        nb = lessons.read(path)
        due, seed = nb.metadata.lesson["due"] or "–", nb.metadata.lesson["seed"]
        numbers = ", ".join(graded_numbers(nb))
        rows.append(f"| {path.stem} | {points(nb)} | {due} | {numbers} | {'–' if seed is None else seed} |")
    text = README.read_text(encoding="utf-8").format(rows="\n".join(rows))
    lessons.write_atomically(course / "README.md", text.encode())


def nbgrader(course: Path, command: str, *arguments: str) -> None:
    """Run a command of nbgrader in a course folder. Raises AssignmentError with the end of its output."""
    run = [sys.executable, "-m", "nbgrader", command, *arguments, f"--course={course}"]
    # It runs Alembic, which it finds on PATH, and kernels, which find `lib` as those of JupyterLab do.
    done = subprocess.run(run, cwd=course, env=activated(os.environ), capture_output=True, text=True)
    if done.returncode:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-8:])
        raise AssignmentError(f"nbgrader {command} failed:\n{said}")


def point_pairs(text: str) -> dict[str, int]:
    """Parse points such as "4.1=2 4.3=5", by exercise. Raises AssignmentError."""
    found = dict(re.findall(r"(\S+?)=(\d+)(?!\S)", text))
    if len(found) < len(text.split()):
        raise AssignmentError(f'points {text!r}: give them as "4.1=2 4.3=5", in whole numbers')
    return {name: int(value) for name, value in found.items()}


def main() -> None:
    """Make an assignment."""
    parser = lessons.command_line(__doc__)
    parser.add_argument("--lesson", default="", help="number of a lesson: 04")
    parser.add_argument("--exercises", default="", help='which ones: "4.1 4.3" (default: all)')
    parser.add_argument("--points", default="", help='where they differ from the lesson: "4.1=2 4.3=5"')
    parser.add_argument("--due", default="", help="a text: until when")
    parser.add_argument("--seed", type=int, help="of the data, and of what is expected")
    parser.add_argument("--course", type=Path, default=COURSE, help="the course folder")
    parser.add_argument("--force", action="store_true", help="make an assignment anew that is there already")
    given = parser.parse_args()
    exercises, chosen = tuple(given.exercises.split()), point_pairs(given.points)
    order = Order(given.lesson, exercises, chosen, given.due, given.seed)
    print(make(order, given.course.resolve(), force=given.force))
    print(f"What to do with it: {lessons.display_path(given.course / 'README.md')}")


if __name__ == "__main__":
    main()
