"""The parts every lesson has, and their order: title, objectives, set-up, sections, exercises, takeaways, reset.

Each rule takes a `Lesson` and yields problems; `lesson_rules.py` runs them all.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import pairwise

from lessons import Lesson, Problem, code_cells, headings, is_check, is_solution, parse, tags
from nbformat import NotebookNode

TABLE_ROWS = ("Working time", "Machine time", "Memory", "Starts", "Before you begin")
OBJECTIVES = "You will be able to"
PRODUCTION = "What went wrong in production"
PARTS = (OBJECTIVES, "Exercises", PRODUCTION, "Takeaways", "Stop and reset", "Go further")
START_PARTS = ("Doctor", "Routes", "Tour", "Glossary")
VAGUE = re.compile(
    r"^(understand|know|learn|appreciate|be(come)? familiar|be aware)|\bunderstand", re.IGNORECASE
)
SETUP_NAMES = 8
SECTION_CELLS = 6
BOX_WORDS = 150


def numbered(text: str) -> list[str]:
    """The items of a numbered markdown list, each on a line."""
    return re.findall(r"^\d+\.\s+(.+)$", text, re.MULTILINE)


def opening_table(text: str) -> dict[str, str]:
    """The rows of a two-column markdown table."""
    return dict(re.findall(r"^\|\s*([^|]+?)\s*\|\s*([^|]+?)\s*\|\s*$", text, re.MULTILINE))


def imported(cell: NotebookNode) -> list[str]:
    """The names that a cell's own imports bind (not those inside its functions)."""
    statements = [node for node in parse(cell).body if isinstance(node, ast.Import | ast.ImportFrom)]
    return [alias.asname or alias.name for node in statements for alias in node.names]


def title(lesson: Lesson) -> Iterator[Problem]:
    """The first cell: `# 03 · Name` and one sentence."""
    first = lesson.nb.cells[0] if lesson.nb.cells else None
    if first is None or first.id != "title" or first.cell_type != "markdown":
        yield "", "the first cell must be markdown with the id 'title'."
        return
    if not re.match(rf"# {lesson.number} · \S", first.source):
        yield (
            first.id,
            f"must start with '# {lesson.number} · Name': the number of the file, a middle dot, the name.",
        )
    rest = [line for line in first.source.splitlines()[1:] if line.strip()]
    if not rest or rest[0].startswith("|") or not re.search(r"[.?]$", rest[0]):
        yield (
            first.id,
            "below the title: one sentence that says what the learner will see happen, with its full stop.",
        )


def opening(lesson: Lesson) -> Iterator[Problem]:
    """The table in the title cell: what the lesson costs and needs."""
    cell = lesson.nb.cells[0]
    rows = opening_table(cell.source)
    missing = [row for row in TABLE_ROWS if row not in rows]
    if missing:
        yield cell.id, f"the opening table lacks the rows {', '.join(missing)}."
        return
    if not re.match(r"\d+ (to \d+ )?(minutes?|hours?)", rows["Working time"]):
        yield (cell.id, f"'Working time' must be a number of minutes, not {rows['Working time']!r}.")
    if "](" not in rows["Before you begin"] and rows["Before you begin"].lower() != "nothing":
        yield (cell.id, "'Before you begin' names its prerequisites as links, or says 'nothing'.")


def parts(lesson: Lesson) -> Iterator[Problem]:
    """The fixed headings, each once and in order."""
    found = [text for cell in lesson.nb.cells for level, text in headings(cell) if level == 2]
    wanted = START_PARTS if lesson.is_start else PARTS
    places = [[i for i, text in enumerate(found) if text.startswith(part)] for part in wanted]
    for part, place in zip(wanted, places, strict=True):
        if len(place) != 1:
            yield "", f"needs exactly one heading '## {part}', has {len(place)}."
    known = [place[0] for place in places if place]
    if known != sorted(known):
        yield "", f"the fixed headings must come in this order: {', '.join(wanted)}."


def heading_first(lesson: Lesson) -> Iterator[Problem]:
    """A heading starts its cell, so that a section is a range of cells."""
    for cell in lesson.nb.cells:
        major = [text for level, text in headings(cell) if level <= 3]
        if len(major) > 1 or (major and not re.match(r"#{1,3} ", cell.source)):
            yield (
                cell.id,
                "a heading of level 1 to 3 must be the first line of its cell, and the only one in it.",
            )


