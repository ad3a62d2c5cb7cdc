"""Grade what students have handed in for the assignments of a course folder: `make grade SUBMISSIONS=folder`.

The folder holds one folder a student, and in it, at any depth, notebooks under the names of assignments. Each is run and graded by
nbgrader. `course/written.csv` may give points to written answers. `course/grades.csv` then has
a row for each student and assignment, and `course/feedback/` a page for each.

Hidden tests don't show in feedback: their lines are cut from the cells, and from what Python said about an error in them.
"""

from __future__ import annotations

import argparse
import csv
import io
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

from assignment import COURSE, AssignmentError, nbgrader, number
from lessons import code_cells, display_path, dumps, is_check, print_utf8, read, write_atomically
from nbformat import NotebookNode

HIDDEN = "### BEGIN HIDDEN TESTS"
Points = dict[tuple[str, str, str], float]
"""What a human gave to written answers, by student, assignment and exercise."""


@dataclass
class Row:
    """A line of the CSV: what became of a submission. `scores`: points by exercise; `manual`: points that wait for a human."""

    student: str
    assignment: str
    status: str
    score: float = 0.0
    max_score: float = 0.0
    manual: float = 0.0
    note: str = ""
    scores: dict[str, float] = field(default_factory=dict)


def collect(submissions: Path, course: Path) -> list[Row]:
    """Copy each notebook to where nbgrader looks for it, and nothing else of what was handed in."""
    names = sorted(path.name for path in course.glob("release/*"))
    students = sorted(
        path for path in submissions.glob("*") if path.is_dir() and not path.name.startswith(".")
    )
    if not names:
        raise AssignmentError(
            f"{display_path(course)} holds no assignment: make assignment LESSON=04 comes first"
        )
    if not students:
        raise AssignmentError(
            f"{display_path(submissions)}: no folder of a student; put each notebook into submissions/STUDENT/"
        )
    return [_collect(folder, name, course) for folder in students for name in names]


def _collect(folder: Path, name: str, course: Path) -> Row:
    row, place = Row(folder.name, name, "handed in"), course / "submitted" / folder.name / name
    shutil.rmtree(place, ignore_errors=True)
    found = [path for path in sorted(folder.rglob(f"{name}.ipynb")) if ".ipynb_checkpoints" not in path.parts]
    if len(found) != 1:
        row.status, row.note = (
            ("missing", f"no {name}.ipynb") if not found else ("broken", "handed in more than once")
        )
        return row
    try:
        nb = read(found[0])
        ids = {cell.metadata.get("nbgrader", {}).get("grade_id") for cell in nb.cells}
        released = read(course / "release" / name / f"{name}.ipynb")
        missing = {cell.metadata.nbgrader.grade_id for cell in released.cells if is_check(cell)} - ids
        if missing:
            row.status, row.note = "broken", f"cells are gone: {', '.join(sorted(missing))}"
            return row
    except ValueError as error:
        row.status, row.note = "broken", str(error).splitlines()[0]
        return row
    write_atomically(place / f"{name}.ipynb", found[0].read_bytes())
    if beside := sorted({path.relative_to(folder).parts[0] for path in folder.rglob("*.py")}):
        row.note = f"left out: {', '.join(beside)}"
    return row


def hide(nb: NotebookNode) -> None:
    """Take hidden tests out of a graded notebook, and out of the tracebacks of the cells that had them."""
    from nbgrader.preprocessors import ClearHiddenTests

    for cell in code_cells(nb):
        if HIDDEN in cell.source:
            for output in cell.outputs:
                if output.output_type == "error":
                    output.traceback = [f"{output.ename}: {output.evalue}"]
    ClearHiddenTests().preprocess(nb, {})


def grade(submissions: Path, course: Path) -> list[Row]:
    """Run and grade all submissions, and write feedback and `grades.csv`. Raises AssignmentError."""
    rows, by_hand = collect(submissions, course), written(course)
    for done, row in enumerate(rows, start=1):
        if row.status == "handed in":
            print(f"{done} of {len(rows)}: {row.student}, {row.assignment}", flush=True)
            try:
                _grade(row, course, by_hand)
            except AssignmentError as error:
                row.status, row.note = "broken", " ".join(str(error).split())[-300:]
    write_atomically(course / "grades.csv", as_csv(rows).encode())
    return rows


def _grade(row: Row, course: Path, by_hand: Points) -> None:
    from nbgrader.api import Gradebook

    chosen = (row.assignment, f"--student={row.student}", "--force")
    nbgrader(course, "autograde", *chosen, "--create")
    graded = course / "autograded" / row.student / row.assignment / f"{row.assignment}.ipynb"
    nb = read(graded)
    hide(nb)
    write_atomically(graded, dumps(nb).encode())
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        notebook = book.find_submission_notebook(row.assignment, row.assignment, row.student)
        for cell in notebook.grades:
            exercise, is_text = number(NotebookNode(id=cell.name)), cell.cell.cell_type == "markdown"
            points = by_hand.get((row.student, row.assignment, exercise))
            if is_text and points is not None:
                cell.manual_score, cell.needs_manual_grade = points, False
                book.db.commit()
            row.scores[f"{exercise} (text)" if is_text else exercise] = cell.score
            row.manual += cell.max_score if cell.needs_manual_grade else 0.0
        row.score, row.max_score, row.status = notebook.score, notebook.max_score, "graded"
    nbgrader(course, "generate_feedback", *chosen)


def written(course: Path) -> Points:
    """The points that a human gave to written answers, by student, assignment and exercise. Raises AssignmentError."""
    path = course / "written.csv"
    if not path.exists():
        return {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
        return {(row["student"], row["assignment"], row["exercise"]): float(row["points"]) for row in rows}
    except (KeyError, TypeError, ValueError) as error:
        raise AssignmentError(
            f"{display_path(path)}: {error!r}; columns are student, assignment, exercise, points, comment"
        ) from error


def as_csv(rows: list[Row]) -> str:
    """The rows, with a column for each exercise of any assignment."""
    exercises = sorted(
        {name for row in rows for name in row.scores},
        key=lambda name: [*map(int, name.split()[0].split(".")), name],
    )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["student", "assignment", "status", "score", "max_score", "manual", *exercises, "note"])
    for row in rows:
        scores = [f"{row.scores[name]:g}" if name in row.scores else "" for name in exercises]
        totals = (
            [f"{row.score:g}", f"{row.max_score:g}", f"{row.manual:g}"]
            if row.status == "graded"
            else ["", "", ""]
        )
        writer.writerow([row.student, row.assignment, row.status, *totals, *scores, row.note])
    return text.getvalue()


def main() -> int:
    """Grade a folder of submissions."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--submissions", type=Path, help="holds a folder for each student")
    parser.add_argument("--course", type=Path, default=COURSE, help="the course folder")
    options = parser.parse_args()
    print_utf8()
    try:
        if options.submissions is None or not options.submissions.is_dir():
            raise AssignmentError(
                "say where the submissions are: make grade SUBMISSIONS=folder, with a folder for each student in it"
            )
        rows = grade(options.submissions.resolve(), options.course.resolve())
    except AssignmentError as error:
        print(error, file=sys.stderr)
        return 1
    print(
        f"{sum(row.status == 'graded' for row in rows)} graded: {display_path(options.course / 'grades.csv')}"
    )
    for row in rows:
        if row.status != "graded" or row.note:
            print(f"  {row.student}, {row.assignment}: {row.status} ({row.note})")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
