"""Check notebooks against the rules of this collection, which protect those who read, run and grade them.

    python tools/lesson_rules.py [--only compared] [notebooks/03_schema_versions.ipynb …]

Without a name it checks all lessons. One line for each finding, with what to do; exit status 1 when there is one.
Each rule takes a `Lesson` and yields problems.
"""

from __future__ import annotations

import ast
import base64
import getpass
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import lessons
from nbformat import NotebookNode

TAGS = {"parameters", "predict", "exercise-data", "nbval-ignore-output", "raises-exception"}
MAX_FIGURE_BYTES = 60_000
PLACES = re.compile(
    r"(?<![\w.~:/-])/(?:home|root|Users|tmp|private|mnt|opt|srv|workspace|work|var/folders)/|[A-Z]:\\\w"
)
COMMON_USERS = {"root", "user", "users", "admin", "runner", "ubuntu", "debian", "jovyan", "localhost"}
ADDRESS = re.compile(r"\bat 0x[0-9a-f]{6,}")
LINK = re.compile(r"(?<!\\)\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)|(?:href|src)=[\"']([^\"']+)[\"']")


def objectives(lesson: lessons.Lesson) -> Iterator[lessons.Problem]:
    """Each objective is proved by a cell with an assert that carries its tag."""
    goals = [] if lesson.is_start else lessons.numbered(lesson.section_text(lessons.OBJECTIVES))
    wanted = {f"objective-{number}" for number in range(1, len(goals) + 1)}
    asserting = [cell for cell in lessons.code_cells(lesson.nb) if "assert " in cell.source]
    proved = {tag for cell in asserting for tag in lessons.tags(cell) if tag.startswith("objective-")}
    for tag in sorted(wanted - proved):
        yield "", f"no cell with an assert carries the tag '{tag}': how would one see it was reached?"
    for tag in sorted(proved - wanted):
        yield "", f"the tag '{tag}' belongs to no objective."


def cell_ids(lesson: lessons.Lesson) -> Iterator[lessons.Problem]:
    """Ids mean something, and stay. (One that is used twice is replaced by a random one on reading, and so noticed.)"""
    for cell in lesson.nb.cells:
        random = re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){0,3}(-[0-9a-f]{12})?|cell-\d+", cell.id)
        if random or not re.fullmatch(r"(?=.*[a-z]{3})[a-z][a-z0-9]*(-[a-z0-9]+)*", cell.id):
            yield cell.id, "give the cell an id of lower-case words joined by '-', such as 'predict-workers'."


def known_tags(lesson: lessons.Lesson) -> Iterator[lessons.Problem]:
    """Every tag is one that somebody reads."""
    for cell in lesson.nb.cells:
        for tag in sorted(set(lessons.tags(cell)) - TAGS):
            if not tag.startswith("objective-"):
                yield cell.id, f"has the tag '{tag}', which nothing reads. Known: {', '.join(sorted(TAGS))}."


def compared(lesson: lessons.Lesson) -> Iterator[lessons.Problem]:
    """No cell escapes the comparison without a word: never executed, skipped, quiet, or failing unnoticed."""
    for cell in lessons.code_cells(lesson.nb):
        if cell.execution_count is None and cell.source.strip():
            yield cell.id, "was never executed, so nbval compares nothing: execute it and store its outputs."
        unread = [tag for tag in lessons.tags(cell) if tag.startswith("nbval-") and tag not in TAGS]
        if unread or re.search(r"^\s*#\s*(NBVAL|PYTEST_VALIDATE)_", cell.source, re.MULTILINE):
            yield cell.id, f"has {unread or 'an NBVAL comment'}: the one mark is the tag nbval-ignore-output."
        if re.search(r";\s*(#.*)?\Z", cell.source.rstrip()):
            yield cell.id, "ends with ';', which hides its output from readers only: use '_ = …' or show(…)."
        if re.search(r"^\s*(\w+\s*=\s*)?(!|%(?!%ipytest\b))", cell.source, re.MULTILINE):
            yield cell.id, "uses '!command', which passes when the command fails, or a magic: write Python."


