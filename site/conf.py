"""The readable edition: every lesson as it is stored, and the documentation of `lib`. Built by tools/build_site.py, without a network."""

from __future__ import annotations

import ast
import re
from itertools import groupby
from pathlib import Path
from textwrap import dedent

import code_pages
from badges import ROOT, page_buttons, repository
from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

project = "Data pipelines without downtime"
author = "The zero-downtime pipelines contributors"
copyright = "the contributors. Code: MIT. Lessons: CC BY 4.0"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
html_theme = "sphinx_book_theme"
html_theme_options = {"use_download_button": True, "show_toc_level": 2, "navbar_persistent": []}
html_title = project
html_math_renderer = "mathml"
html_static_path = html_css_files = ["lessons.css", "print.css"]

# Lessons: nothing is executed, solutions are folded, and nothing is loaded from elsewhere.
nb_execution_mode = "off"
nb_ipywidgets_js = {}
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
myst_heading_slug_func = "lessons.anchor"  # as JupyterLab makes them, so that a link works in both

default_role = "code"  # docstrings write names in single backticks
autodoc_member_order = "bysource"
autodoc_typehints = "description"
# Two rooms have a class called Settings; a link without its module may lead to either.
suppress_warnings = ["ref.python"]

PARAMETER = re.compile(r"(\w+(?:, \w+)*): (.+)")


def does_something(block: list[str]) -> bool:
    """Whether a paragraph is Python with a call or an assignment: prose is not."""
    try:
        tree = ast.parse(dedent("\n".join(block)))
    except SyntaxError:
        return False
    return any(isinstance(node, ast.Call | ast.Assign) for node in ast.walk(tree))


def as_rst(block: list[str]) -> list[str]:
    """A paragraph of a docstring, in the markup that Sphinx reads: examples, and lines such as `timeout: in seconds`."""
    is_python = does_something(block)
    if is_python or block[0].startswith(" "):
        language = "python" if is_python else "text"
        return [f".. code-block:: {language}", "", *("    " + line for line in block)]
    if not PARAMETER.fullmatch(block[0]):
        return block
    lines: list[str] = []
    for line in block:
        if found := PARAMETER.fullmatch(line):
            lines.append(f":param {found[1]}: {found[2]}")
        else:
            lines += [line] if line.startswith(" ") else ["", line]
    return lines


def mark_up(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Give `lib`'s docstrings, which are written to be read in the source, the markup that Sphinx needs."""
    blocks = [list(group) for filled, group in groupby(lines, key=bool) if filled]
    lines[:] = [line for block in blocks for line in [*as_rst(block), ""]]


def math(self: HTML5Translator, node: nodes.math | nodes.math_block) -> None:
    """A formula as MathML, which browsers draw by themselves: MathJax would have to be fetched."""
    self.body.append(
        tex2mathml(node.astext().replace("≈", r"\approx "), as_block=isinstance(node, nodes.math_block))
    )
    raise nodes.SkipNode


def add_buttons(app: Sphinx, page: str, template: str, context: dict[str, object], doctree: object) -> None:
    """Put buttons to launch, edit and report at the top of a page, if it is known where the project is published."""
    buttons = page_buttons(page, repository()) + other_languages(page, app.config.language)
    context["header_buttons"] = buttons + context["header_buttons"]


def other_languages(page: str, language: str) -> list[dict[str, str]]:
    """A button that leads to the same page in each other language that has it. English is at the top, the others are in folders."""
    up = "../" * (page.count("/") + (language != "en"))
    translated = page.startswith("notebooks/") or (ROOT / "site" / "es" / f"{page}.md").exists()
    found = {"es": ("En español", f"{up}es/{page}.html")} if translated else {}
    found["en"] = ("In English", f"{up}{page}.html")
    return [
        {"type": "link", "label": f"{name}-button", "tooltip": text, "icon": "fas fa-language", "url": url}
        for name, (text, url) in found.items()
        if name != language
    ]


def setup(app: Sphinx) -> None:
    """Connect what is defined above, and write the pages about the code, which are in English."""
    if app.config.language == "en":
        code_pages.write(Path(app.srcdir, "api"))
    if app.config.language == "es":
        app.config.html_title = "Pipelines de datos sin tiempo de inactividad"
    app.connect("html-page-context", add_buttons, priority=900)  # after the theme
    app.connect("autodoc-process-docstring", mark_up, priority=400)  # before napoleon
    app.add_html_math_renderer("mathml", inline_renderers=(math, None), block_renderers=(math, None))
