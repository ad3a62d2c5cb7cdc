"""Execute lessons, each in a fresh kernel in its own folder, and store their outputs.

    python tools/notebooks.py [notebooks/04_schema_versions.ipynb …]

If a re-run changes nothing relevant, the file stays the same, byte for byte. Relevant is what nbval compares: not the pixels of
a figure, nor the outputs of cells tagged `nbval-ignore-output`. After a relevant change all outputs are stored, so that the
figures and tables of a notebook come from one run. `--force` stores in any case (after a change of the
figure style, say). When a cell fails, the file stays as it was.
"""

from __future__ import annotations

import base64
import copy
import os
import sys
import time
from pathlib import Path

import lessons
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode, from_dict

IMAGES = lessons.LESSONS / "images"
#: Figures that README and the site's first page show: the numbers of their lessons, and the ids of their cells.
PICTURED = {
    "01": "draw-usl",
    "02": "draw-speed-up",
    "03": "draw-storm",
    "06": "timeline",
    "10": "draw-instants",
    "14": "draw-alert",
}
CELL_TIMEOUT = 120  # seconds
WIDGET = "application/vnd.jupyter.widget-view+json"
NOT_COMPARED = {"metadata", "traceback", "execution_count", "data", "image/png", "image/jpeg", WIDGET}


class CellFailedError(RuntimeError):
    """A cell of a lesson raised an error, hung, or killed its kernel. The message names the cell and shows the error."""


def execute(nb: NotebookNode, folder: Path, allow_errors: bool = False) -> NotebookNode:
    """Run a copy of the notebook in a fresh kernel of this Python, in `folder`, and return it with its outputs.

    Raises:
        CellFailedError: a cell raised (unless it is tagged `raises-exception`, or `allow_errors`), ran for more than two
            minutes, or its kernel died.
    """
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # the kernel of this environment, not one in the user's home
    fresh = copy.deepcopy(nb)
    running = []
    client = NotebookClient(
        fresh,
        timeout=CELL_TIMEOUT,
        kernel_name=lessons.KERNELSPEC["name"],
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        store_widget_state=False,
        allow_errors=allow_errors,
        shutdown_kernel="immediate",
        extra_arguments=["--log-level=40"],  # no warning that local traffic is not encrypted
        on_cell_start=lambda cell, cell_index: running.append(cell),
    )
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        report = lessons.ANSI.sub("", str(error)).strip()
        raise CellFailedError(f"cell '{running[-1].id}' failed:\n{report}") from error
    except AssertionError:
        if client.km is None:  # nbclient stopped the kernel on Ctrl-C or SIGTERM, and then fails
            sys.exit("interrupted; the file was left as it was")
        raise
    return tidy(fresh)


def shorten_paths(text: str) -> str:
    """Return a traceback that is the same on every machine: with paths relative to the repository or the environment."""
    home = str(Path.home())
    for place, short in [(sys.prefix, "site/"), (str(lessons.ROOT), ""), (sys.base_prefix, "python/")]:
        for form in {place, "~" + place.removeprefix(home)} if place.startswith(home + "/") else {place}:
            text = text.replace(form + "/", short)
    return text


def tidy(nb: NotebookNode) -> NotebookNode:
    """Return a copy without machine-dependent parts: time stamps, widgets, view state, language version, absolute paths."""
    nb = copy.deepcopy(nb)
    own = {"kernelspec": lessons.KERNELSPEC, "language_info": {"name": "python"}}
    nb.metadata = from_dict({**own, "lesson": nb.metadata.get("lesson", {})})
    for cell in nb.cells:
        kept = [key for key in ("tags", "nbgrader") if cell.metadata.get(key)]
        cell.metadata = NotebookNode({key: cell.metadata[key] for key in kept})
        if cell.cell_type == "code":
            cell.outputs = join_streams(cell.outputs)
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(
                WIDGET, None
            )  # a widget does not work without its kernel; its picture stays
            if "traceback" in output:
                output.traceback = [shorten_paths(line) for line in output.traceback]
    return nb


def join_streams(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Join printed text, which a kernel sends in arbitrary pieces."""
    joined: list[NotebookNode] = []
    for output in outputs:
        if joined and "name" in output and joined[-1].get("name") == output.name:
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def compared(cell: NotebookNode) -> list[dict[str, object]] | None:
    """Return the parts of a cell's outputs that nbval compares: no images, and nothing if its tag says so."""
    if "nbval-ignore-output" in lessons.tags(cell):
        return None
    return [
        {key: value for key, value in (output | output.get("data", {})).items() if key not in NOT_COMPARED}
        for output in cell.outputs
    ]


def pictures(path: Path, nb: NotebookNode) -> dict[Path, bytes]:
    """The figure of a lesson that pages show, by its file; empty for other notebooks."""
    number = path.name[:2] if path.parent == lessons.LESSONS else ""
    return {
        IMAGES / f"{number}-{cell.id}.png": base64.b64decode(output.data["image/png"])
        for cell in lessons.code_cells(nb)
        for output in cell.outputs
        if cell.id == PICTURED.get(number) and "image/png" in output.get("data", {})
    }


def refresh(path: Path, force: bool = False) -> str:
    """Execute one notebook, store it if something changed, and return a short description of the change."""
    old = lessons.read(path)
    old.cells[0].source = lessons.WORKING_TIME.sub(str(lessons.minutes(old)), old.cells[0].source)
    new = execute(old, path.parent)
    reasons = [] if old.metadata.get("lesson", {}).get("code_sha256") == lessons.code_hash(old) else ["code"]
    changed = [
        after.id
        for before, after in zip(lessons.code_cells(tidy(old)), lessons.code_cells(new), strict=True)
        if before.execution_count != after.execution_count or compared(before) != compared(after)
    ]
    reasons += [f"outputs of {', '.join(changed)}"] if changed else []
    if lessons.dumps(tidy(old)) != path.read_text(encoding="utf-8"):
        reasons.append("format")
    if not reasons and not force:
        return "unchanged, nothing stored"
    new.metadata.lesson = NotebookNode({"measures": False, **old.metadata.get("lesson", {})})
    new.metadata.lesson.code_sha256 = lessons.code_hash(new)
    lessons.write_atomically(path, lessons.dumps(new).encode())
    for file, content in pictures(path, new).items():
        lessons.write_atomically(file, content)
    return f"stored (changed: {'; '.join(reasons) or 'nothing, but --force was given'})"


def main() -> int:
    """Refresh the notebooks named on the command line."""
    parser = lessons.command_line(__doc__)
    parser.add_argument("notebooks", nargs="*", help="paths of notebooks; default: all lessons")
    parser.add_argument("--force", action="store_true", help="store them even when nothing has changed")
    options = parser.parse_args()
    failed = 0
    for path in lessons.named_paths(options.notebooks):
        print(f"{lessons.display_path(path)} … ", end="", flush=True)
        started = time.monotonic()
        try:
            outcome = refresh(path, options.force)
        except CellFailedError as error:
            failed, outcome = failed + 1, f"FAILED, file left as it was: {error}"
        print(f"{time.monotonic() - started:.1f} s: {outcome}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
