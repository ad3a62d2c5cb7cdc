"""What README and the other pages say is there is there. tests/integration/test_fresh_clone.py runs their commands."""

import re
import subprocess
import sys
from pathlib import Path

import badges
import pytest
from documents import PAGES, README, ROOT, commands, links, text_of
from lessons import anchors, lesson_paths, read

import notebooks

LINKS = sorted({(page, link) for page in PAGES for link in links(page)})
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@pytest.mark.parametrize(("page", "link"), LINKS, ids=str)
def test_every_link_and_figure_leads_somewhere(page: Path, link: str) -> None:
    name, _, anchor = link.partition("#")
    target = page.parent / name
    assert target.exists(), link
    assert not anchor or anchor.lower() in anchors(read(target)), link


def test_the_table_lists_every_lesson_with_its_minutes() -> None:
    row = re.compile(r"^\| \[.*?\]\(notebooks/(\w+\.ipynb)\) \| (\d+) \|", re.MULTILINE)
    titles = {path.name: read(path).cells[0].source for path in lesson_paths()}
    minutes = {name: re.search(r"\| Working time \| (\d+)", title)[1] for name, title in titles.items()}
    assert row.findall(text_of(README)) == list(minutes.items())


@each_page
def test_every_make_target_exists_and_every_picture_has_alt_text(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", text_of(ROOT / "Makefile"), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", text_of(page), re.MULTILINE)) <= targets
    assert all(alt.strip() for alt in re.findall(r"!\[([^\]]*)\]", text_of(page)))


def test_the_pictures_are_those_that_lessons_measured() -> None:
    pictures = [notebooks.pictures(path, read(path)) for path in lesson_paths()]
    measured = {file: content for each in pictures for file, content in each.items()}
    assert {file: file.read_bytes() for file in notebooks.IMAGES.iterdir()} == measured
    assert len(measured) == len(notebooks.PICTURED)


def test_the_numbers_are_those_that_were_measured() -> None:
    command = [sys.executable, ROOT / "benchmarks" / "summary.py", "--check"]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    page = text_of(ROOT / "site" / "code.md")
    said = page.partition("<!-- measured")[2].partition("<!-- end of measured")[0]
    assert len(re.findall(r"^\| .* \| [\d,]+ \| [\d,.]+ \|$", said, re.MULTILINE)) >= 3


def test_the_readme_is_one_screen_with_badges_and_two_commands() -> None:
    text = text_of(README)
    assert len(text.splitlines()) <= 60
    assert re.findall(r"^make (\w+)", text, re.MULTILINE) == ["lab", "test"] and commands(README) == []
    published = re.search(r"codespaces\.new/([\w.-]+/[\w.-]+)\)", text)
    assert badges.with_badges(text, published[1] if published else "") == text


def test_badges_lead_to_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(badges, "ROOT", tmp_path)
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    remote = ["git", "-C", tmp_path, "config", "remote.origin.url"]
    assert badges.repository() == ""
    for origin, named in {
        "https://github.com/ana/data.lessons.git": "ana/data.lessons",
        "git@github.com:ana/lessons": "ana/lessons",
        "https://example.org/ana/lessons.git": "",
    }.items():
        subprocess.run([*remote, origin], check=True)
        assert badges.repository() == named
        links = re.findall(r"\]\(([^()]+)\)$", badges.readme_badges(named), re.MULTILINE)
        assert [link.startswith("https://") and named in link for link in links] == [named != ""] * 4
    monkeypatch.setenv("GITHUB_REPOSITORY", "ana/from-a-workflow")
    assert badges.repository() == "ana/from-a-workflow"


@pytest.mark.parametrize(
    ("page", "lesson", "source"),
    [
        ("notebooks/04_schema_versions", "04_schema_versions", "notebooks/04_schema_versions.ipynb"),
        ("index", "00_start_here", "site/index.md"),
        ("compose/README", "00_start_here", "compose/README.md"),
        ("api/stage", "00_start_here", ""),
    ],
)
def test_a_page_of_the_site_has_its_buttons(page: str, lesson: str, source: str) -> None:
    urls = {button["label"]: button["url"] for button in badges.page_buttons(page, "ana/lessons")}
    assert urls["launch-button"].endswith(f"/ana/lessons/main?urlpath=lab/tree/{lesson}.ipynb")
    assert urls.get("edit-button", "") == (source and f"https://github.dev/ana/lessons/blob/main/{source}")
    assert urls["issue-button"].startswith("https://github.com/ana/lessons/issues/")
    assert badges.page_buttons(page, "") == []
