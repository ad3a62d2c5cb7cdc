"""The rules for what a notebook stores and where it points: outputs, figures, links, metadata.

Each rule takes a `Lesson` and yields problems; `lesson_rules.py` runs them all.
"""

from __future__ import annotations

import base64
import getpass
import re
import socket
from collections.abc import Iterator
from urllib.parse import unquote

from lessons import (
    ANSI,
    KERNELSPEC,
    Lesson,
    Problem,
    code_cells,
    code_hash,
    headings,
    prose_lines,
    python_source,
    read,
    tags,
)
from nbformat import NotebookNode

MAX_FIGURE_BYTES = 60_000
PLACES = re.compile(
    r"(?<![\w.~:/-])/(?:home|root|Users|tmp|private|mnt|opt|srv|workspace|work|var/folders)/|[A-Z]:\\\w"
)
COMMON_USERS = {"root", "user", "users", "admin", "runner", "ubuntu", "debian", "jovyan", "localhost"}
ADDRESS = re.compile(r"\bat 0x[0-9a-f]{6,}")
LINK = re.compile(r"(?<!\\)\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)|(?:href|src)=[\"']([^\"']+)[\"']")


def output_text(output: NotebookNode) -> str:
    """All the text that a reader of an output can see, without its pictures."""
    data = output.get("data", {})
    shown = [str(data[kind]) for kind in data if not kind.startswith("image/p")]
    texts = [output.get("text", ""), output.get("evalue", ""), *output.get("traceback", []), *shown]
    return ANSI.sub("", "\n".join(texts))


def executed(lesson: Lesson) -> Iterator[Problem]:
    """The stored outputs are those of one Run All in a fresh kernel, of this very code."""
    code = code_cells(lesson.nb)
    counts = [cell.execution_count for cell in code]
    if None in counts:
        yield (
            code[counts.index(None)].id,
            "was never executed, so nothing would be compared: run make notebooks.",
        )
    elif counts != list(range(1, len(code) + 1)):
        yield ("", f"execution counts are {counts}, not those of one Run All: run make notebooks.")
    if lesson.nb.metadata.get("lesson", {}).get("code_sha256") != code_hash(lesson.nb):
        yield "", "its code changed after its outputs were stored: run make notebooks."
    for cell in code:
        errors = [output for output in cell.outputs if output.output_type == "error"]
        if bool(errors) != ("raises-exception" in tags(cell)):
            yield (
                cell.id,
                "stored error and tag raises-exception belong together: one is there without the other.",
            )


def private_details(lesson: Lesson) -> Iterator[Problem]:
    """Nothing tells on which machine, where or as whom the notebook was run."""
    own = {name for name in (socket.gethostname(), getpass.getuser()) if len(name) > 3} - COMMON_USERS
    names = re.compile("|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in sorted(own)) or r"(?!)")
    for cell in lesson.nb.cells:
        for where, text in [
            ("source", cell.source),
            *(("output", output_text(o)) for o in cell.get("outputs", [])),
        ]:
            for found in [*PLACES.finditer(text), *names.finditer(text)]:
                yield (
                    cell.id,
                    f"its {where} holds {text[found.start() : found.end() + 20]!r}: a place, user or host of one machine.",
                )
            if where == "output" and (found := ADDRESS.search(text)):
                yield (
                    cell.id,
                    f"its output holds {found[0]!r}, which differs in every run: give the object a repr.",
                )


def stderr(lesson: Lesson) -> Iterator[Problem]:
    """Warnings are mended, not stored."""
    for cell in code_cells(lesson.nb):
        for output in cell.outputs:
            if output.get("name") == "stderr":
                yield (
                    cell.id,
                    f"wrote to stderr: {output.text.strip().splitlines()[0][:80]!r}. Mend what warns.",
                )


def figures(lesson: Lesson) -> Iterator[Problem]:
    """Every picture has a text for those who do not see it, and is small."""
    for cell in code_cells(lesson.nb):
        for output in cell.outputs:
            data = output.get("data", {})
            for kind in [kind for kind in data if kind.startswith("image/")]:
                alt = output.metadata.get(kind, {}).get("alt", "")
                if not alt.strip() or data.get("text/plain") != alt:
                    yield (cell.id, "has a figure without alt text: show it with show(figure, alt='…').")
                if kind == "image/png" and len(base64.b64decode(data[kind])) > MAX_FIGURE_BYTES:
                    yield (
                        cell.id,
                        f"has a figure of more than {MAX_FIGURE_BYTES:,} bytes: plot fewer points.",
                    )
    for cell in lesson.nb.cells:
        text = "\n".join(prose_lines(cell.source)) if cell.cell_type == "markdown" else ""
        if re.search(r"!\[\s*\]\(", text) or any(
            not re.search(r'alt="[^"]+"', tag) for tag in re.findall(r"<img[^>]*>", text)
        ):
            yield cell.id, "has an image without alt text: ![what it shows](path)."


def anchor(heading: str) -> str:
    """The anchor of a heading as JupyterLab makes it; the site does the same."""
    return re.sub(r"[`*]", "", heading).strip().replace(" ", "-")


def anchors(nb: NotebookNode) -> set[str]:
    """All places in a notebook that a link can point to."""
    found = {anchor(text).lower() for cell in nb.cells for _, text in headings(cell)}
    return found | {name.lower() for cell in nb.cells for name in re.findall(r'\bid="([^"]+)"', cell.source)}


def links(lesson: Lesson) -> Iterator[Problem]:
    """Links to lessons, their headings and files of the repository lead somewhere; the web is reached by https."""
    for cell in lesson.nb.cells:
        text = "\n".join(prose_lines(cell.source)) if cell.cell_type == "markdown" else ""
        for target in [a or b for a, b in LINK.findall(re.sub(r"`[^`]*`", "", text))]:
            if re.match(r"https://[^/]+\.\w+|mailto:", target):
                continue
            path, _, anchor = target.partition("#")
            file = lesson.path.parent / unquote(path) if path else lesson.path
            if re.match(r"\w+:", target) or target.startswith("/") or not file.exists():
                yield (
                    cell.id,
                    f"links to {target!r}, which does not exist from here (web links start with https://).",
                )
            elif anchor and file.suffix == ".ipynb":
                nb = lesson.nb if not path else read(file)
                if unquote(anchor).lower() not in anchors(nb):
                    yield (cell.id, f"links to {target!r}, but {file.name} has no such heading.")


def hygiene(lesson: Lesson) -> Iterator[Problem]:
    """The file holds what a diff should show, and nothing else."""
    extra = set(lesson.nb.metadata) - {"kernelspec", "language_info", "lesson"}
    if (
        extra
        or lesson.nb.metadata.get("kernelspec") != KERNELSPEC
        or lesson.nb.metadata.get("language_info") != {"name": "python"}
    ):
        yield (
            "",
            f"its metadata holds more than kernelspec, language, lesson ({', '.join(sorted(extra)) or 'details'}): run make notebooks.",
        )
    if not isinstance(lesson.nb.metadata.get("lesson", {}).get("measures"), bool):
        yield (
            "",
            "its metadata needs lesson.measures: true when it times things (it then runs alone), else false.",
        )
    for cell in lesson.nb.cells:
        if noise := set(cell.metadata) - {"tags", "nbgrader"}:
            yield (cell.id, f"its metadata holds {', '.join(sorted(noise))}: run make notebooks.")
        if not python_source(cell).strip():
            yield cell.id, "is empty: delete it."


RULES = (executed, private_details, stderr, figures, links, hygiene)
