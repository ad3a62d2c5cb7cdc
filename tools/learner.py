"""Make the learner's edition: `work/`, generated from `notebooks/`, which holds the solved lessons.

The learner's edition has no solutions (nbgrader's own preprocessors remove them), hidden tests or outputs. Solution and check
cells have the tag `raises-exception`, so that Run All continues after an unsolved exercise. In a cell tagged `predict` every
*value* is replaced by None, while names, dict keys and comments stay:

    my_guess = {"early": 38, "late": 39}  # your numbers      becomes      my_guess = {"early": None, "late": None}  # your numbers

So the learner sees what to fill in, and every name is bound. Later cells must accept None without failing (a test runs them).

What a learner has written is never overwritten. `work/.generated.json` holds a hash of each file as it was generated. If the
cells of a notebook are unchanged, a newer lesson replaces it silently (outputs, counts, metadata and empty cells do not count
as changes). A changed notebook is kept: the newer lesson is put beside it once, as `04_schema_versions.new.ipynb`, and the
message names both. The folders beside the lessons (data, images) are copied by the same rule. A deleted file is created again.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import lessons
from nbformat import NotebookNode, ValidationError, reads

STUB = "pass  # your code"
TEXT_STUB = "*Your answer, in place of this line.*"
STEPS = "CheckCellMetadata LockCells ClearSolutions ClearHiddenTests ClearOutput".split()
PROMPT = "# Your guess: put a value in place of each None, then go on."
MANIFEST = ".generated.json"
Translation = Callable[[Path, NotebookNode], NotebookNode]
"""Puts a lesson's notebook, named by the path of the lesson, into another language."""


def release(nb: NotebookNode) -> NotebookNode:
    """Return the learner's edition of a solved notebook, without changing the argument.

    Raises:
        RuntimeError: a solution or hidden test is not closed, or is in a cell that nbgrader does not know.
    """
    from nbgrader import preprocessors
    from traitlets.config import Config

    config = Config()
    config.ClearSolutions.code_stub, config.ClearSolutions.text_stub = {"python": STUB}, TEXT_STUB
    nb, resources = copy.deepcopy(nb), {}
    for step in STEPS:
        nb, resources = getattr(preprocessors, step)(config=config).preprocess(nb, resources)
    for cell in nb.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code" and (lessons.is_solution(cell) or lessons.is_check(cell)):
            cell.metadata["tags"] = [*lessons.tags(cell), "raises-exception"]
        if "predict" in lessons.tags(cell):
            cell.source = f"{PROMPT}\n{blank(cell.source)}"
    nb.metadata["lesson"] = {**nb.metadata.get("lesson", {}), "edition": "learner"}
    nb.metadata["lesson"].pop("code_sha256", None)
    return nb


def blank(source: str) -> str:
    """Replace every assigned value by None; names, dict keys, layout and comments stay."""
    assigned = [node.value for node in ast.parse(source).body if isinstance(node, ast.Assign)]
    for value in reversed([leaf for node in assigned for leaf in leaves(node)]):
        begin, end = lessons.span(source, value)
        source = source[:begin] + "None" + source[end:]
    return source


def leaves(node: ast.expr) -> Iterator[ast.expr]:
    """Yield the values inside dicts, lists and tuples, in the order of the text."""
    if isinstance(node, ast.Dict):
        inside = node.values
    elif isinstance(node, ast.List | ast.Tuple):
        inside = node.elts
    else:
        yield node
        return
    for value in inside:
        yield from leaves(value)


def digest(name: str, content: bytes) -> str:
    """Return the part of a file that counts as the learner's work: the sources of a notebook's cells, or the file's bytes.

    For a notebook that cannot be read, its bytes count.
    """
    unreadable = (ValueError, KeyError, TypeError, AttributeError, ValidationError)
    if name.endswith(".ipynb"):
        with contextlib.suppress(*unreadable):
            cells = reads(content.decode(), as_version=4).cells
            written = [(cell.cell_type, cell.source) for cell in cells if cell.source.strip()]
            content = json.dumps(written).encode()
    return hashlib.sha256(content).hexdigest()


def editions(source: Path, translate: Translation) -> Iterator[tuple[str, bytes]]:
    """Yield all files of the learner's edition: (path inside `work/`, content)."""
    for path in sorted(source.glob("*.ipynb")):
        yield path.name, lessons.dumps(translate(path, release(lessons.read(path)))).encode()
    for path in sorted(source.glob("*/**/*")):
        parts = path.relative_to(source).parts
        hidden = parts[0] == "locale" or any(part.startswith((".", "__")) for part in parts)
        if path.is_file() and not hidden:
            yield path.relative_to(source).as_posix(), path.read_bytes()


def place(target: Path, name: str, content: bytes, generated: dict[str, str]) -> bool | str:
    """Write one generated file without overwriting the learner's work, and update the hashes in `generated`.

    Returns whether the file was written, or a message for the learner if they have changed it and the lesson is newer.
    """
    new, offer = digest(name, content), Path(name).with_suffix(f".new{Path(name).suffix}").as_posix()
    for spot in (name, offer):
        file, known = target / spot, generated.get(spot)
        current = digest(spot, file.read_bytes()) if file.exists() else None
        if current == new or (known == new and (spot == offer or current is not None)):
            generated[spot] = new
            return False
        if current in (None, known):
            lessons.write_atomically(file, content)
            generated[spot] = new
            return spot == name or (
                f"You have changed {lessons.display_path(target / name)}, so it stays as it is.\n"
                f"  A newer edition of it is beside it: {lessons.display_path(file)}"
            )
    return (
        f"You have changed {lessons.display_path(target / name)} and {lessons.display_path(target / offer)}, so both stay as they are.\n"
        "  Give one of them another name, and run this again, to get the newest edition."
    )


def generate(
    source: Path = lessons.LESSONS,
    target: Path = lessons.ROOT / "work",
    translate: Translation = lambda path, nb: nb,
) -> list[str]:
    """Bring the learner's edition up to date. Returns a message for the learner. Idempotent.

    Raises:
        RuntimeError, ValueError: a source notebook is broken; nothing after it is generated.
        OSError: the disk is full, or the folder cannot be written.
    """
    manifest = target / MANIFEST
    generated = dict[str, str]()  # without it, all that exists and differs counts as the learner's own
    with contextlib.suppress(FileNotFoundError, ValueError):
        generated |= json.loads(manifest.read_text(encoding="utf-8")).get("generated", {})
    outcomes = []
    for name, content in editions(source, translate):
        outcomes.append(place(target, name, content, generated))
        lessons.write_atomically(manifest, json.dumps({"generated": generated}, indent=1).encode())
    written = outcomes.count(True)
    summary = [f"made or updated {written} file(s) in {lessons.display_path(target)}"] if written else []
    return summary + [outcome for outcome in outcomes if isinstance(outcome, str)]
