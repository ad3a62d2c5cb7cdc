"""Check notebooks against the rules of this collection, which protect readers, learners and graders.

    python tools/lesson_rules.py [--only compared] [notebooks/04_schema_versions.ipynb …]

Without a name it checks all lessons. One line for each finding, with what to do; exit status 1 when there is one.
Each rule takes a notebook and its path, and yields problems.
"""

from __future__ import annotations

import ast
import getpass
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import lessons
from nbformat import NotebookNode

TAGS = {"parameters", "predict", "exercise-data", "hide-input", "nbval-ignore-output", "raises-exception"}
PLACES = re.compile(
    r"(?<![\w.~:/-])/(?:home|root|Users|tmp|private|mnt|opt|srv|workspace|work|var/folders)/|[A-Z]:\\\w"
)
COMMON_USERS = {*"root user admin runner ubuntu debian jovyan localhost learner student teacher".split()}
ADDRESS = re.compile(r"\bat 0x[0-9a-f]{6,}")
Problem = tuple[str, str]
"""The id of a cell ("" for the whole notebook), and its problem with the fix."""
RANDOM = re.compile(r"[0-9a-f]{8}(-[0-9a-f-]+)?|cell-\d+")
MEANINGFUL = re.compile(r"(?=.*[a-z]{3})[a-z][a-z0-9]*(-[a-z0-9]+)*")
LINK = re.compile(r"(?<!\\)\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)|(?:href|src)=[\"']([^\"']+)[\"']")


def known_tags(nb: NotebookNode, path: Path) -> Iterator[Problem]:
    """Every tag has a meaning, and a check of an exercise covers each objective."""
    wanted = {f"objective-{number}" for number, _ in enumerate(lessons.objectives(nb), start=1)}
    for cell in nb.cells:
        for tag in sorted(set(lessons.tags(cell)) - TAGS - wanted):
            known = ", ".join(sorted(TAGS | wanted))
            yield cell.id, f"has the tag '{tag}', which nothing reads. Known: {known}."
    proved = {tag for cell in lessons.code_cells(nb) if lessons.is_check(cell) for tag in lessons.tags(cell)}
    for tag in sorted(wanted - proved):
        yield "", f"no exercise's check has the tag '{tag}': tag the check that proves this objective."


def cell_ids(nb: NotebookNode, path: Path) -> Iterator[Problem]:
    """Ids are meaningful and stable. (A duplicate id is replaced by a random one on reading, so it is found too.)"""
    for cell in nb.cells:
        if RANDOM.fullmatch(cell.id) or not MEANINGFUL.fullmatch(cell.id):
            yield cell.id, "give the cell an id of lower-case words joined by '-', such as 'predict-workers'."


def compared(nb: NotebookNode, path: Path) -> Iterator[Problem]:
    """No cell silently escapes the comparison: each was executed, and an ignored output is followed by an assertion."""
    code = lessons.code_cells(nb)
    for cell, following in zip(code, [*code[1:], None], strict=True):
        if cell.execution_count is None and cell.source.strip():
            yield cell.id, "was never executed, so nbval compares nothing: execute it and store its outputs."
        is_asserted = following is not None and "assert " in following.source
        if "nbval-ignore-output" in lessons.tags(cell) and not is_asserted:
            yield cell.id, "ignores its output, so the next code cell must assert what it has to show."


def executed(nb: NotebookNode, path: Path) -> Iterator[Problem]:
    """The stored outputs are those of one Run All in a fresh kernel, of this very code, without warnings."""
    code = lessons.code_cells(nb)
    if not code or [cell.execution_count for cell in code] != list(range(1, len(code) + 1)):
        yield "", "its execution counts are not those of one Run All: run make notebooks."
    if nb.metadata.get("lesson", {}).get("code_sha256") != lessons.code_hash(nb):
        yield "", "its code changed after its outputs were stored: run make notebooks."
    for cell in code:
        errors = [output for output in cell.outputs if output.output_type == "error"]
        if bool(errors) != ("raises-exception" in lessons.tags(cell)):
            yield cell.id, "a stored error and the tag raises-exception belong together: one is missing."
        if any(output.get("name") == "stderr" for output in cell.outputs):
            yield cell.id, "wrote to stderr: fix what warns, instead of storing the warning."


