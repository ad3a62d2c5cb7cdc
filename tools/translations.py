"""Other editions of the lessons: catalogues of gettext, one for each lesson and language, in `notebooks/locale/LANGUAGE/`.

    python tools/translations.py    bring the catalogues in step with the lessons, and list what is left to do

An entry is a markdown cell (its context is the cell's id), or a text in code that a learner reads: a comment, or a string with its
quotes and placeholders, which is translated wherever the lesson has it. The English text is the key of its entry, so nothing can
be out of step unnoticed: an entry whose source has changed is marked `fuzzy` and not used until somebody has reviewed it.
"""

from __future__ import annotations

import ast
import copy
import difflib
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import lessons
from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po, write_po
from learner import Translation, release
from nbformat import NotebookNode

LOCALE = lessons.LESSONS / "locale"
LANGUAGES = sorted(path.name for path in LOCALE.iterdir() if path.is_dir())
HEADER = 'msgid ""\nmsgstr ""\n"Language: {}\\n"\n"Content-Type: text/plain; charset=UTF-8\\n"\n\n'
#: Functions and arguments that show their texts.
SHOWN = set(
    """print annotate legend set_title set_xlabel set_ylabel suptitle text
    alt description label labels title xlabel xticklabels ylabel yticklabels""".split()
)
#: A string of several words is read by somebody, unless it is SQL.
WORDS = re.compile(r"(?s)[^\W\d_]{2}.*\s|\s.*[^\W\d_]{2}")
SQL = re.compile(
    r"\s*(?:--|(?:ALTER|CREATE|DROP) [A-Z]+|ANALYZE|BEGIN|COMMIT|DELETE|INSERT|LOCK|SELECT|SET|UPDATE|VACUUM|WITH)\b"
)
#: Comments that programs read.
MARKS = re.compile(r"#+ ?(?:(?:BEGIN|END) |type:|noqa|fmt:)")


def strings(node: ast.AST | None, shown: bool = False) -> Iterator[ast.expr]:
    """The strings below a node that a learner may read: those of several words, and all that are shown."""
    match node:
        case ast.Constant(value=str()) | ast.JoinedStr():
            # Its own text, and the texts that its placeholders choose from.
            choices = [part for part in ast.walk(node) if isinstance(part, ast.IfExp)]
            parts = list(getattr(node, "values", [node]))
            parts += [text for one in choices for text in (one.body, one.orelse)]
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in parts)
            if re.search(r"[^\W\d_]{2}", text) and (shown or WORDS.search(text) and not SQL.match(text)):
                yield node
        case ast.Call(func=function, args=values, keywords=named):
            name = getattr(function, "attr", getattr(function, "id", ""))
            yield from strings(function)
            for value in values:
                yield from strings(value, name in SHOWN)
            for keyword in named:
                yield from strings(keyword.value, keyword.arg in SHOWN)
        case ast.Assert(test=test, msg=message):
            yield from strings(test)
            yield from strings(message, shown=True)
        case ast.AST():
            inherits = isinstance(node, ast.List | ast.Tuple | ast.IfExp | ast.BinOp)
            for child in ast.iter_child_nodes(node):
                yield from strings(child, shown and inherits)


def spans(cell: NotebookNode) -> list[tuple[int, int]]:
    """Where the texts of a code cell begin and end, in order."""
    tree = lessons.parse(cell)
    found = [lessons.span(cell.source, node) for node in strings(tree)]
    source = lessons.python(cell) if tree.body else ""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and not MARKS.match(token.string):
            begin = starts[token.start[0] - 1] + token.start[1]
            found.append((begin, begin + len(token.string)))
    return sorted(found)


def entries(nb: NotebookNode) -> dict[tuple[str | None, str], str]:
    """The texts of a notebook, in order: (context, text) → id of the first cell that has it."""
    found: dict[tuple[str | None, str], str] = {}
    for cell in nb.cells:
        if cell.cell_type == "markdown" and cell.source:
            found[cell.id, cell.source] = cell.id
        for begin, end in spans(cell) if cell.cell_type == "code" else ():
            found.setdefault((None, cell.source[begin:end]), cell.id)
    return found


def translated(nb: NotebookNode, catalogue: Catalog) -> NotebookNode:
    """A copy of a notebook in the language of a catalogue; what has no reviewed translation stays as it is."""
    nb = copy.deepcopy(nb)

    def text(source: str, context: str | None = None) -> str:
        message = catalogue.get(source, context)
        return message.string if message and message.string and not message.fuzzy else source

    for cell in nb.cells:
        if cell.cell_type == "markdown":
            cell.source = text(cell.source, cell.id)
        for begin, end in reversed(spans(cell)) if cell.cell_type == "code" else ():
            cell.source = cell.source[:begin] + text(cell.source[begin:end]) + cell.source[end:]
    return nb


def catalogue(lesson: Path, language: str) -> Catalog:
    """The catalogue of a lesson; empty if there is none."""
    file = LOCALE / language / f"{lesson.stem}.po"
    return read_po(io.StringIO(file.read_text(encoding="utf-8") if file.exists() else ""))


def into(language: str) -> Translation:
    """What puts a lesson into a language; English stays as it is."""
    return lambda path, nb: nb if language == "en" else translated(nb, catalogue(path, language))


def in_step(lesson: Path, old: Catalog) -> Catalog:
    """A catalogue with all texts of a lesson, and the translations of an older one: if the source has changed, as `fuzzy`."""
    new, nb = Catalog(), lessons.read(lesson)
    for (context, text), cell in (entries(nb) | entries(release(nb))).items():
        known = old.get(text, context)
        likely = [one for one in old if one.id and one.context == context]
        if not context and not known:
            close = difflib.get_close_matches(text, [one.id for one in likely], 1, 0.8)
            likely = [one for one in likely if one.id in close]
        if known or not likely:
            message = new.add(text, known.string if known else "", context=context, auto_comments=[cell])
            message.flags = set(known.flags if known else ())
        else:
            message = new.add(text, likely[0].string, context=context, auto_comments=[cell], flags=["fuzzy"])
            message.previous_id = [likely[0].id]
        message.flags &= {"fuzzy"}
    return new


def main() -> None:
    """Bring all catalogues in step, and list what is left to do."""
    left = 0
    for language in LANGUAGES:
        for lesson in lessons.lesson_paths():
            new, text = in_step(lesson, catalogue(lesson, language)), io.BytesIO()
            write_po(text, new, width=0, omit_header=True, include_previous=True)
            content = HEADER.format(language).encode() + text.getvalue()
            lessons.write_atomically(LOCALE / language / f"{lesson.stem}.po", content)
            for message in [one for one in new if one.id and (one.fuzzy or not one.string)]:
                left += 1
                todo = "review" if message.fuzzy else "translate"
                print(f"{language}/{lesson.stem}.po [{message.auto_comments[0]}]: {todo} {message.id[:60]!r}")
    raise SystemExit(f"{left} to do" if left else 0)


if __name__ == "__main__":
    main()