def executed(lesson: lessons.Lesson) -> Iterator[lessons.Problem]:
    """The stored outputs are those of one Run All in a fresh kernel, of this very code, without warnings."""
    code = lessons.code_cells(lesson.nb)
    if [cell.execution_count for cell in code] != list(range(1, len(code) + 1)):
        yield "", "its execution counts are not those of one Run All: run make notebooks."
    if lesson.nb.metadata.get("lesson", {}).get("code_sha256") != lessons.code_hash(lesson.nb):
        yield "", "its code changed after its outputs were stored: run make notebooks."
    for cell in code:
        errors = [output for output in cell.outputs if output.output_type == "error"]
        if bool(errors) != ("raises-exception" in lessons.tags(cell)):
            yield cell.id, "a stored error and the tag raises-exception belong together: one is missing."
        if any(output.get("name") == "stderr" for output in cell.outputs):
            yield cell.id, "wrote to stderr: fix what warns, instead of storing the warning."


def ignored_outputs(lesson: lessons.Lesson) -> Iterator[lessons.Problem]:
    """At most a third of the cells escape comparison, and what they show is asserted in the next one."""
    code = lessons.code_cells(lesson.nb)
    ignored = [cell for cell in code if "nbval-ignore-output" in lessons.tags(cell)]
    if len(ignored) * 3 > len(code):
        yield "", f"{len(ignored)} of {len(code)} code cells ignore their output: at most a third may."
    for cell, following in zip(code, [*code[1:], None], strict=True):
        if cell in ignored and (following is None or "assert " not in following.source):
            yield cell.id, "ignores its output, so the next code cell must assert what it has to show."


def output_text(output: NotebookNode) -> str:
    """All the text that a reader of an output can see, without its pictures."""
    data = output.get("data", {})
    shown = [str(data[kind]) for kind in data if not kind.startswith("image/p")]
    texts = [output.get("text", ""), output.get("evalue", ""), *output.get("traceback", []), *shown]
    return lessons.ANSI.sub("", "\n".join(texts))


