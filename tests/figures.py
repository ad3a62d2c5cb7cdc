"""The figures of the lessons, drawn again from the data of recorded runs, and what is wrong with them as pictures.

    .venv/bin/python tests/figures.py quiet [notebooks/02_scaling_out_with_celery.ipynb …]

executes lessons one by one and writes the data of their figures into `tests/figures/quiet/`. Without names it takes the lessons
whose data is missing, so you can stop it and start it again. Run it on a quiet machine, once more there (`again`), and
beside other work (`busy`): what fits on one day may overlap on another. The run `es` is one of the Spanish edition.
"""

from __future__ import annotations

import ast
import lzma
import pickle
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from itertools import combinations
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

import lessons  # noqa: E402
import pandas as pd  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.legend import Legend  # noqa: E402
from matplotlib.text import Text  # noqa: E402
from matplotlib.transforms import Bbox  # noqa: E402
from nbformat import NotebookNode  # noqa: E402
from translations import into  # noqa: E402

from lib import plots  # noqa: E402
from lib.stage.live import LiveLoad  # noqa: E402

LIBRARIES = "builtins collections copyreg datetime decimal enum numpy pandas pyarrow zoneinfo"
DATA = (*LIBRARIES.split(), "lib.benchmark", "lib.deployment", "lib.guesses", "lib.scaling", "lib.versioning")
RECORDED = Path(__file__).with_name("figures")
STORE = "__import__('sys').path.append({!r}); __import__('figures').store({!r}, {!r}, globals())\n"


def edition(path: Path, run: str) -> NotebookNode:
    """A lesson as it is in a run: `es` is one of the Spanish edition."""
    return into("es" if run == "es" else "en")(path, lessons.read(path))


def data_of(path: Path, run: str) -> dict[str, Path]:
    """The files with the data of a lesson's figures, by the ids of the cells that show them."""
    cells = lessons.code_cells(lessons.read(path))
    shown = [cell.id for cell in cells if re.search(r"plots\.(show|explore)\(", cell.source)]
    return {name: RECORDED / run / f"{path.name[:2]}-{name}.pickle.xz" for name in shown}


def needed(nb: NotebookNode, cell: NotebookNode) -> tuple[list[str], str]:
    """What a cell takes from the cells above: names of values, and the code of imports, functions and classes."""
    cells = lessons.code_cells(nb)
    above = [node for other in cells[: cells.index(cell)] for node in lessons.parse(other).body]
    defined = {node.name: node for node in above if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    names, todo = set(re.findall(r"@(\w+)", cell.source)), [lessons.parse(cell)]  # @: in a pandas query
    while todo:
        found = {node.id for node in ast.walk(todo.pop()) if isinstance(node, ast.Name)} - names
        todo += [defined[name] for name in found & defined.keys()]
        names |= found
    code = [node for node in above if isinstance(node, ast.Import | ast.ImportFrom)]
    code += [node for name, node in defined.items() if name in names]
    return sorted(names - defined.keys() - {"fig", "ax", "axes"}), "\n".join(map(ast.unparse, code))


class _Pickler(pickle.Pickler):
    """Stores data, and None for everything else, such as functions of the lesson, servers and threads."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, LiveLoad):
            seen = ("_statements", "_samples", "_spans")
            return object.__new__, (LiveLoad,), {name: vars(value)[name] for name in seen}
        with suppress(TypeError, AttributeError, pickle.PicklingError):
            if callable(value):
                known = value.__module__ != "__main__" and pickle.dumps(value)
            else:
                known = type(value).__module__.startswith(DATA) and value.__reduce_ex__(4)
            if known:
                return NotImplemented
        return type(None), ()


def store(file: str, names: list[str], values: dict[str, Any]) -> None:
    """Write the values of these names so that `pandas.read_pickle`, of later releases as well, reads them."""
    with lzma.open(file, "wb") as recorded:
        _Pickler(recorded, protocol=4).dump({name: values[name] for name in names if name in values})


def record(path: Path, run: str) -> None:
    """Execute a lesson and store what its figures are drawn from, without the figures whose cells failed."""
    from notebooks import execute

    nb, files = edition(path, run), data_of(path, run)
    (RECORDED / run).mkdir(parents=True, exist_ok=True)
    for cell in [cell for cell in nb.cells if cell.id in files]:
        code = STORE.format(str(Path(__file__).parent), str(files[cell.id]), needed(nb, cell)[0])
        cell.source = code + cell.source
    for cell in lessons.code_cells(execute(nb, path.parent, allow_errors=True)):
        failed = any("traceback" in output for output in cell.outputs)
        if failed and "raises-exception" not in lessons.tags(cell):
            print(f"    cell '{cell.id}' failed", flush=True)
            files.get(cell.id, Path("none")).unlink(missing_ok=True)


def redraw(nb: NotebookNode, cell: NotebookNode, file: Path) -> list[Figure]:
    """The figures of a cell, from recorded data, with sliders at their start."""
    shown, scope = list[Figure](), pd.read_pickle(file)
    exec(needed(nb, cell)[1], scope)  # noqa: S102
    with mock.patch.multiple(plots, png=lambda fig, alt: shown.append(fig) or b"", display=mock.DEFAULT):
        exec(cell.source, scope)  # noqa: S102
    return shown


def texts_of(fig: Figure) -> dict[Text, Bbox]:
    """Where the texts are, with their boxes, that a reader sees: no ticks outside the axes, for example."""
    drawn, draw = list[Text](), Text.draw
    with mock.patch.object(Text, "draw", lambda text, canvas: drawn.append(text) or draw(text, canvas)):
        fig.draw_without_rendering()
        fig.draw_without_rendering()  # twice, as lib.plots does
    seen = [text for text in drawn if text.get_visible() and text.get_text().strip()]
    return {text: (text.get_bbox_patch() or text).get_window_extent() for text in seen}


def problems(fig: Figure) -> Iterator[str]:
    """What a reader would see wrong: a text over another or cut off, a legend over data, a title that says nothing."""
    boxes = texts_of(fig)
    for one, other in combinations(boxes, 2):
        if boxes[one].padded(-1).overlaps(boxes[other].padded(-1)):
            yield f"{one.get_text()!r} over {other.get_text()!r}"
    for text, box in boxes.items():
        if (box.min < -1).any() or (box.max > fig.bbox.max + 1).any():
            yield f"{text.get_text()!r} is cut off"
    for legend in fig.findobj(Legend):
        lines, bars, area = legend.axes.lines, legend.axes.patches, legend.get_window_extent()
        paths = {data: data.get_transform().transform_path(data.get_path()) for data in [*lines, *bars]}
        if any(path.intersects_bbox(area, filled=data in bars) for data, path in paths.items()):
            yield "a legend over data"
    titles = [
        fig.get_suptitle(),
        *(ax.get_title(loc=loc) for ax in fig.axes for loc in ("left", "center", "right")),
    ]
    diagram = not any([*titles, *(ax.axison for ax in fig.axes)])  # it needs no title
    if not diagram and all(len(title.split()) < 4 for title in titles):
        yield f"no title that is a sentence: {titles}"


if __name__ == "__main__":
    run, *names = sys.argv[1:] or [""]
    if run not in ("quiet", "again", "busy", "es"):
        sys.exit(__doc__)
    for path in lessons.named_paths(names):
        if names or not all(file.exists() for file in data_of(path, run).values()):
            print(lessons.display_path(path), flush=True)
            record(path, run)