def objectives(lesson: Lesson) -> Iterator[Problem]:
    """Three to five checkable objectives, each with one key term in bold."""
    if lesson.is_start:
        return
    items = numbered(lesson.section_text(OBJECTIVES))
    if not 3 <= len(items) <= 5:
        yield ("", f"'{OBJECTIVES}' needs three to five numbered lines, has {len(items)}.")
    for item in items:
        if VAGUE.search(item.replace("**", "")):
            yield ("", f"the objective {item!r} cannot be checked: say what the learner will do.")
        if len(re.findall(r"\*\*.+?\*\*", item)) != 1:
            yield (
                "",
                f"the objective {item!r} needs exactly one key term in bold, which its takeaway repeats.",
            )


def objective_checks(lesson: Lesson) -> Iterator[Problem]:
    """Each objective is proved by a cell with an assert that carries its tag."""
    count = 0 if lesson.is_start else len(numbered(lesson.section_text(OBJECTIVES)))
    proved = {tag for cell in code_cells(lesson.nb) if "assert " in cell.source for tag in tags(cell)}
    for number in range(1, count + 1):
        if f"objective-{number}" not in proved:
            yield (
                "",
                f"no cell with an assert carries the tag 'objective-{number}': how would one see it was reached?",
            )
    for tag in sorted(tag for tag in proved if tag.startswith("objective-")):
        if tag not in {f"objective-{number}" for number in range(1, count + 1)}:
            yield "", f"the tag '{tag}' belongs to no objective."


def setup(lesson: Lesson) -> Iterator[Problem]:
    """The first code cell imports, at most eight names; nothing is imported later on."""
    code = code_cells(lesson.nb)
    if not code or code[0].id != "setup":
        yield "", "the first code cell must have the id 'setup'."
        return
    names = imported(code[0])
    if len(names) > SETUP_NAMES:
        yield (
            "setup",
            f"imports {len(names)} names ({', '.join(names)}): at most {SETUP_NAMES}; the rest belongs in lib.",
        )
    for cell in code[1:]:
        if imported(cell) and not cell.source.startswith("%%ipytest"):
            yield (cell.id, f"imports {', '.join(imported(cell))}: imports belong in the set-up cell.")


def parameters(lesson: Lesson) -> Iterator[Problem]:
    """Every size, rate and seed stands in one cell, the second one."""
    tagged = [cell for cell in code_cells(lesson.nb) if "parameters" in tags(cell)]
    if lesson.is_start and not tagged:
        return
    if len(tagged) != 1 or code_cells(lesson.nb)[1:2] != tagged:
        yield ("", "the second code cell, and only that, must carry the tag 'parameters'.")
    for cell in tagged:
        if not all(isinstance(node, ast.Assign | ast.AnnAssign) for node in parse(cell).body):
            yield cell.id, "the parameters cell holds assignments, nothing else."


def section_size(lesson: Lesson) -> Iterator[Problem]:
    """A section is small enough to keep in mind."""
    heading, count = "", 0
    for cell in [*lesson.nb.cells, None]:
        new = (
            "(end)" if cell is None else next((text for level, text in headings(cell) if level in (2, 3)), "")
        )
        if new:
            if count > SECTION_CELLS:
                yield (
                    "",
                    f"{count} code cells under '{heading}': at most {SECTION_CELLS}; divide the section.",
                )
            heading, count = new, 0
        elif cell.cell_type == "code":
            count += 1


def predicts(lesson: Lesson) -> Iterator[Problem]:
    """The learner guesses before the machine answers."""
    if not lesson.is_start and not any("predict" in tags(cell) for cell in code_cells(lesson.nb)):
        yield ("", "no cell is tagged 'predict': ask for a guess before at least one result.")


def exercises(lesson: Lesson) -> Iterator[Problem]:
    """Three exercises or more, each a text with a folded hint, a solution cell and a check cell."""
    graded = [cell.id for cell in code_cells(lesson.nb) if is_solution(cell) or is_check(cell)]
    if lesson.is_start:
        if graded:
            yield graded[0], "the first notebook has no exercises."
        return
    cells = lesson.section("Exercises")
    texts = [cell for cell in cells if any(text.startswith("Exercise ") for _, text in headings(cell))]
    if len(texts) < 3:
        yield "", f"needs at least three exercises, has {len(texts)}."
    for position, cell in enumerate(texts, start=1):
        if not re.match(rf"### Exercise {int(lesson.number)}\.{position} · \S", cell.source):
            yield (cell.id, f"must start with '### Exercise {int(lesson.number)}.{position} · Name'.")
        if "<details>" not in cell.source:
            yield cell.id, "needs a hint, folded into <details>."
    wanted = [
        f"{kind}-{int(lesson.number)}-{i}" for i in range(1, len(texts) + 1) for kind in ("exercise", "check")
    ]
    if graded != wanted:
        yield (
            "",
            f"solution and check cells must be {', '.join(wanted)}, in this order; found {', '.join(graded)}.",
        )
    for text, following in pairwise([*texts, None]):
        span = cells[cells.index(text) + 1 : cells.index(following) if following is not None else None]
        if [
            is_solution(cell)
            for cell in span
            if cell.cell_type == "code" and "exercise-data" not in tags(cell)
        ] != [True, False]:
            yield (
                text.id,
                "is followed by exercise-data cells, its solution and its check, and by no other code.",
            )


