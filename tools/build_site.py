"""Build the readable edition: all lessons with their stored outputs, what they prove, and the documentation of `lib`.

Sphinx reads a folder assembled for it: the lessons and the pages of `site/`, which adds those about the code.
Nothing is fetched, and a warning is an error. The English lessons come with their stored outputs; those in another language, in a
folder of the site, are executed for theirs, which are kept in `.state/site`. With `--links` nothing is built: Sphinx
follows the links to other sites, which needs a network.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import lessons
from nbformat import NotebookNode
from project import STATE
from translations import LANGUAGES, LOCALE, into

from notebooks import CellFailedError, execute, pictures

PAGES = "CHANGELOG.md CONTRIBUTING.md benchmarks/results.md compose/README.md notebooks/TEACHING.md".split()


def readable(nb: NotebookNode) -> NotebookNode:
    """Prepare a lesson for the site (changes its argument): solutions are folded and labelled, and images get their alt text."""
    for cell in lessons.code_cells(nb):
        label = cell.source.partition("\n")[0].removeprefix("# ")
        if lessons.is_solution(cell):
            label, cell.metadata["tags"] = "The solution", [*lessons.tags(cell), "hide-input"]
        cell.metadata["mystnb"] = {"code_prompt_show": label, "code_prompt_hide": label}
        for output in cell.outputs:
            if alt := output.get("metadata", {}).get("image/png", {}).get("alt"):
                cell.metadata["mystnb"]["image"] = {"alt": alt}
    return nb


def edition(path: Path, language: str, run: bool) -> NotebookNode:
    """A lesson in a language. Its outputs are those of an execution now, or of an earlier one; without `run`, the English ones."""
    nb, kept = into(language)(path, lessons.read(path)), STATE / "site" / language / path.name
    if language == "en" or not run:
        return nb
    if not kept.exists() or lessons.code_hash(lessons.read(kept)) != lessons.code_hash(nb):
        print(f"executing {path.stem} in {language}", flush=True)
        os.environ["LESSONS_LANGUAGE"] = language
        lessons.write_atomically(kept, lessons.dumps(execute(nb, lessons.LESSONS)).encode())
    for cell, executed in zip(lessons.code_cells(nb), lessons.code_cells(lessons.read(kept)), strict=True):
        cell.outputs = executed.outputs
    return nb


def assemble(source: Path, language: str, run: bool) -> None:
    """Assemble the sources for Sphinx in the folder `source`."""
    shutil.copytree(
        lessons.ROOT / "site", source, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.md", *LANGUAGES)
    )
    ignored = shutil.ignore_patterns("*.ipynb", "*.md", "__pycache__", ".ipynb_checkpoints", "locale")
    shutil.copytree(lessons.LESSONS, source / "notebooks", ignore=ignored)
    notebooks = {path: readable(edition(path, language, run)) for path in lessons.lesson_paths()}
    pages = {name: (lessons.ROOT / name).read_text(encoding="utf-8") for name in PAGES}
    own = lessons.ROOT / "site" / (language if language != "en" else "")
    # In the repository these pages lie a folder deeper, or two.
    pages |= {page.name: re.sub(r"\]\((\.\./)+", "](", page.read_text("utf-8")) for page in own.glob("*.md")}
    if language != "en":
        teaching = (LOCALE / language / "TEACHING.md").read_text(encoding="utf-8")
        pages["notebooks/TEACHING.md"] = teaching.replace("](../../", "](")
    for path, nb in notebooks.items():
        pages[f"notebooks/{path.name}"] = lessons.dumps(nb)
        for file, content in pictures(path, nb).items():
            lessons.write_atomically(source / "notebooks" / "images" / file.name, content)
    for name, text in pages.items():
        lessons.write_atomically(source / name, text.encode())
    for picture in (lessons.ROOT / "benchmarks").glob("*.png"):
        shutil.copy(picture, source / "benchmarks")


def build(into: Path, language: str = "en", *, run: bool = False, builder: str = "html") -> int:
    """Build the site in a language, replacing any earlier one in the folder `into`. Returns Sphinx's exit status."""
    with tempfile.TemporaryDirectory() as folder:
        source, pages = Path(folder, "source"), Path(folder, "html")
        assemble(source, language, run)
        sphinx = [sys.executable, *"-m sphinx --fail-on-warning --keep-going --quiet -j auto".split()]
        sphinx += [
            "--doctree-dir",
            folder + "/trees",
            "-D",
            f"language={language}",
            "-b",
            builder,
            str(source),
            str(pages),
        ]
        environ = {**os.environ, "PYTHONPATH": f"{lessons.ROOT}/tools{os.pathsep}{lessons.ROOT}/site"}
        status = subprocess.run(sphinx, cwd=lessons.ROOT, env=environ).returncode
        if status == 0 and builder == "html":
            shutil.rmtree(into, ignore_errors=True)
            shutil.copytree(pages, into)
    return status


if __name__ == "__main__":
    if sys.argv[1:] == ["--links"]:
        sys.exit(build(Path(), builder="linkcheck"))
    pages = lessons.ROOT / "build" / "site"
    try:
        for language in ["en", *LANGUAGES]:
            if build(pages / (language if language != "en" else ""), language, run=True) != 0:
                sys.exit(1)
    except CellFailedError as error:
        sys.exit(f"The lesson named last could not be executed: {error}")
    print(f"Open {lessons.display_path(pages / 'index.html')}")