def private_details(lesson: lessons.Lesson) -> Iterator[lessons.Problem]:
    """Nothing tells on which machine, where or as whom the notebook was run, and no address that differs in every run."""
    own = {name for name in (socket.gethostname(), getpass.getuser()) if len(name) > 3} - COMMON_USERS
    names = re.compile("|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in sorted(own)) or r"(?!)")
    for cell in lesson.nb.cells:
        shown = "\n".join(map(output_text, cell.get("outputs", [])))
        for text in (cell.source, shown):
            for found in [*PLACES.finditer(text), *names.finditer(text)]:
                private = text[found.start() : found.end() + 20]
                yield cell.id, f"holds {private!r}: a place, user or host of one machine."
        if found := ADDRESS.search(shown):
            yield cell.id, f"its output holds {found[0]!r}, which differs in every run: define a repr."


def figures(lesson: lessons.Lesson) -> Iterator[lessons.Problem]:
    """Every picture has a text for those who do not see it, and is small."""
    for cell in lessons.code_cells(lesson.nb):
        for output in cell.outputs:
            data = output.get("data", {})
            for kind in [kind for kind in data if kind.startswith("image/")]:
                alt = output.metadata.get(kind, {}).get("alt", "")
                if not alt.strip() or data.get("text/plain") != alt:
                    yield cell.id, "has a figure without alt text: show it with show(figure, alt='…')."
                if kind == "image/png" and len(base64.b64decode(data[kind])) > MAX_FIGURE_BYTES:
                    yield cell.id, f"has a figure of more than {MAX_FIGURE_BYTES:,} bytes: plot fewer points."
    for cell in lesson.nb.cells:
        text = "\n".join(lessons.prose_lines(cell.source)) if cell.cell_type == "markdown" else ""
        bare = [tag for tag in re.findall(r"<img[^>]*>", text) if not re.search(r'alt="[^"]+"', tag)]
        if bare or re.search(r"!\[\s*\]\(", text):
            yield cell.id, "has an image without alt text: ![what it shows](path)."


def links(lesson: lessons.Lesson) -> Iterator[lessons.Problem]:
    """Links to lessons, their headings and files of the repository lead somewhere; the web is reached by https."""
    for cell in lesson.nb.cells:
        text = "\n".join(lessons.prose_lines(cell.source)) if cell.cell_type == "markdown" else ""
        for target in [a or b for a, b in LINK.findall(re.sub(r"`[^`]*`", "", text))]:
            if re.match(r"https://[^/]+\.\w+|mailto:", target):
                continue
            path, _, anchor = target.partition("#")
            file = lesson.path.parent / unquote(path) if path else lesson.path
            if re.match(r"\w+:", target) or target.startswith("/") or not file.exists():
                yield cell.id, f"links to {target!r}, which does not exist (web links start with https://)."
            elif (
                anchor
                and file.suffix == ".ipynb"
                and unquote(anchor).lower() not in lessons.anchors(lessons.read(file))
            ):
                yield cell.id, f"links to {target!r}, but {file.name} has no such heading."


def predictions(lesson: lessons.Lesson) -> Iterator[lessons.Problem]:
    """The learner guesses at least once, in cells that bind names to literals, whose values alone can be blanked."""
    guesses = [cell for cell in lessons.code_cells(lesson.nb) if "predict" in lessons.tags(cell)]
    if not guesses and not lesson.is_start:
        yield "", "no cell is tagged 'predict': ask for a guess before at least one result."
    for cell in guesses:
        try:
            for node in lessons.parse(cell).body:
                if not isinstance(node, ast.Assign):
                    raise ValueError(node)
                ast.literal_eval(node.value)
        except ValueError:
            yield (
                cell.id,
                "a predict cell holds only assignments of literals, such as guess = {'kept': 9000}.",
            )


def exercises(lesson: lessons.Lesson) -> Iterator[lessons.Problem]:
    """Exercises come as text, solution and check, numbered alike; checks explain what is wrong."""
    cells = lesson.section("Exercises")
    titles = [text for cell in cells for _, text in lessons.headings(cell) if text.startswith("Exercise ")]
    number = int(lesson.number)
    for position, text in enumerate(titles, start=1):
        if not text.startswith(f"Exercise {number}.{position} · "):
            yield "", f"'{text}' must be 'Exercise {number}.{position} · Name'."
    wanted = [f"{kind}-{number}-{i + 1}" for i in range(len(titles)) for kind in ("exercise", "check")]
    graded = [
        cell for cell in lessons.code_cells(lesson.nb) if lessons.is_solution(cell) or lessons.is_check(cell)
    ]
    if [cell.id for cell in graded] != wanted or (len(titles) < 3 and not lesson.is_start):
        yield "", f"needs three exercises or more, their cells being {', '.join(wanted)}, in this order."
    for cell in graded:
        if cell.metadata.nbgrader.get("grade_id") != cell.id:
            yield cell.id, f"its nbgrader grade_id must be '{cell.id}' too."
        asserts = [node for node in ast.walk(lessons.parse(cell)) if isinstance(node, ast.Assert)]
        if lessons.is_check(cell) and (not asserts or any(node.msg is None for node in asserts)):
            yield (
                cell.id,
                "a check has asserts, each with a message that says what is wrong, and where to look.",
            )
    for cell in lessons.code_cells(lesson.nb):
        marks = [cell.source.count(f"### {edge} SOLUTION") for edge in ("BEGIN", "END")]
        if marks != ([1, 1] if lessons.is_solution(cell) else [0, 0]):
            yield (
                cell.id,
                "a solution, and no other cell, has one ### BEGIN SOLUTION and one ### END SOLUTION.",
            )


RULES = {
    rule.__name__.replace("_", "-"): rule
    for rule in (
        objectives,
        cell_ids,
        known_tags,
        compared,
        executed,
        ignored_outputs,
        private_details,
        figures,
        links,
        predictions,
        exercises,
    )
}


@dataclass(frozen=True)
class Finding:
    """What one rule found in one cell ("" means the whole notebook)."""

    path: Path
    cell: str
    rule: str
    message: str

    def __str__(self) -> str:
        where = f" [{self.cell}]" if self.cell else ""
        return f"{lessons.display_path(self.path)}{where}: {self.rule}: {self.message}"


def check(path: Path, only: str | None = None) -> list[Finding]:
    """All findings in one notebook, rule by rule; empty when it keeps every rule."""
    lesson = lessons.Lesson(path.resolve(), lessons.read(path))
    if not lesson.nb.cells:
        return [Finding(path, "", "executed", "the notebook is empty.")]
    return [
        Finding(path, cell, name, message)
        for name, rule in RULES.items()
        if only in (None, name)
        for cell, message in rule(lesson)
    ]


def main() -> int:
    """Print the findings of the notebooks named on the command line."""
    parser = lessons.command_line(__doc__)
    parser.add_argument("notebooks", nargs="*", help="paths of notebooks; default: all lessons")
    parser.add_argument("--only", choices=RULES, help="only this rule")
    options = parser.parse_args()
    paths = lessons.named_paths(options.notebooks)
    findings = [finding for path in paths for finding in check(path, options.only)]
    for finding in findings:
        print(finding)
    print(f"{len(paths)} notebook(s), {len(findings)} finding(s)")
    return 1 if findings else 0


if __name__ == "__main__":
    raise SystemExit(main())
