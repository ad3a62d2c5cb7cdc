"""What README, CONTRIBUTING and TEACHING say is there is there. tests/integration/test_fresh_clone.py runs their commands."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from documents import PAGES, ROOT, commands, links, text_of
from lessons import LESSONS, anchors, read

import notebooks

README = text_of(ROOT / "README.md")
LINKS = sorted({(page, link) for page in PAGES for link in links(page)})
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


@pytest.mark.parametrize(("page", "link"), LINKS, ids=lambda value: getattr(value, "stem", value))
def test_every_link_and_figure_leads_somewhere(page: Path, link: str) -> None:
    name, _, anchor = link.partition("#")
    target = page.parent / name
    assert target.exists(), link
    assert not anchor or anchor.lower() in anchors(read(target)), link


def test_the_table_lists_every_lesson_with_its_minutes() -> None:
    rows = dict(re.findall(r"^\| \[.*?\]\(notebooks/(\w+\.ipynb)\) \| (\d+) \|", README, re.MULTILINE))
    lessons = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert sorted(rows) == [lesson.name for lesson in lessons]
    for lesson in lessons:
        title = nbformat.read(lesson, as_version=4).cells[0].source
        assert re.search(r"\| Working time \| (\d+)", title)[1] == rows[lesson.name], lesson.name


@each_page
def test_every_make_target_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", text_of(page))) <= targets
    assert {command.split()[1] for command in commands(page) if command.startswith("make ")} <= targets


def test_the_picture_is_one_that_a_lesson_measured() -> None:
    assert notebooks.PICTURE.read_bytes() == notebooks.picture(read(LESSONS / "05_online_migrations.ipynb"))


def test_the_numbers_are_those_that_were_measured() -> None:
    command = [sys.executable, ROOT / "benchmarks" / "readme.py", "--check"]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    told = README.partition("<!-- measured")[2].partition("<!-- end of measured")[0]
    assert len(re.findall(r"^\| .* \| [\d,]+ \| [\d,.]+ \|$", told, re.MULTILINE)) >= 3


@each_page
def test_every_picture_has_alt_text(page: Path) -> None:
    assert all(alt.strip() for alt in re.findall(r"!\[([^\]]*)\]", text_of(page)))
