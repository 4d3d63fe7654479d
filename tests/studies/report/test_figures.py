import base64

import matplotlib
import pytest

from onebasin.errors import OneBasinError
from onebasin.evaluation.curve_figures import PlottedCurve, curve_figure
from onebasin.evaluation.curves import Curve
from onebasin.evaluation.plotting import save_figure, svg_source

ALPHAS = (0.0, 0.5, 1.0)
LINES = [
    PlottedCurve(Curve(ALPHAS, (0.1, 0.9, 0.2), (0.0, 0.3, 0.1)), "naive, train"),
    PlottedCurve(Curve(ALPHAS, (0.1, 0.2, 0.2), (0.0, 0.1, 0.1)), "aligned, test", True, True),
]


def test_each_quantity_has_a_panel_with_every_line():
    loss, error = curve_figure(LINES).get_axes()
    assert (loss.get_title(loc="left"), error.get_title(loc="left")) == ("Loss", "Error")
    for ax, values in (
        (loss, [c.curve.losses for c in LINES]),
        (error, [c.curve.errors for c in LINES]),
    ):
        assert [tuple(line.get_ydata()) for line in ax.get_lines()] == values


def test_lines_are_named_once():
    loss, error = curve_figure(LINES).get_axes()
    legend = loss.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [c.label for c in LINES]
    assert error.get_legend() is None
    assert curve_figure(LINES, ["error"]).get_axes()[0].get_legend() is not None


def test_lines_differ_in_color_and_style():
    naive, aligned = curve_figure(LINES, ["loss"]).get_axes()[0].get_lines()
    assert naive.get_color() != aligned.get_color()
    assert naive.get_linestyle() != aligned.get_linestyle()


def test_matplotlib_settings_are_unchanged():
    before = dict(matplotlib.rcParams)
    svg_source(curve_figure(LINES))
    assert dict(matplotlib.rcParams) == before


def test_pictures_are_written(tmp_path):
    figure = curve_figure(LINES)
    for suffix, start in ((".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")):
        save_figure(figure, tmp_path / f"curve{suffix}")
        assert (tmp_path / f"curve{suffix}").read_bytes().startswith(start)


def test_image_source_is_reproducible():
    first, again = svg_source(curve_figure(LINES)), svg_source(curve_figure(LINES))
    head, _, data = first.partition(",")
    assert head == "data:image/svg+xml;base64"
    assert b"<svg" in base64.b64decode(data)
    assert first == again


def test_unwritable_figure_raises(tmp_path):
    with pytest.raises(OneBasinError, match=r"nowhere.*does not exist; create it first"):
        save_figure(curve_figure(LINES), tmp_path / "nowhere" / "curve.png")
    with pytest.raises(OneBasinError, match=r"curve\.doc: unknown picture format '\.doc'"):
        save_figure(curve_figure(LINES), tmp_path / "curve.doc")
    assert not list(tmp_path.iterdir())