def output_text(output: NotebookNode) -> str:
    """Return all text of an output that a reader can see, without images."""
    data = output.get("data", {})
    shown = [str(data[kind]) for kind in data if not kind.startswith("image/p")]
    texts = [output.get("text", ""), output.get("evalue", ""), *output.get("traceback", []), *shown]
    return lessons.ANSI.sub("", "\n".join(texts))


def private_details(nb: NotebookNode, path: Path) -> Iterator[Problem]:
    """The notebook does not reveal the machine, folder or user of its run, and holds no address that differs in every run."""
    own = {name for name in (socket.gethostname(), getpass.getuser()) if len(name) > 3} - COMMON_USERS
    names = re.compile("|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in sorted(own)) or r"(?!)")
    for cell in nb.cells:
        shown = "\n".join(map(output_text, cell.get("outputs", [])))
        for text in (cell.source, shown):
            for found in [*PLACES.finditer(text), *names.finditer(text)]:
                private = text[found.start() : found.end() + 20]
                yield cell.id, f"holds {private!r}: a place, user or host of one machine."
        if found := ADDRESS.search(shown):
            yield cell.id, f"its output holds {found[0]!r}, which differs in every run: define a repr."


def figures(nb: NotebookNode, path: Path) -> Iterator[Problem]:
    """Every image has alt text."""
    for cell in nb.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            for kind in [kind for kind in data if kind.startswith("image/")]:
                alt = output.metadata.get(kind, {}).get("alt", "")
                if not alt.strip() or data.get("text/plain") != alt:
                    yield cell.id, "has a figure without alt text: show it with show(figure, alt='…')."
        text = "\n".join(lessons.prose_lines(cell))
        bare = [tag for tag in re.findall(r"<img[^>]*>", text) if not re.search(r'alt="[^"]+"', tag)]
        if bare or re.search(r"!\[\s*\]\(", text):
            yield cell.id, "has an image without alt text: ![what it shows](path)."


def links(nb: NotebookNode, path: Path) -> Iterator[Problem]:
    """Links to lessons, headings and files of the repository have existing targets; web links use https."""
    for cell in nb.cells:
        text = re.sub(r"`[^`]*`", "", "\n".join(lessons.prose_lines(cell)))
        for target in [a or b for a, b in LINK.findall(text)]:
            if re.match(r"https://[^/]+\.\w+|mailto:", target):
                continue
            name, _, anchor = unquote(target).partition("#")
            file = path.parent / name if name else path
            anchor *= file.suffix == ".ipynb"
            if re.match(r"\w+:", target) or target.startswith("/") or not file.exists():
                yield cell.id, f"links to {target!r}, which does not exist (web links start with https://)."
            elif anchor and anchor.lower() not in lessons.anchors(lessons.read(file)):
                yield cell.id, f"links to {target!r}, but {file.name} has no such heading."


def predictions(nb: NotebookNode, path: Path) -> Iterator[Problem]:
    """The learner guesses at least once, in cells that bind names to literals, whose values can be blanked; each guess is answered."""
    code = lessons.code_cells(nb)
    places = [place for place, cell in enumerate(code) if "predict" in lessons.tags(cell)]
    if not places and not path.name.startswith("00"):
        yield "", "no cell is tagged 'predict': ask for a guess before at least one result."
    for place, end in zip(places, [*places[1:], len(code)], strict=False):
        try:
            for node in lessons.parse(code[place]).body:
                ast.literal_eval(node.value if isinstance(node, ast.Assign) else node)
        except ValueError:
            yield code[place].id, "a predict cell only assigns literals, such as guess = {'kept': 9000}."
        answers = "\n".join(cell.source for cell in code[place + 1 : end])
        for name in re.findall(r"^(\w+) = ", code[place].source, re.MULTILINE):
            if f"compare({name}, " not in answers:
                problem = f"{name} is never answered: end the cell that runs with compare({name}, …)."
                yield code[place].id, problem


def solutions(nb: NotebookNode, path: Path) -> Iterator[Problem]:
    """A check with the same number follows each solution, and checks explain what is wrong."""
    code, number = lessons.code_cells(nb), int(path.name[:2])
    graded = [cell for cell in code if lessons.is_solution(cell) or lessons.is_check(cell)]
    ids = [f"{kind}-{number}-{i // 2 + 1}" for i, kind in enumerate(["exercise", "check"] * len(graded))]
    for cell, wanted in zip(graded, ids, strict=False):
        if {cell.id, cell.metadata.nbgrader.get("grade_id")} != {wanted}:
            yield cell.id, f"its id and grade_id must be '{wanted}': a check follows each solution."
        asserts = [node for node in ast.walk(lessons.parse(cell)) if isinstance(node, ast.Assert)]
        if lessons.is_check(cell) and (not asserts or any(node.msg is None for node in asserts)):
            yield cell.id, "a check needs asserts whose messages say what is wrong and where to look."
    for cell in code:
        marks = [cell.source.count(f"### {edge} SOLUTION") for edge in ("BEGIN", "END")]
        if marks != ([1, 1] if lessons.is_solution(cell) else [0, 0]):
            yield cell.id, "a solution, and no other cell, has one ### BEGIN and one ### END SOLUTION."


def cell_sizes(nb: NotebookNode, path: Path) -> Iterator[Problem]:
    """What a learner reads is short: 15 lines, or 25 in a folded cell or a solution. Outside Exercises at most 40 % are folded."""
    shown = {True: 0, False: 0}
    for cell in lessons.code_cells(nb):
        folded = "hide-input" in lessons.tags(cell)
        limit = 25 if folded or lessons.is_solution(cell) else 15
        if lessons.lines(cell) > limit:
            yield cell.id, f"has {lessons.lines(cell)} of {limit} lines: split it, or move code to lib."
        if folded != cell.metadata.get("jupyter", {}).get("source_hidden", False):
            yield cell.id, "is folded by its tag or its metadata, not by both: run make notebooks."
        if folded and not cell.source.startswith("# "):
            yield cell.id, "is folded, so its first line must be a comment that says what it does."
        shown[folded] += lessons.lines(cell) * (cell in lessons.taught(nb))
    if shown[True] > 0.4 * sum(shown.values()):
        yield "", f"folds {shown[True]} of {sum(shown.values())} lines, 40 % are allowed: show what teaches."


def minutes(nb: NotebookNode, path: Path) -> Iterator[Problem]:
    """The title states the minutes that the formula gives, an hour at most (the capstone, which is all exercises, an estimate)."""
    needed = lessons.minutes(nb)
    for stated in lessons.WORKING_TIME.findall(nb.cells[0].source):
        if not int(stated) == needed <= 60:
            yield "", f"states {stated} minutes but takes {needed}: run make notebooks; 60 at most."


RULES = {
    "known-tags": known_tags,
    "cell-ids": cell_ids,
    "compared": compared,
    "executed": executed,
    "private-details": private_details,
    "figures": figures,
    "links": links,
    "predictions": predictions,
    "solutions": solutions,
    "cell-sizes": cell_sizes,
    "minutes": minutes,
}


def check(path: Path, only: str | None = None) -> list[str]:
    """Return the problems of a notebook by all rules, or by one of them; empty if there are none."""
    nb, place = lessons.read(path), lessons.display_path(path)
    return [
        f"{place}{f' [{cell}]' if cell else ''}: {name}: {message}"
        for name, rule in RULES.items()
        if only in (None, name)
        for cell, message in rule(nb, path.resolve())
    ]


def main() -> int:
    """Print what is wrong with the notebooks named on the command line."""
    parser = lessons.command_line(__doc__)
    parser.add_argument("notebooks", nargs="*", help="paths of notebooks; default: all lessons")
    parser.add_argument("--only", choices=RULES, help="only this rule")
    options = parser.parse_args()
    paths = lessons.named_paths(options.notebooks)
    findings = [finding for path in paths for finding in check(path, options.only)]
    print(*findings, f"{len(paths)} notebook(s), {len(findings)} finding(s)", sep="\n")
    return 1 if findings else 0


if __name__ == "__main__":
    raise SystemExit(main())
