"""The figures of the lessons, drawn again from the data of recorded runs, and what is wrong with them as pictures.

    .venv/bin/python tests/figures.py quiet [notebooks/02_scaling_out_with_celery.ipynb …]

executes lessons and writes the data that their figures were drawn from into `tests/figures/quiet/`. Record a run on a quiet machine,
another (`again`), and one beside other work (`busy`): what fits on one day may overlap on another.
"""

from __future__ import annotations

import ast
import lzma
import pickle
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

import lessons  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.text import Text  # noqa: E402
from nbformat import NotebookNode  # noqa: E402
from nbformat.v4 import new_code_cell  # noqa: E402

from lib import plots  # noqa: E402

RECORDED = Path(__file__).with_name("figures")
RECORD = """
import contextlib, lzma, pickle
with lzma.open({file!r}, "wb") as file:
    kept = {{}}
    for name in {names!r}:  # what can't be stored, such as a module or a server, is not drawn
        with contextlib.suppress(KeyError, TypeError, AttributeError, pickle.PicklingError):
            kept[name] = pickle.dumps(globals()[name])
    pickle.dump(kept, file)
"""


def drawing(nb: NotebookNode) -> list[NotebookNode]:
    """The cells of a lesson that show a figure with a title."""
    return [
        cell
        for cell in lessons.code_cells(nb)
        if "plots.show(" in cell.source and "diagram(" not in cell.source
    ]


def definitions(nb: NotebookNode) -> str:
    """What a lesson imports and defines, without what it does."""
    cells = [cell for cell in lessons.code_cells(nb) if not cell.source.startswith("%")]
    kept = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
    return "\n".join(
        ast.unparse(node) for cell in cells for node in lessons.parse(cell).body if isinstance(node, kept)
    )


def needed(nb: NotebookNode, cell: NotebookNode) -> list[str]:
    """The names whose values a drawing cell, and the functions that it may call, take from the cells above."""
    defined = {
        node.name: node
        for node in ast.parse(definitions(nb)).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }
    names, todo = set[str](), [ast.parse(cell.source)]
    while todo:
        found = {node.id for node in ast.walk(todo.pop()) if isinstance(node, ast.Name)} - names
        todo += [defined[name] for name in found & defined.keys()]
        names |= found
    return sorted(names - defined.keys())


def record(path: Path, folder: Path) -> None:
    """Execute a lesson and store what its drawing cells take from the cells above."""
    from notebooks import execute

    nb = lessons.read(path)
    folder.mkdir(parents=True, exist_ok=True)
    for cell in drawing(nb):
        file = folder / f"{path.name[:2]}-{cell.id}.xz"
        step = new_code_cell(RECORD.format(file=str(file), names=needed(nb, cell)), id=f"record-{cell.id}")
        nb.cells.insert(nb.cells.index(cell), step)
    execute(nb, path.parent)


def redraw(nb: NotebookNode, cell: NotebookNode, file: Path) -> list[Figure]:
    """The figures of a cell, from recorded data."""
    shown = list[Figure]()
    scope: dict[str, Any] = {}
    exec(definitions(nb), scope)  # noqa: S102
    with lzma.open(file) as recorded:
        scope |= {name: pickle.loads(value) for name, value in pickle.load(recorded).items()}
    show, plots.show = plots.show, lambda fig, *, alt: shown.append(fig)
    try:
        exec(cell.source, scope)  # noqa: S102
    finally:
        plots.show = show
    return shown


def problems(fig: Figure) -> Iterator[str]:
    """What a reader would see wrong: a text over another or cut off, a legend over data, a title that says nothing."""
    plots.png(fig, "drawn")  # places everything
    texts = [text for text in fig.findobj(Text) if text.get_visible() and text.get_text().strip()]
    boxes = {text: text.get_window_extent() for text in texts}
    ticks = {
        text for ax in fig.axes for axis in (ax.xaxis, ax.yaxis) for text in axis.get_ticklabels(which="both")
    }
    inside = fig.bbox.padded(1)
    for one, other in combinations(boxes, 2):
        if boxes[one].padded(-1).overlaps(boxes[other].padded(-1)):
            yield f"{one.get_text()!r} over {other.get_text()!r}"
    for text, box in boxes.items():
        if text not in ticks and not (inside.contains(*box.min) and inside.contains(*box.max)):
            yield f"{text.get_text()!r} is cut off"
    for legend in [ax.get_legend() for ax in fig.axes if ax.get_legend()]:
        area = legend.get_window_extent()
        points = [
            point
            for line in legend.axes.get_lines()
            for point in line.get_transform().transform(line.get_xydata())
        ]
        if area.count_contains(points):
            yield "a legend over data"
    titles = [ax.get_title(loc=loc) for ax in fig.axes for loc in ("left", "center")] + [fig.get_suptitle()]
    if not any(len(title.split()) >= 4 for title in titles):
        yield f"no title that is a sentence: {titles}"


if __name__ == "__main__":
    for path in lessons.named_paths(sys.argv[2:]):
        record(path, RECORDED / sys.argv[1])
        print(path.name, flush=True)
