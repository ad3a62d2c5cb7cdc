"""What the README says is there is there."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINKS = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("https://")]


@pytest.mark.parametrize("link", sorted(set(LINKS)))
def test_every_link_leads_somewhere(link):
    assert (ROOT / link.partition("#")[0]).exists(), link


def test_the_table_lists_every_lesson_with_its_minutes():
    rows = dict(re.findall(r"^\| \[.*?\]\(notebooks/(\w+\.ipynb)\) \| (\d+) \|", README, re.MULTILINE))
    lessons = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert sorted(rows) == [lesson.name for lesson in lessons]
    for lesson in lessons:
        title = nbformat.read(lesson, as_version=4).cells[0].source
        assert re.search(r"\| Working time \| (\d+)", title)[1] == rows[lesson.name], lesson.name


def test_every_make_target_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"`?make ([a-z-]+)", README)) - {"make"} <= targets


def test_the_picture_is_one_that_a_lesson_measured():
    checked = subprocess.run(
        [sys.executable, ROOT / "tools" / "readme_picture.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout


def test_every_picture_has_alt_text():
    assert all(alt.strip() for alt in re.findall(r"!\[([^\]]*)\]", README))
