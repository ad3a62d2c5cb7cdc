"""The pages about the code: the documentation of all public modules of `lib`, a page for each room. site/conf.py writes them."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIB = ROOT / "lib"
ROOMS = {
    "common": ("Tools of all lessons", LIB),
    "versioning": ("Records whose schema changes", LIB / "versioning"),
    "scaling": ("Work distributed over workers", LIB / "scaling"),
    "deployment": ("Services replaced under traffic", LIB / "deployment"),
    "platforms": ("Where a deployment runs", LIB / "deployment" / "platforms"),
    "stage": ("The stage of the lessons", LIB / "stage"),
}


def code_page(title: str, folder: Path) -> str:
    """Return the documentation of all public modules of a folder, from their docstrings."""
    package = ".".join(folder.relative_to(ROOT).parts)
    modules = [package] + [f"{package}.{path.stem}" for path in sorted(folder.glob("[!_]*.py"))]
    blocks = [
        f"## {module}\n\n```{{eval-rst}}\n.. automodule:: {module}\n"
        + ("" if module == package else "   :members:\n")
        + "```\n"
        for module in modules
    ]
    return f"# {title}\n\n" + "\n".join(blocks)


def write(folder: Path) -> None:
    """Write the pages into a folder, which is made if it does not exist."""
    folder.mkdir(exist_ok=True)
    for name, room in ROOMS.items():
        (folder / f"{name}.md").write_text(code_page(*room), encoding="utf-8")