def production(lesson: Lesson) -> Iterator[Problem]:
    """One short box about a real failure."""
    if lesson.is_start:
        return
    box = [line for line in lesson.section_text(PRODUCTION).splitlines() if line.startswith(">")]
    if not box:
        yield "", f"'{PRODUCTION}' needs a box: lines that start with '>'."
    if len(" ".join(box).split()) > BOX_WORDS:
        yield "", f"the box in '{PRODUCTION}' is longer than {BOX_WORDS} words."


def takeaways(lesson: Lesson) -> Iterator[Problem]:
    """One line for each objective, in the same order, with the same key term; then three recall questions."""
    if lesson.is_start:
        return
    text = lesson.section_text("Takeaways")
    goals, lines = (numbered(lesson.section_text(OBJECTIVES)), numbered(text.split("### Recall")[0]))
    if len(goals) != len(lines):
        yield "", f"{len(goals)} objectives, but {len(lines)} takeaways."
    for goal, line in zip(goals, lines, strict=False):
        term = re.search(r"\*\*(.+?)\*\*", goal)
        if term and f"**{term[1]}**".lower() not in line.lower():
            yield ("", f"the takeaway {line!r} must repeat **{term[1]}**: it answers that objective.")
    recall = text.partition("### Recall")[2]
    questions = re.findall(r"<details>\s*<summary>(.+?)</summary>\s*\n(.+?)</details>", recall, re.DOTALL)
    if len(questions) != 3 or not all(q.strip().endswith("?") and len(a.strip()) > 20 for q, a in questions):
        yield (
            "",
            "'### Recall' needs three questions, each <details><summary>…?</summary>, a blank line, its answer.",
        )


def reset(lesson: Lesson) -> Iterator[Problem]:
    """The end: a cell that stops everything, what to do when it hangs, and where to read on."""
    if lesson.is_start:
        return
    cells = lesson.section("Stop and reset")
    if not any(cell.id == "stop-and-reset" and cell.cell_type == "code" for cell in cells):
        yield "", "'Stop and reset' needs a code cell with the id 'stop-and-reset'."
    if not re.search(r"<summary>[^<]*hangs[^<]*</summary>", lesson.section_text("Stop and reset")):
        yield ("", "'Stop and reset' needs <details><summary>If it hangs</summary> that says what to do.")
    if len(re.findall(r"\]\(", lesson.section_text("Go further"))) < 2:
        yield "", "'Go further' needs at least two links."


def components(lesson: Lesson) -> Iterator[Problem]:
    """A lesson that starts processes draws them, and links its terms to the glossary."""
    starts = opening_table(lesson.nb.cells[0].source).get("Starts", "nothing")
    if lesson.is_start or starts.lower().startswith("nothing"):
        return
    if not any("components" in cell.id for cell in lesson.nb.cells):
        yield (
            "",
            f"starts {starts}, so it needs a component diagram: a cell whose id contains 'components'.",
        )
    if not any("(00_start_here.ipynb#" in cell.source for cell in lesson.nb.cells):
        yield ("", f"starts {starts}, so its terms link to the glossary: (00_start_here.ipynb#…).")


def doctor(lesson: Lesson) -> Iterator[Problem]:
    """The first notebook checks the installation."""
    if lesson.is_start and not any(cell.id == "doctor" for cell in code_cells(lesson.nb)):
        yield "", "needs a code cell with the id 'doctor'."


RULES = (
    title,
    opening,
    parts,
    heading_first,
    objectives,
    objective_checks,
    setup,
    parameters,
    section_size,
    predicts,
    exercises,
    production,
    takeaways,
    reset,
    components,
    doctor,
)
