"""Links to start, edit and report from a browser: badges in the README, buttons on each page of the site.

    .venv/bin/python site/badges.py    write the badges into the README

The project does not know where it is published. It reads GITHUB_REPOSITORY, which GitHub sets in workflows, or the git remote `origin`.
Without an address the README's badges lead to pages of the project itself, and the site has no buttons.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
BINDER, ISSUE = "https://mybinder.org/v2/gh", "issues/new/choose"
#: Picture, text, icon, address on the web, and where the README leads without one. GitHub resolves the last of these for each fork.
BADGES = [
    ("launch", "Launch on Binder", "fas fa-rocket", f"{BINDER}/{{repository}}/main?urlpath=lab/tree/{{lesson}}", "site/start.md"),
    ("codespace", "Open in Codespaces", "fas fa-laptop-code", "https://codespaces.new/{repository}", "site/start.md"),
    ("edit", "Edit", "fas fa-pencil-alt", "https://github.dev/{repository}/blob/main/{source}", "CONTRIBUTING.md"),
    ("issue", "Report a problem", "far fa-lightbulb", f"https://github.com/{{repository}}/{ISSUE}", f"../../{ISSUE}"),
]  # fmt: skip


def repository() -> str:
    """The repository on GitHub as `owner/name`; empty if it is unknown."""
    remote = ["git", "-C", str(ROOT), "remote", "get-url", "origin"]
    url = subprocess.run(remote, capture_output=True, text=True).stdout
    found = re.search(r"github\.com[:/]([\w.-]+/[\w.-]+?)(?:\.git)?/?$", url.strip())
    return os.environ.get("GITHUB_REPOSITORY") or (found[1] if found else "")


def readme_badges(repository: str) -> str:
    """The README's line of badges."""
    places = {"repository": repository, "lesson": "00_start_here.ipynb", "source": "README.md"}
    return "\n".join(
        f"[![{text}](site/badges/{picture}.svg)]({web.format(**places) if repository else inside})"
        for picture, text, _, web, inside in BADGES
    )


def page_buttons(page: str, repository: str) -> list[dict[str, str]]:
    """The buttons of the theme at the top of a page, which it names without a suffix. Generated pages have no edit button."""
    sources = [f"{page}.ipynb", f"{page}.md", f"site/{page}.md"]
    source = next((path for path in sources if (ROOT / path).is_file()), "")
    lesson = Path(source).name if source.endswith(".ipynb") else "00_start_here.ipynb"
    places = {"repository": repository, "lesson": lesson, "source": source}
    return [
        {
            "type": "link",
            "label": f"{name}-button",
            "tooltip": text,
            "icon": icon,
            "url": web.format(**places),
        }
        for name, text, icon, web, _ in BADGES
        if repository and (source or name != "edit")
    ]


def with_badges(readme: str, repository: str) -> str:
    """The README with its badges for a repository."""
    marks = re.compile(r"(<!-- badges.*?-->\n).*?(<!-- end of badges -->)", re.DOTALL)
    return marks.sub(lambda found: f"{found[1]}\n{readme_badges(repository)}\n\n{found[2]}", readme)


if __name__ == "__main__":
    name = repository()
    README.write_text(with_badges(README.read_text(encoding="utf-8"), name), encoding="utf-8")
    print(
        f"The badges of README.md lead to {name}."
        if name
        else "No address: set GITHUB_REPOSITORY=owner/name."
    )
