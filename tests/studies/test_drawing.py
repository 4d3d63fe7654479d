"""Drawing of means, and the figures of studies."""

import numpy as np
import pytest
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.contour import ContourSet

from onebasin_studies import find_study
from onebasin_studies.runtime.drawing import draw_means, explain, legend_below, panels, size_axis
from onebasin_studies.runtime.statistics import summarize


def drawn(rows):
    _, (ax,) = panels()
    draw_means(ax, summarize(rows, "x", ["width"]), "width", label="x")
    return ax


def test_bands_end_at_zero():
    rows = [{"width": width, "x": x} for width in (4, 8) for x in (0.1, 0.9)]
    (band,) = drawn(rows).collections
    assert isinstance(band, PolyCollection)
    heights = np.concatenate([path.vertices[:, 1] for path in band.get_paths()])
    assert heights.min() == 0.0
    assert heights.max() == pytest.approx(0.5 + 12.7062 * 0.4, abs=1e-3)


def test_single_mean_has_an_error_bar():
    ax = drawn([{"width": 4, "x": x} for x in (0.4, 0.5, 0.9)])
    (bar,) = ax.collections
    ((bottom, top),) = ([y for _, y in segment] for segment in bar.get_segments())
    assert (bottom, top) == pytest.approx((0.0, 0.6 + 4.302653 * 0.07**0.5 / 3**0.5), abs=1e-5)
    assert not drawn([{"width": 4, "x": 0.4}]).collections, "one value has no interval"


def test_legend_explains_line_styles():
    figure, (ax,) = panels()
    ax.plot([0, 1], [0, 1], label="d = 1")
    explain(ax, {"guaranteed": "--"})
    legend_below(ax)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["d = 1", "guaranteed"]
    assert legend.get_lines()[1].get_linestyle() == "--"


def test_tick_labels_are_the_sizes():
    _, (ax,) = panels()
    size_axis(ax, "width", [0.125, 8.0, 512])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0.125", "8", "512"]


def test_small_matched_barriers_are_visible():
    rows = [
        {"family": "MLP", "width": width, "pair": pair, "state": state, "split": split}
        | {"barrier": (1.0 if state == "unmatched" else 8 / width**2) * (1 + pair / 9)}
        for width in (8.0, 64.0, 512.0)
        for pair in range(3)
        for state in ("matched", "unmatched")
        for split in ("train", "test")
    ]
    (picture,) = find_study("width-matched").figures(rows)
    plain, log = picture.figure.axes
    assert (plain.get_yscale(), log.get_yscale()) == ("linear", "log")
    for ax in (plain, log):
        assert [label.get_text() for label in ax.get_xticklabels()] == ["8", "64", "512"]
    picture.figure.draw_without_rendering()
    assert log.get_ylim()[0] < 8 / 512**2


def test_similar_lines_are_distinguishable():
    rows = [
        {"setting": "MLP", "kind": kind, "pair": 0, "quantity": "features", "measure": measure}
        | {"alpha": alpha, "place": place, "layer": f"l{place}", "mean": 0.1 * place}
        for kind in ("spawned", "apart")
        for place in range(3)
        for measure, alphas in (
            ("1-cos", (0.25, 0.5, 0.75)),
            ("1-cos ends", (None,)),
            ("c", (0.5,)),
        )
        for alpha in alphas
    ]
    cosines = find_study("llfc").figures(rows)[0]
    for ax in cosines.figure.axes:
        styles = {line.get_label(): line.get_linestyle() for line in ax.lines}
        assert styles["α = 0.25"] != styles["α = 0.75"]


def test_legend_of_the_theorem_has_every_line():
    rows = [
        {"dimension": d, "width": 2**k, "draw": draw, "matched": 2.0**-k + draw, "random": 1.0}
        for d in (1, 2)
        for k in range(6, 12)
        for draw in range(3)
    ]
    (picture,) = find_study("theorem").figures(rows)
    (legend,) = picture.figure.legends
    words = [text.get_text() for text in legend.get_texts()]
    assert words == ["d = 1", "d = 2", "random order", "guaranteed rate"]


@pytest.mark.parametrize(("pairs", "has_density"), [(5, True), (2, False)])
def test_density_needs_enough_pairs(pairs, has_density):
    rows = [
        {"sweep": "width", "family": "mlp", "data": "mnist", "width": width, "depth": 1}
        | {"normalization": "interpolated", "split": "train", "pair": pair}
        | {"world": world, "state": state, "barrier": 0.3 * (k + (0.1 + 0.05 * k) * pair * sign)}
        for k, width in enumerate((4, 16, 64))
        for pair in range(pairs)
        for world, sign in (("real", 1), ("model", -0.3))
        for state in ("before", "after")
    ]
    rows = [{**row, "barrier": abs(row["barrier"])} for row in rows]
    picture = find_study("real-vs-model").figures(rows)[0]
    assert picture.name == "density"
    for ax in picture.figure.axes:
        (points,) = (each for each in ax.collections if isinstance(each, PathCollection))
        assert len(points.get_offsets()) == 3 * pairs
        assert any(isinstance(each, ContourSet) for each in ax.collections) == has_density
        assert ax.lines[0].get_linestyle() == ":"
    picture.figure.draw_without_rendering()
