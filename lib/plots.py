"""One figure style for all lessons: readable on a light and on a dark page, without colour, and without eyes.

fig, ax = subplots()
ax.plot(workers, rate, label="measured", **LOOKS["measured"])
label_lines(ax)
show(fig, alt="Throughput over workers: it grows to 3 workers and stays there.")
"""

from __future__ import annotations

import base64
import io
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
    "font.family": "DejaVu Sans",  # comes with Matplotlib, so that pictures are the same on every machine
    "font.size": 10,
    "grid.color": "#E5E5E5",
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "savefig.facecolor": "white",
}


def subplots(
    rows: int = 1, columns: int = 1, *, width: float = 7.0, height: float = 3.6, **options: Any
) -> tuple[Figure, Any]:
    """`matplotlib.pyplot.subplots` in the style of the lessons (which then holds for the rest of the session).

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
    """Write each line's label at its right end, in its colour, in place of a legend.

    Call it last, when the limits of the axes are settled. Labels that would overlap are moved apart vertically.

    Args:
        ax: the axes; lines without a label are left out.
        gap: the smallest distance between two labels, as a share of the height of the axes.
    """
    lines = [
        line for line in ax.get_lines() if not str(line.get_label()).startswith("_") and len(line.get_xdata())
    ]
    ax.get_ylim()  # settles limits that Matplotlib computes late, on which the transformation depends
    to_share = ax.transData + ax.transAxes.inverted()
    ends = [(to_share.transform((line.get_xdata()[-1], line.get_ydata()[-1]))[1], line) for line in lines]
    lowest = 0.0
    for share, line in sorted(ends, key=lambda end: end[0]):
        lowest = max(share, lowest)
        place = {"xycoords": ("data", "axes fraction"), "xytext": (8, 0), "textcoords": "offset points"}
        look = {"color": line.get_color(), "va": "center", "annotation_clip": False}
        ax.annotate(str(line.get_label()), (line.get_xdata()[-1], lowest), **place, **look)
        lowest += gap


def png(fig: Figure, alt: str) -> bytes:
    """The figure as PNG bytes, the same for the same figure, with `alt` as the picture's description."""
    for _ in range(2):  # the first draw moves the axes, the second one what hangs on them
        fig.draw_without_rendering()
    fig.set_layout_engine("none")  # so that every later drawing is the same
    buffer, metadata = io.BytesIO(), {"Software": None, "Description": alt}
    fig.savefig(buffer, format="png", dpi=DPI, facecolor="white", metadata=metadata)
    return buffer.getvalue()


def show(fig: Figure, *, alt: str) -> None:
    """Display a figure with its alt text and close it. Raises ValueError for an empty one.

    The alt text goes into the output's metadata (for pages made from the notebook) and is the output's plain text (for
    terminals, for readers of the file, and for nbval, which compares it).
    """
    if not alt.strip():
        raise ValueError(
            "alt is empty: say in a sentence what the figure shows, for readers who cannot see it."
        )
    data = {"image/png": base64.b64encode(png(fig, alt)).decode(), "text/plain": alt}
    plt.close(fig)
    display(data, metadata={"image/png": {"alt": alt}}, raw=True)
