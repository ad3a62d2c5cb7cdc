"""Figures can be read by everyone, are small, and are the same in every run."""

from __future__ import annotations

import base64
import io
from itertools import pairwise
from typing import Any

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from lib import plots
from lib.plots import COLORS, LOOKS, PALETTE, label_lines, png, show, subplots

ALT = "Throughput grows up to three workers; «ñ» stays."


def curves() -> Figure:
    """Two measured curves with their labels."""
    fig, ax = subplots()
    ax.plot([1, 2, 3], [1.0, 1.9, 2.4], label="measured", **LOOKS["measured"])
    ax.plot([1, 2, 3], [1.0, 1.8, 2.45], label="predicted", **LOOKS["predicted"])
    ax.set_xlabel("workers")
    label_lines(ax)
    return fig


def contrast(color: str) -> float:
    """The contrast of a colour with white, by WCAG 2.2."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return 1.05 / (float(np.dot([0.2126, 0.7152, 0.0722], linear)) + 0.05)


def test_show_sends_the_alt_text_both_ways_and_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[dict[str, str], dict[str, Any]]] = []
    monkeypatch.setattr(plots, "display", lambda data, **options: sent.append((data, options)))
    fig = curves()
    assert show(fig, alt=ALT) is None
    [(data, options)] = sent
    assert options == {"raw": True, "metadata": {"image/png": {"alt": ALT}}}
    assert data["text/plain"] == ALT
    picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    assert picture.format == "PNG" and picture.info["Description"] == ALT
    assert not plt.fignum_exists(fig.number)


def test_same_figure_gives_the_same_bytes_on_opaque_white_whatever_the_session_prefers() -> None:
    fig = curves()
    assert png(fig, ALT) == png(fig, ALT) == png(curves(), ALT)
    with plt.rc_context({"savefig.transparent": True, "savefig.facecolor": "none"}):
        picture = Image.open(io.BytesIO(png(curves(), ALT))).convert("RGBA")
    assert picture.getpixel((0, 0)) == (255, 255, 255, 255) and picture.getextrema()[3] == (255, 255)


def test_figure_without_alt_text_is_refused() -> None:
    with pytest.raises(ValueError, match="alt is empty: say in a sentence"):
        show(curves(), alt="  \n")


def test_named_looks_differ_in_more_than_colour_and_stand_out() -> None:
    assert set(LOOKS) == set(COLORS) == {"blue", "green", "predicted", "measured", "failed"}
    assert len({(look["marker"], look["linestyle"]) for look in LOOKS.values()}) == len(LOOKS)
    assert len(set(COLORS.values())) == len(LOOKS)
    assert min(contrast(color) for color in COLORS.values()) >= 3  # WCAG 2.2, 1.4.11: graphics
    assert min(contrast(color) for color in PALETTE[:5]) >= 3


def test_labels_stand_at_the_ends_without_overlap() -> None:
    fig, ax = subplots()
    for number, name in enumerate(["one", "two", "three"]):
        ax.plot([1, 2, 4], [1, 2, 3 + number / 1000], label=name)
    ax.plot([1, 2], [1, 1])
    label_lines(ax, gap=0.06)
    labels = sorted(ax.texts, key=lambda text: text.xy[1])
    assert [text.get_text() for text in labels] == ["one", "two", "three"]
    assert [text.get_color() for text in labels] == [line.get_color() for line in ax.get_lines()[:3]]
    assert {text.xy[0] for text in labels} == {4}
    heights = [text.xy[1] for text in labels]
    assert heights[0] > 0.9 and min(np.diff(heights)) >= 0.06 - 1e-9
    fig.draw_without_rendering()
    boxes = [text.get_window_extent() for text in labels]
    assert all(box.x1 <= fig.bbox.x1 for box in boxes), "a label is cut at the edge of the figure"
    assert not any(a.overlaps(b) for a, b in pairwise(boxes))
    plt.close(fig)


def test_diagrams_and_sequences_draw_what_they_are_told_without_overlap() -> None:
    boxes = {
        "a": (0.0, 0.0, "this notebook\nsends", "blue"),
        "b": (2.5, 0.5, "broker", "green"),
        "c": (2.5, -0.5, "x", "failed"),
    }
    steps = [("a", "b", "asks", "blue"), ("c", "b", "answers", "green"), ("b", "b", "is killed", "failed")]
    diagram = plots.diagram(boxes, ["a -> b", "b <-> c"])
    for fig in (diagram, plots.sequence(["a", "b", "c"], steps, title="b dies")):
        fig.draw_without_rendering()
        texts = [text for text in fig.axes[0].texts if text.get_text()]
        areas = [text.get_window_extent() for text in texts]
        assert not any(one.overlaps(other) for place, one in enumerate(areas) for other in areas[:place])
        assert all(area.x0 >= 0 and area.x1 <= fig.bbox.x1 for area in areas) and len(fig.axes[0].texts) >= 5
        plt.close(fig)
    with pytest.raises(KeyError, match="nobody"):
        plots.diagram(boxes, ["a -> nobody"])


def test_sliders_redraw_a_picture_and_start_with_one_for_every_page(monkeypatch: pytest.MonkeyPatch) -> None:
    sent, drawn = list[dict[str, Any]](), list[dict[str, float]]()
    monkeypatch.setattr(plots, "display", lambda data, **options: sent.append(data))
    children, box = list[Any](), widgets.VBox
    monkeypatch.setattr(widgets, "VBox", lambda inside: children.extend(inside) or box(inside))

    def draw(**values: float) -> Figure:
        drawn.append(values)
        return curves()

    plots.explore(draw, alt=ALT, workers=(3, 1, 9, 1), share=(0.1, 0, 1, 0.005))
    [data] = sent
    assert data["text/plain"] == ALT and base64.b64decode(data["image/png"]) == png(curves(), ALT)
    [workers, share, picture] = children
    assert (type(workers), share.readout_format) == (widgets.IntSlider, ".3f")
    picture.value, workers.value = b"", 5
    assert drawn == [{"workers": 3, "share": 0.1}, {"workers": 5, "share": 0.1}] and picture.value
