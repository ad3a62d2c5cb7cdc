"""Grade the submissions for the assignments of a course folder: `make grade SUBMISSIONS=folder`.

The folder holds one folder or zip file a student, and in it, at any depth, notebooks under the names of assignments. nbgrader collects,
runs and grades them. `course/written.csv` may give points to written answers. `course/grades.csv` then has a row for each
student and assignment, with 0 for missing or broken submissions, and `course/feedback/` a page for each graded submission.

Feedback does not show hidden tests: their lines are removed from the cells and from Python's tracebacks.
"""

from __future__ import annotations

import contextlib
import csv
import shutil
from collections import Counter
from pathlib import Path

from assignment import COURSE, AssignmentError, nbgrader, number
from lessons import code_cells, command_line, display_path, dumps, read, write_atomically
from nbformat import NotebookNode

HIDDEN = "### BEGIN HIDDEN TESTS"
Points = dict[tuple[str, str, str], float]
"""Points that a person gave for written answers, by student, assignment and exercise."""


def checked(submissions: Path, course: Path) -> tuple[list[str], list[str]]:
    """Return the names of students and assignments. Raises AssignmentError if there is nothing to grade, or a student submitted twice."""
    names = sorted(path.name for path in course.glob("release/*"))
    there = list(submissions.glob("[!.]*"))
    zipped = {path.stem for path in there if path.suffix == ".zip" and path.is_file()}
    students = sorted(zipped | {path.name for path in there if path.is_dir()})
    if not names:
        place = display_path(course)
        raise AssignmentError(f"{place} holds no assignment: run make assignment LESSON=05 first")
    if not students:
        place = display_path(submissions)
        raise AssignmentError(f"{place}: no folder of a student: put each notebook into {place}/STUDENT/")
    found = [path.relative_to(submissions) for path in submissions.rglob("*.ipynb")]
    own = [path for path in found if ".ipynb_checkpoints" not in path.parts]
    handed_in = Counter((path.parts[0], path.stem) for path in own)
    for (student, name), times in handed_in.items():
        if name in names and times > 1:
            raise AssignmentError(f"{student} has handed in {name}.ipynb {times} times: keep only one")
    return students, names


def hide(nb: NotebookNode) -> None:
    """Remove hidden tests from a graded notebook, and from the tracebacks of their cells."""
    from nbgrader.preprocessors import ClearHiddenTests

    for cell in code_cells(nb):
        if HIDDEN in cell.source:
            for output in cell.outputs:
                if output.output_type == "error":
                    output.traceback = [f"{output.ename}: {output.evalue}"]
    ClearHiddenTests().preprocess(nb, {})


def grade(submissions: Path, course: Path) -> list[str]:
    """Grade all submissions, and write feedback and `grades.csv`. Returns notes for the teacher. Raises AssignmentError."""
    students, names = checked(submissions, course)
    by_hand, notes = written(course), list[str]()
    for name in names:
        archive = course / "downloaded" / name / "archive"
        shutil.rmtree(archive, ignore_errors=True)
        for old in course.glob(f"submitted/*/{name}"):
            shutil.rmtree(old)
        ignored = shutil.ignore_patterns(".*", "*.py")
        shutil.copytree(submissions, archive, ignore=ignored)
        nbgrader(course, "zip_collect", name, "--force", "--strict")
        for student in students:
            if not (course / "submitted" / student / name).exists():
                notes.append(f"{student}, {name}: missing (no {name}.ipynb)")
                forget(student, name, course)
                continue
            print(f"grading {student}, {name}", flush=True)
            try:
                notes += grade_one(student, name, course, by_hand)
            except AssignmentError as error:
                notes.append(f"{student}, {name}: broken ({' '.join(str(error).split())[-300:]})")
                forget(student, name, course)
    nbgrader(course, "export", f"--to={course / 'grades.csv'}")
    return notes


def forget(student: str, name: str, course: Path) -> None:
    """Remove an earlier submission of a student from grades and feedback. The student stays: the row in `grades.csv` says 0."""
    from nbgrader.api import Gradebook, MissingEntry

    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book, contextlib.suppress(MissingEntry):
        book.update_or_create_student(student)
        book.remove_submission(name, student)
    shutil.rmtree(course / "feedback" / student / name, ignore_errors=True)


def grade_one(student: str, name: str, course: Path, by_hand: Points) -> list[str]:
    """Run and grade one notebook, and write its feedback. Returns a note if the teacher must grade written answers."""
    from nbgrader.api import Gradebook

    chosen = (name, f"--student={student}", "--force")
    nbgrader(course, "autograde", *chosen, "--create")
    graded = course / "autograded" / student / name / f"{name}.ipynb"
    nb = read(graded)
    hide(nb)
    write_atomically(graded, dumps(nb).encode())
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        notebook = book.find_submission_notebook(name, name, student)
        for cell in notebook.grades:
            points = by_hand.get((student, name, number(cell.name)))
            if cell.cell.cell_type == "markdown" and points is not None:
                cell.manual_score, cell.needs_manual_grade = points, False
        book.db.commit()
        waiting = sum(cell.max_score for cell in notebook.grades if cell.needs_manual_grade)
    nbgrader(course, "generate_feedback", *chosen)
    return [f"{student}, {name}: grade written answers for {waiting:g} points"] if waiting else []


def written(course: Path) -> Points:
    """Read the points that a person gave for written answers, by student, assignment and exercise. Raises AssignmentError."""
    path = course / "written.csv"
    if not path.exists():
        return {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
        return {(row["student"], row["assignment"], row["exercise"]): float(row["points"]) for row in rows}
    except (KeyError, TypeError, ValueError) as error:
        columns = "the columns must be student, assignment, exercise, points"
        raise AssignmentError(f"{display_path(path)}: {error!r}; {columns}") from error


def main() -> None:
    """Grade a folder of submissions."""
    parser = command_line(__doc__)
    parser.add_argument("--submissions", type=Path, required=True, help="holds a folder for each student")
    parser.add_argument("--course", type=Path, default=COURSE, help="the course folder")
    options = parser.parse_args()
    notes = grade(options.submissions.resolve(), options.course.resolve())
    print("\n".join([f"Graded: {display_path(options.course / 'grades.csv')}", *notes]))


if __name__ == "__main__":
    main()
