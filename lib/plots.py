"""One figure style for all lessons: readable on a light and on a dark page, without colour, and with a screen reader.

fig, ax = subplots()
ax.plot(workers, rate, label="measured", **LOOKS["measured"])
label_lines(ax)
show(fig, alt="Throughput over workers: it grows to 3 workers and stays there.")
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib.pyplot as plt
from cycler import cycler
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.figure import Figure

DPI = 100

# Okabe and Ito's palette for colour-blind readers, without its yellow, which is too pale on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
MARKERS = ("o", "^", "s", "D", "v", "P", "X")

# The same thing looks the same in every lesson: pass `**LOOKS["measured"]` to a plotting method of Matplotlib.
LOOKS: dict[str, dict[str, Any]] = {
    "blue": {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    "green": {"color": "#009E73", "marker": "s", "linestyle": "-"},
    "predicted": {"color": "#767676", "marker": "", "linestyle": "--"},
    "measured": {"color": "#000000", "marker": "D", "linestyle": "-"},
    "failed": {"color": "#D55E00", "marker": "X", "linestyle": ""},
}
COLORS = {meaning: look["color"] for meaning, look in LOOKS.items()}

STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.prop_cycle": cycler(color=PALETTE) + cycler(marker=MARKERS),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "figure.constrained_layout.use": True,
    "figure.facecolor": "white",
    "font.family": "DejaVu Sans",  # comes with Matplotlib, so figures are the same on every machine
    "font.size": 10,
    "grid.color": "#E5E5E5",
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "savefig.facecolor": "white",
}


def subplots(
    rows: int = 1, columns: int = 1, *, width: float = 7.0, height: float = 3.6, **options: Any
) -> tuple[Figure, Any]:
    """Call `matplotlib.pyplot.subplots` in the style of the lessons (which stays set for the rest of the session).

    Args:
        rows, columns: the grid of axes.
        width, height: of the whole figure, in inches.
        options: passed on, such as `sharex=True`.

    Returns:
        The figure, and one `Axes` or an array of them, as Matplotlib does.
    """
    plt.rcParams.update(STYLE)
    return plt.subplots(rows, columns, figsize=(width, height), **options)


def label_lines(ax: Axes, gap: float = 0.06) -> None:
    """Write each line's label at its right end, in its colour, instead of a legend.

    Call it last, when the limits of the axes are final. Labels that would overlap are moved apart vertically.

    Args:
        ax: the axes; lines without a label are left out.
        gap: the smallest distance between two labels, as a share of the height of the axes.
    """
    lines = [
        line for line in ax.get_lines() if not str(line.get_label()).startswith("_") and len(line.get_xdata())
    ]
    ax.get_ylim()  # makes Matplotlib compute the limits, on which the transformation depends
    to_share = ax.transData + ax.transAxes.inverted()
    ends = [(to_share.transform((line.get_xdata()[-1], line.get_ydata()[-1]))[1], line) for line in lines]
    lowest = 0.0
    for share, line in sorted(ends, key=lambda end: end[0]):
        lowest = max(share, lowest)
        place = {"xycoords": ("data", "axes fraction"), "xytext": (8, 0), "textcoords": "offset points"}
        look = {"color": line.get_color(), "va": "center", "annotation_clip": False}
        ax.annotate(str(line.get_label()), (line.get_xdata()[-1], lowest), **place, **look)
        lowest += gap


def diagram(
    boxes: dict[str, tuple[float, float, str, str]], arrows: Sequence[str], *, height: float = 2.1
) -> Figure:
    """Draw who talks to whom: boxes with a text, joined by arrows.

    Args:
        boxes: by name: x, y, text, and a meaning of `COLORS`. Two units of x hold about 18 letters, one of y two or three lines.
        arrows: such as "notebook -> broker" or "worker <-> broker"; `-` draws a line.
        height: of the figure, in inches.

    Raises:
        KeyError: an arrow or a box names a box or a colour that does not exist.
    """
    fig, ax = subplots(height=height)
    texts = {}
    for name, (x, y, text, meaning) in boxes.items():
        style = {"boxstyle": "round,pad=0.6", "color": COLORS[meaning]}
        texts[name] = ax.text(x, y, text, ha="center", va="center", color="white", size=9, bbox=style)
    for arrow in arrows:
        start, style, end = arrow.split()
        ends = {"patchA": texts[start].get_bbox_patch(), "patchB": texts[end].get_bbox_patch()}
        look = {"arrowstyle": style, "lw": 1.6, "shrinkA": 3, "shrinkB": 3, "zorder": 0}
        ax.annotate("", boxes[end][:2], boxes[start][:2], arrowprops=look | ends)
    places = [place[:2] for place in boxes.values()]
    (left, right), (low, high) = ((min(values), max(values)) for values in zip(*places, strict=True))
    ax.set(xlim=(left - 0.9, right + 0.9), ylim=(low - 0.6, high + 0.6))
    ax.axis("off")
    return fig


def sequence(actors: Sequence[str], steps: Sequence[tuple[str, str, str, str]], *, title: str) -> Figure:
    """Draw what happened in which order, from top to bottom: a column for each actor, an arrow for each step.

    Args:
        actors: names, from left to right.
        steps: in order: from, to (if equal: a note on that actor's line), text, and a meaning of `COLORS`.
        title: the finding.

    Raises:
        ValueError: a step names an unknown actor.
    """
    fig, ax = subplots(height=0.8 + 0.42 * len(steps))
    for place, name in enumerate(actors):
        ax.plot([place, place], [-0.6, len(steps) - 0.4], color="#BBBBBB", marker="", zorder=0)
        ax.text(place, -0.8, name, ha="center", weight="bold")
    for row, (start, end, text, meaning) in enumerate(steps):
        begin, target = actors.index(start), actors.index(end)
        look = {"ha": "center", "va": "bottom", "size": 9, "color": COLORS[meaning]}
        back = {"facecolor": "white", "edgecolor": "white", "boxstyle": "round,pad=0.1"}
        if begin == target:
            back = {"facecolor": "white", "edgecolor": COLORS[meaning], "boxstyle": "round,pad=0.25"}
            ax.text(begin, row, text, **look | {"va": "center", "bbox": back})
        else:
            ax.annotate(
                "",
                (target, row),
                (begin, row),
                arrowprops={"arrowstyle": "->", "color": COLORS[meaning], "lw": 1.6},
            )
            ax.text((begin + target) / 2, row - 0.1, text, bbox=back, **look)
    ax.set(xlim=(-0.6, len(actors) - 0.4), ylim=(len(steps) - 0.4, -1.1), title=title)
    ax.axis("off")
    return fig


def png(fig: Figure, alt: str) -> bytes:
    """Return the figure as PNG bytes, the same for the same figure, with `alt` as the image description."""
    for _ in range(2):  # the first draw moves the axes, the second what is attached to them
        fig.draw_without_rendering()
    fig.set_layout_engine("none")  # so that every later drawing is the same
    buffer, metadata = io.BytesIO(), {"Software": None, "Description": alt}
    fig.savefig(buffer, format="png", dpi=DPI, facecolor="white", metadata=metadata)
    return buffer.getvalue()


def _bundle(picture: bytes, alt: str) -> dict[str, str]:
    """The picture for JupyterLab and pages, and its description as text: for terminals, readers of the file, and nbval."""
    return {"image/png": base64.b64encode(picture).decode(), "text/plain": alt}


def show(fig: Figure, *, alt: str) -> None:
    """Display a figure with its alt text and close it. Raises ValueError for an empty one."""
    if not alt.strip():
        raise ValueError(
            "alt is empty: say in a sentence what the figure shows, for readers who cannot see it."
        )
    data = _bundle(png(fig, alt), alt)
    plt.close(fig)
    display(data, metadata={"image/png": {"alt": alt}}, raw=True)


def explore(draw: Callable[..., Figure], *, alt: str, **sliders: Sequence[float]) -> None:
    """Show sliders that redraw a figure in JupyterLab; everywhere else, the figure as it is at the start.

    Args:
        draw: makes a new figure from the values of all sliders, which it gets by name.
        alt: describes the figure, whatever the values.
        sliders: for each name: value at the start, least, greatest, step. Whole numbers where all of these are.
    """
    import ipywidgets as widgets

    controls = {}
    for name, (value, least, greatest, step) in sliders.items():
        whole = all(isinstance(one, int) for one in sliders[name])
        limits = {"value": value, "min": least, "max": greatest, "step": step}
        controls[name] = (widgets.IntSlider if whole else widgets.FloatSlider)(**limits, description=name)
        if not whole:
            controls[name].readout_format = f".{len(str(step).partition('.')[2])}f"
    picture = widgets.Image(layout={"width": "700px"})

    def redraw(_: object = None) -> None:
        fig = draw(**{name: control.value for name, control in controls.items()})
        picture.value = png(fig, alt)
        plt.close(fig)

    for control in controls.values():
        control.observe(redraw, "value")
    redraw()
    panel = widgets.VBox([*controls.values(), picture])
    data = panel._repr_mimebundle_() | _bundle(picture.value, alt)
    display(data, metadata={"image/png": {"alt": alt}}, raw=True)
