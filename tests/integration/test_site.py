"""The readable edition: built without a network and without a warning, and whatever it links to is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import build_site
import pytest
from lessons import ROOT, code_cells, is_solution, lesson_paths, read, tags

LOADED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src", "object": "data"}


class Page(HTMLParser):
    """The tags of a page: what it loads, what it links to, and where one can link to in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.tags = path, list[tuple[str, dict[str, str]]]()
        self.feed(path.read_text(encoding="utf-8"))
        self.anchors = {found["id"] for _, found in self.tags if "id" in found}
        self.links = [found["href"] for tag, found in self.tags if tag == "a" and "href" in found]
        self.loads = [found[LOADED[tag]] for tag, found in self.tags if found.get(LOADED.get(tag, ""))]
        self.without_alt = [found for tag, found in self.tags if tag == "img" and not found.get("alt")]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: (value or "").strip() for name, value in attrs}))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "html"
    assert build_site.build(folder) == build_site.build(folder / "es", "es") == 0
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in site.rglob("*.html")}


def targets(page: Page) -> Iterator[tuple[str, Path, str]]:
    """The links of a page within the site: as written, the file, the anchor."""
    for link in page.links:
        parts = urlsplit(link)
        if not parts.scheme and not parts.netloc:
            file = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path
            yield link, file, unquote(parts.fragment)


def test_every_internal_link_leads_somewhere(pages: dict[Path, Page]) -> None:
    inside = [(page.path.name, *target) for page in pages.values() for target in targets(page)]
    assert len(inside) > 500
    assert [
        (page, link)
        for page, link, file, fragment in inside
        if not file.is_file() or (fragment and file in pages and fragment not in pages[file].anchors)
    ] == []


def test_nothing_is_loaded_from_elsewhere(site: Path, pages: dict[Path, Page]) -> None:
    loads = [(page.path.name, address) for page in pages.values() for address in page.loads]
    assert [load for load in loads if urlsplit(load[1]).netloc] == [] and len(loads) > 100
    for style in site.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        assert not re.search(r"(@import\s+|url\()\s*[\"']?(https?:)?//", text), style
    text = "".join(path.read_text(encoding="utf-8") for path in [*site.rglob("*.html"), *site.rglob("*.js")])
    assert not re.search(r"cdn\.|unpkg|jsdelivr|googleapis|cdnjs", text)


def test_each_lesson_has_its_page_its_pictures_with_alt_text_and_folded_solutions(
    site: Path, pages: dict[Path, Page]
) -> None:
    index = pages[site / "index.html"]
    for path in lesson_paths():
        file = site / "notebooks" / f"{path.stem}.html"
        page, cells = pages[file], code_cells(read(path))
        text = file.read_text(encoding="utf-8")
        assert f"notebooks/{file.name}" in index.links, path.name
        spanish = pages[site / "es" / "notebooks" / file.name]
        assert f"../../notebooks/{file.name}" in spanish.links
        assert f"../es/notebooks/{file.name}" in page.links
        stored = sum("image/png" in out.get("data", {}) for cell in cells for out in cell.outputs)
        assert len(re.findall(r"<img [^>]*_images/", text)) >= stored, path.name
        assert page.without_alt == [], path.name
        folded = sum(is_solution(cell) or "hide-input" in tags(cell) for cell in cells)
        assert text.count('<details class="admonition hide') == folded > 0, path.name
        assert "copybutton.js" in text and not re.search(r'class="[^"]*\bmath\b[^"]*">\s*\\', text)


def test_the_documentation_covers_each_public_module(site: Path, pages: dict[Path, Page]) -> None:
    documented = {name for path in (site / "api").glob("*.html") for name in pages[path].anchors}
    modules = [path for path in (ROOT / "lib").rglob("*.py") if not path.name.startswith("_")]
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in modules}
    assert {f"module-{name}" for name in names} <= documented and len(names) > 30
