"""The Spanish edition is whole, in step with the English one, and works: stubs fail helpfully, solutions pass, links lead somewhere."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import lesson_rules
import pytest
from babel.messages.catalog import Catalog, Message
from exercises import exercises
from learner import generate, release
from lessons import LESSONS, dumps, lesson_paths, read
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from test_exercises import SOLVED, prove_failure, prove_solution
from translations import LOCALE, catalogue, in_step, into, translated

#: What a translation has as often as its source.
KEPT = {
    "number": r"\d+(?:[.,]\d+)*",
    "name": r"(?<!`)`[^`\n]+`(?!`)",
    "tag": r"</?\w+",
    "link": r"\]\([^)#]*",
}
CATALOGUES = {path: catalogue(path, "es") for path in lesson_paths()}
#: Nouns of the glossary that are other words as well.
ALSO_VERBS = "bound check contract guess mean report run share switch trigger try update".split()
GLOSSARY = (LOCALE / "es" / "glossary.md").read_text(encoding="utf-8")
spanish = into("es")


def placeholders(code: str) -> list[str]:
    """The placeholders of a string's source, without the texts that a condition chooses from."""
    tree = ast.parse(f"({code})", mode="eval")
    found = [node for node in ast.walk(tree) if isinstance(node, ast.FormattedValue)]
    for choice in [node for one in found for node in ast.walk(one) if isinstance(node, ast.IfExp)]:
        choice.body = choice.orelse = ast.Constant("")
    return sorted(ast.unparse(node.value) for node in found)


def problems(message: Message) -> Iterator[str]:
    """What is wrong with an entry."""
    source, target = message.id, message.string
    if message.fuzzy or not target:
        yield "its source has changed: review it" if message.fuzzy else "not translated"
        return
    for name, pattern in KEPT.items():
        if (one := sorted(re.findall(pattern, source))) != (other := sorted(re.findall(pattern, target))):
            yield f"another {name}: {one}, {other}"
    if message.context is None and source.startswith("#") != target.startswith("#"):
        yield "a comment begins with #"
    elif not message.context and source[0] != "#" and placeholders(source) != placeholders(target):
        yield f"other placeholders: {placeholders(source)}, {placeholders(target)}"


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.stem)
def test_each_entry_is_translated_and_in_step(path: Path) -> None:
    old, new = CATALOGUES[path], in_step(path, CATALOGUES[path])
    found = {(one.context, one.id): list(problems(one)) for one in new if one.id}
    assert {place: said for place, said in found.items() if said} == {}
    assert {(one.context, one.id) for one in old if one.id} == set(found), "make translations"


def test_what_is_out_of_step_is_found(tmp_path: Path) -> None:
    lesson, path = new_notebook(), tmp_path / "01.ipynb"
    lesson.cells = [
        new_markdown_cell("Count `n` 3 times.", id="text"),
        new_code_cell('assert n, f"No {n} yet."', id="code"),
    ]
    before = Catalog()
    before.add("Count `n` 2 times.", "Cuenta `n` 2 veces.", context="text")
    before.add('f"No {n} there."', 'f"Sin {n} ahí."')
    path.write_text(dumps(lesson), encoding="utf-8")
    after = in_step(path, before)
    assert {one.id: (one.string, one.fuzzy) for one in after if one.id} == {
        "Count `n` 3 times.": ("Cuenta `n` 2 veces.", True),
        'f"No {n} yet."': ('f"Sin {n} ahí."', True),
    }
    assert translated(lesson, after) == lesson, "What nobody has reviewed stays in English."


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ("# Wait 3 s", "# Espera 4 s", "another number"),
        ("# Call `run`", "# Llama `corre`", "another name"),
        ("# See [it](one.md#Top)", "# Mira [ahí](other.md#Top)", "another link"),
        ('f"{n} of {m}"', 'f"{n} de {n}"', "other placeholders"),
        ("# a note", "una nota", "a comment"),
        ("a text", "", "not translated"),
    ],
)
def test_an_entry_that_says_something_else_is_found(source: str, target: str, said: str) -> None:
    [found] = problems(Message(source, target))
    assert said in found


def table(heading: str) -> list[list[str]]:
    """The rows of a table of the glossary."""
    section = GLOSSARY.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+) \|$", section, re.MULTILINE)
    return [row.split(" | ") for row in rows[1:]]


def texts() -> list[tuple[str, str]]:
    """Source and translation of all entries of prose, without names in backticks."""
    entries = [one for found in CATALOGUES.values() for one in found if one.context]
    return [tuple(re.sub(r"`[^`]*`", "", text) for text in (one.id, one.string)) for one in entries]


@pytest.mark.parametrize("word", [word for word, _ in table("Palabras que no aparecen")])
def test_a_word_that_the_glossary_refuses_does_not_appear(word: str) -> None:
    forms = rf"{word}(?:s|es)?"
    if word.endswith(("ar", "er", "ir")):
        forms = rf"{word[:-2]}(?:[aei]r|[aeo]|[ae][ns]|i?ó|[ai]d[ao]s?|ando|iendo|[ai]mos)"
    found = re.compile(rf"\b{forms}\b", re.IGNORECASE)
    assert [target for _, target in texts() if found.search(target)] == []


@pytest.mark.parametrize(
    ("term", "translation"),
    [row[:2] for row in table("Términos") if row[0] not in ALSO_VERBS and row[-1].startswith(("m.", "f."))],
)
def test_a_term_has_one_translation(term: str, translation: str) -> None:
    """Four in five texts that have the term have its translation: the rest may use the word in another sense."""
    first = translation.split()[0]
    stem = re.escape(first[: max(4, len(first) - 3)])
    having = [target for source, target in texts() if re.search(rf"\b{re.escape(term)}s?\b", source)]
    having_both = [target for target in having if re.search(stem, target, re.IGNORECASE)]
    assert len(having_both) >= 0.8 * len(having), set(having) - set(having_both)


def test_links_of_the_learners_edition_lead_somewhere(tmp_path: Path) -> None:
    generate(target=tmp_path, translate=spanish)
    inside = {path.name: lesson_rules.links(read(path), path) for path in tmp_path.glob("*.ipynb")}
    found = [(name, *said) for name, all_said in inside.items() for said in all_said if "../" not in said[1]]
    assert found == [] and len(inside) == len(CATALOGUES)


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.stem)
def test_solutions_pass_and_stubs_fail_helpfully(path: Path) -> None:
    nb = read(path)
    for solved, stub in zip(*(exercises(spanish(path, one)) for one in (nb, release(nb))), strict=True):
        if solved.name in SOLVED:
            prove_solution(solved, LESSONS)
            prove_failure(stub, stub.solution, LESSONS)
