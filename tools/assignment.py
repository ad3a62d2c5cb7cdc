"""Make a graded assignment of a lesson's exercises: an nbgrader course folder, for a teacher.

    make assignment LESSON=04                                     all exercises of lesson 04, with their own points
    make assignment LESSON=04 EXERCISES="4.1 4.3" POINTS="4.3=5" DUE="Friday, 12:00" SEED=7
    make assignment LIST=assignments.toml                         several at once

The list is TOML, with a table `[[assignment]]` for each: `lesson`, and if you like `exercises`, `points`, `due`, `seed`.

The folder `course/` then holds `source/` (with solutions and hidden tests, for you), `release/` (for students), and a README.
An assignment is the lesson's own set-up, parameters, data and exercises, without the rest of the lesson. All of it but answers is
locked: when it is graded, nbgrader puts the source's cells in place of what a student may have changed.

A seed stands in place of the lesson's own in the parameters cell. Data that are made by it change, and with them what the checks
expect. Each seed makes an assignment of its own, such as `04_schema_compatibility-seed7`: give different ones to different students.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from learner import STUB, TEXT_STUB
from lessons import (
    LESSONS,
    ROOT,
    code_cells,
    display_path,
    dumps,
    headings,
    is_check,
    is_solution,
    lesson_paths,
    parse,
    print_utf8,
    read,
    tags,
    write_atomically,
)  # fmt: skip
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell
from project import activated

COURSE = ROOT / "course"
CONFIG = f'''"""Settings of nbgrader for this course. Made by `make assignment`."""

c = get_config()  # noqa: F821
c.CourseDirectory.course_id = "course"
c.ClearSolutions.code_stub = {{"python": "{STUB}"}}
c.ClearSolutions.text_stub = "{TEXT_STUB}"
c.Execute.timeout = 300
c.IncludeHeaderFooter.header = ""
'''
README = """# A course folder

Made by `make assignment`; `course/` is ignored by Git. It holds solutions: do not give it away as a whole.

| assignment | points | due | exercises | made by the seed |
|---|---|---|---|---|
{rows}

1. Give students `release/NAME/` (a notebook, and its data where it has some), with this repository, which has `lib`.
   They put the folder into `work/`, and hand in the notebook under its own name.
2. Put what they hand in into a folder, one folder a student: `submissions/STUDENT/NAME.ipynb`.
3. `make grade SUBMISSIONS=submissions` runs each, and writes `grades.csv`, and for each student
   `feedback/STUDENT/NAME/NAME.html`. Run it again when more have come in.
4. Written answers are graded by a human: `manual` in `grades.csv` tells how many points wait for you. Read them in the feedback; the
   rubric stands in the lesson. Write the points into `written.csv` here, with the columns `student`, `assignment`, `exercise` (such as
   11.3), `points` and `comment`, and run `make grade` again.

Only the notebook is taken from a submission. What else lies beside it, a `lib` of the student's for example, is left out.

**Grading runs the code of students with your rights.** Do it in a container, a virtual machine or under an account that holds
nothing else, and not as root.
"""


class AssignmentError(Exception):
    """What was asked for can't be done; the message says why, and what to do."""


@dataclass(frozen=True)
class Order:
    """What is asked for. exercises: numbers such as "4.1", empty for all. points: by number, where they differ from the lesson's."""

    lesson: str
    exercises: tuple[str, ...] = ()
    points: dict[str, int] = field(default_factory=dict)
    due: str = ""
    seed: int | None = None

    @property
    def path(self) -> Path:
        found = [path for path in lesson_paths() if self.lesson in (path.name[:2], path.stem)]
        if len(found) != 1 or found[0].name.startswith("00"):
            known = ", ".join(path.name[:2] for path in lesson_paths() if not path.name.startswith("00"))
            raise AssignmentError(
                f"lesson {self.lesson!r}: there is no such lesson with exercises; choose one of {known}"
            )
        return found[0]

    @property
    def name(self) -> str:
        return self.path.stem + ("" if self.seed is None else f"-seed{self.seed}")


def number(cell: NotebookNode) -> str:
    """The number of the exercise that a cell belongs to: "4.1"; "" for others."""
    name = re.search(r"(?:exercise|check|data|written)-(\d+)-(\d+)", cell.id)
    return f"{name[1]}.{name[2]}" if name else ""


