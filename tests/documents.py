"""Blocks of code and links in the pages that people read first, and a page's tables."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README, TEACHING = ROOT / "README.md", ROOT / "notebooks" / "TEACHING.md"
OTHERS = """CONTRIBUTING CHANGELOG CODE_OF_CONDUCT compose/README site/start site/code
    README.es notebooks/locale/es/TEACHING site/es/index site/es/start"""
PAGES = [README, TEACHING, *(ROOT / f"{name}.md" for name in OTHERS.split())]
#: What is run by other tests, or would run these tests: the commands that open the lessons, test and measure everything.
THEMSELVES = {"make lab", "make test", "make bench", "make test-integration", "make release-check"}


def text_of(page: Path) -> str:
    """A page as it stands."""
    return page.read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> list[str]:
    """The blocks of code in one language, without their indentation."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", text_of(page), re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", code, flags=re.MULTILINE) for indent, code in found]


def commands(page: Path) -> list[str]:
    """The commands of a page, one a line, without comments and without those that are THEMSELVES tests of everything."""
    lines = [line.partition(" #")[0].strip() for block in blocks(page, "bash") for line in block.splitlines()]
    return [line for line in lines if line and line.removesuffix(" LANGUAGE=es") not in THEMSELVES]


def links(page: Path) -> list[str]:
    """Where the page links to, and its pictures, without the web and without what GitHub has beside the files."""
    prose = re.sub(r"```.*?```", "", text_of(page), flags=re.DOTALL)
    outside = ("https://", "../../issues/", "#")
    return [link for link in re.findall(r"\]\(([^)]+)\)", prose) if not link.startswith(outside)]


def tables(text: str) -> list[list[list[str]]]:
    """The tables of a text, each as its rows below the head, each row as its cells."""
    found = re.findall(r"(?:^\|.*\n)+", text + "\n", re.MULTILINE)
    rows = [[row.strip("|").split("|") for row in one.splitlines()[2:]] for one in found]
    return [[[cell.strip() for cell in row] for row in table] for table in rows]