def source(order: Order) -> NotebookNode:
    """The assignment with its solutions, as a notebook for nbgrader.

    Raises AssignmentError for an exercise or seed that the lesson does not have.
    """
    nb = copy.deepcopy(read(order.path))
    known = [number(cell) for cell in code_cells(nb) if is_check(cell)]
    chosen = list(order.exercises) or known
    for name in [*chosen, *order.points]:
        if name not in chosen or name not in known:
            raise AssignmentError(
                f"exercise {name!r} of lesson {order.lesson}: choose among {', '.join(known)}"
            )
    if order.seed is not None:
        _sow(nb, order, chosen)
    title = new_markdown_cell(_title(nb, order), id="title")
    cells = [cell for cell in nb.cells if _belongs(cell, chosen)]
    for cell in cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        if not (is_solution(cell) or is_check(cell)):
            cell.metadata.nbgrader = NotebookNode(
                grade=False, grade_id=cell.id, locked=True, schema_version=3, solution=False, task=False
            )
        if cell.cell_type == "code" and is_check(cell) and number(cell) in order.points:
            cell.metadata.nbgrader.points = order.points[number(cell)]
        if cell.cell_type == "code" and (is_solution(cell) or is_check(cell)):
            cell.metadata.tags = [*tags(cell), "raises-exception"]
    nb.cells = [title, *cells]
    nb.metadata["lesson"] = {"edition": "assignment"}
    return nb


def _belongs(cell: NotebookNode, chosen: list[str]) -> bool:
    """Whether a cell is needed: set-up, parameters, all data, and text, answers and checks of the chosen exercises."""
    if cell.cell_type == "code" and not is_solution(cell) and not is_check(cell):
        return cell.id == "setup" or bool({"parameters", "exercise-data"} & set(tags(cell)))
    return number(cell) in chosen


def _title(nb: NotebookNode, order: Order) -> str:
    [(_, name), *_] = headings(nb.cells[0])
    due = [f"Due: {order.due}"] if order.due else []
    how = (
        "Write your answers where it says so, between nothing else: all other cells are put back as they are when this is graded. "
        "*Restart the kernel and run all* before you hand it in, under the same name."
    )
    return "\n\n".join([f"# Assignment: {name}", *due, how])


def _sow(nb: NotebookNode, order: Order, chosen: list[str]) -> None:
    """Put the seed in its place; refuse it where nothing would change."""
    [parameters] = [cell for cell in code_cells(nb) if "parameters" in tags(cell)]
    parameters.source, found = re.subn(
        r"^SEED = \d+", f"SEED = {order.seed}", parameters.source, flags=re.MULTILINE
    )
    if not found or not seeded(nb, chosen):
        raise AssignmentError(
            f"seed {order.seed}: no chosen exercise of lesson {order.lesson} has data that come from a seed; leave it out, or "
            "choose among "
            + (", ".join(seeded(nb, [number(c) for c in code_cells(nb) if is_check(c)])) or "other lessons")
        )


def seeded(nb: NotebookNode, chosen: list[str]) -> list[str]:
    """The exercises whose data or check come from SEED, by way of other names, too."""
    names, found = {"SEED"}, []
    for cell in code_cells(nb):
        if not ({"exercise-data"} & set(tags(cell)) or is_check(cell)):
            continue
        for statement in parse(cell).body:
            used = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)}
            if used & names and is_check(cell):
                found.append(number(cell))
            elif used & names and isinstance(statement, ast.FunctionDef | ast.ClassDef):
                names.add(statement.name)
            elif used & names:
                bound = {
                    n.id
                    for n in ast.walk(statement)
                    if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
                }
                names |= bound
    return [name for name in dict.fromkeys(found) if name in chosen]


def make(orders: list[Order], course: Path, *, force: bool = False) -> list[str]:
    """Make the assignments in a course folder; return a line for each. All are judged before anything is written.

    Raises AssignmentError.
    """
    made = {order.name: source(order) for order in orders}
    if len(made) < len(orders):
        raise AssignmentError("the same assignment is ordered twice: give the second one another seed")
    for name in made:
        if (course / "release" / name).exists() and not force:
            raise AssignmentError(
                f"{display_path(course / 'release' / name)} is there already: FORCE=1 makes it anew"
            )
    write_atomically(course / "nbgrader_config.py", CONFIG.encode())
    told = []
    for order in orders:
        nb, folder = made[order.name], course / "source" / order.name
        try:
            write_atomically(folder / f"{order.name}.ipynb", dumps(nb).encode())
            if any("data/" in cell.source for cell in code_cells(nb)):
                shutil.copytree(LESSONS / "data", folder / "data", dirs_exist_ok=True)
            nbgrader(course, "generate_assignment", order.name, "--force", "--create")
        except BaseException:
            for kind in ("source", "release"):
                shutil.rmtree(course / kind / order.name, ignore_errors=True)
            raise
        write_atomically(course / "orders" / f"{order.name}.toml", _as_toml(order, nb).encode())
        told.append(f"{display_path(course / 'release' / order.name)}: {_points(nb)} points")
    write_readme(course)
    return told


def _points(nb: NotebookNode) -> int:
    return sum(cell.metadata.nbgrader.get("points", 0) for cell in nb.cells if is_check(cell))


def _as_toml(order: Order, nb: NotebookNode) -> str:
    """What the README's table needs to know."""
    numbers = [number(cell) for cell in code_cells(nb) if is_check(cell)]
    due = order.due.replace("\\", " ").replace('"', "'").replace("\n", " ")
    return f'points = {_points(nb)}\ndue = "{due}"\nexercises = {numbers}\nseed = "{"" if order.seed is None else order.seed}"\n'


def write_readme(course: Path) -> None:
    """The README for the teacher: what there is, and what to do with it."""
    rows = []
    for path in sorted(course.glob("orders/*.toml")):
        about = tomllib.loads(path.read_text(encoding="utf-8"))
        cells = [
            path.stem,
            about["points"],
            about["due"] or "–",
            ", ".join(about["exercises"]),
            about["seed"] or "–",
        ]
        rows.append("| " + " | ".join(map(str, cells)) + " |")
    write_atomically(course / "README.md", README.format(rows="\n".join(rows)).encode())


def nbgrader(course: Path, command: str, *arguments: str) -> None:
    """Run a command of nbgrader in a course folder. Raises AssignmentError with what it said last."""
    run = [sys.executable, "-m", "nbgrader", command, *arguments, f"--course={course}"]
    # It runs Alembic, which it finds on PATH, and kernels, which find `lib` as those of JupyterLab do.
    done = subprocess.run(
        run, cwd=course, env=activated(os.environ), capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-8:])
        raise AssignmentError(f"nbgrader {command} failed:\n{said}")


def orders(path: Path) -> list[Order]:
    """Read a list of assignments.

    Raises AssignmentError where it says something that nobody reads.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))["assignment"]
        return [Order(**{**table, "exercises": tuple(table.get("exercises", ()))}) for table in tables]
    except (OSError, KeyError, TypeError, tomllib.TOMLDecodeError) as error:
        raise AssignmentError(
            f"{path}: {error}; write a table [[assignment]] for each, with lesson, and if you like exercises, points, due, seed"
        ) from error


def main() -> int:
    """Make assignments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lesson", help="number of a lesson: 04")
    parser.add_argument("--list", type=Path, help="a TOML file with several assignments")
    parser.add_argument("--exercises", default="", help='which ones: "4.1 4.3" (default: all)')
    parser.add_argument("--points", default="", help='where they differ from the lesson: "4.1=2 4.3=5"')
    parser.add_argument("--due", default="", help="a text: until when")
    parser.add_argument("--seed", type=int, help="of the data, and of what is expected")
    parser.add_argument("--course", type=Path, default=COURSE, help="the course folder")
    parser.add_argument("--force", action="store_true", help="make an assignment anew that is there already")
    options = parser.parse_args()
    print_utf8()
    try:
        if bool(options.lesson) == bool(options.list):
            raise AssignmentError(
                "say which lesson: make assignment LESSON=04, or make assignment LIST=assignments.toml"
            )
        points = dict(pair.partition("=")[::2] for pair in options.points.split())
        if wrong := [name for name, value in points.items() if not value.isdigit()]:
            raise AssignmentError(f'points of {wrong[0]!r}: give them as "4.1=2 4.3=5", in whole numbers')
        one = Order(
            options.lesson or "",
            tuple(options.exercises.split()),
            {n: int(p) for n, p in points.items()},
            options.due,
            options.seed,
        )
        for line in make(
            orders(options.list) if options.list else [one], options.course.resolve(), force=options.force
        ):
            print(line)
        print(f"What to do with it: {display_path(options.course / 'README.md')}")
    except (AssignmentError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
