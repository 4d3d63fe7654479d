import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onebasin.errors import OneBasinError, check_choice
from onebasin.evaluation.curves import Curve, Quantity

CURVE = Curve((0.0, 0.25, 0.5, 1.0), (1.0, 2.0, 2.5, 3.0), (0.25, 0.5, 0.0, 0.0))


def test_barrier_over_the_line_between_endpoints():
    # Baseline of the losses: 1, 1.5, 2, 3. Baseline of the errors: .25, .1875, .125, 0.
    assert CURVE.barrier() == 0.5
    assert CURVE.barrier("error") == 0.5 - 0.1875


def test_barrier_over_the_mean_of_the_endpoints():
    assert CURVE.barrier(baseline="mean") == 3.0 - 2.0
    assert CURVE.barrier("error", baseline="mean") == 0.5 - 0.125


def test_valley_has_no_barrier():
    valley = Curve((0.0, 0.5, 1.0), (1.0, 0.2, 1.0), (0.5, 0.1, 0.5))
    assert valley.barrier() == 0.0
    assert valley.barrier(baseline="mean") == 0.0


@given(st.floats(0, 1e3), st.integers(2, 40))
def test_flat_curve_has_exactly_no_barrier(loss, num_points):
    alphas = tuple(i / (num_points - 1) for i in range(num_points))
    flat = Curve(alphas, (loss,) * num_points, (0.1,) * num_points)
    for baseline in ("linear", "mean"):
        assert flat.barrier("loss", baseline) == 0.0
        assert flat.barrier("error", baseline) == 0.0


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=20))
def test_barrier_is_never_negative(losses):
    alphas = tuple(i / (len(losses) - 1) for i in range(len(losses)))
    curve = Curve(alphas, tuple(losses), (0.0,) * len(losses))
    assert curve.barrier() >= 0
    assert curve.barrier(baseline="mean") >= 0


def test_barrier_of_a_curve_with_nan_is_nan():
    assert math.isnan(Curve((0.0, 0.5, 1.0), (1.0, math.nan, 1.0), (0.0,) * 3).barrier())
    assert Curve((0.0, 0.5, 1.0), (1.0, math.inf, 1.0), (0.0,) * 3).barrier() == math.inf
    with pytest.raises(OneBasinError, match="the curve has no errors"):
        Curve((0.0, 1.0), (1.0, 1.0), (math.nan, math.nan)).barrier("error")


def test_unknown_choices_are_rejected():
    with pytest.raises(OneBasinError, match=r"^quantity is 'lost'; it must be 'loss' or 'e"):
        check_choice("quantity", "lost", Quantity)


def test_rows_have_all_values_of_a_point():
    assert CURVE.rows()[1] == {
        "alpha": 0.25,
        "loss": 2.0,
        "error": 0.5,
        "normalization": "interpolated",
    }
    assert len(CURVE.rows()) == 4


def test_saved_curve_is_loaded(tmp_path):
    curve = Curve((0.0, 1.0), (1.0, 2.0), (0.1, 0.2), "reset", 3)
    curve.save(tmp_path / "curve.json")
    assert Curve.load(tmp_path / "curve.json") == curve


def test_missing_errors_are_loaded_as_nan(tmp_path):
    Curve((0.0, 1.0), (1.0, 2.0), (math.nan, math.nan)).save(tmp_path / "curve.json")
    text = (tmp_path / "curve.json").read_text()
    assert "NaN" not in text
    assert all(map(math.isnan, Curve.load(tmp_path / "curve.json").errors))


def test_file_of_another_kind_is_rejected(tmp_path):
    path = tmp_path / "curve.json"
    with pytest.raises(OneBasinError, match=r"curve\.json: cannot be read"):
        Curve.load(path)
    path.write_text('{"alphas": []}')
    with pytest.raises(OneBasinError, match=r"curve\.json: not a curve"):
        Curve.load(path)


@pytest.mark.parametrize(("quantity", "values"), [("loss", CURVE.losses), ("error", CURVE.errors)])
def test_plot_shows_the_curve(quantity, values):
    from matplotlib.figure import Figure

    ax = Figure().subplots()
    assert CURVE.plot(ax, quantity=quantity, label="naive") is ax
    (line,) = ax.get_lines()
    assert tuple(line.get_xdata()) == CURVE.alphas
    assert tuple(line.get_ydata()) == values
    assert line.get_label() == "naive"
    assert ax.get_ylabel() == quantity


def test_plot_makes_its_own_axes():
    import matplotlib.pyplot as plt

    ax = CURVE.plot()
    assert len(ax.get_lines()) == 1
    plt.close(ax.figure)


def test_infinite_losses_are_loaded(tmp_path):
    curve = Curve((0.0, 0.5, 1.0), (1.0, math.inf, 1.0), (0.0, 0.0, 0.0))
    curve.save(tmp_path / "curve.json")
    assert Curve.load(tmp_path / "curve.json") == curve
    assert "Infinity" not in (tmp_path / "curve.json").read_text()


def test_repr_is_one_line():
    curve = Curve((0.0, 0.5, 1.0), (1.0, 3.0, 1.0), (0.1, 0.3, 0.1))
    assert repr(curve) == (
        "Curve: 3 points from B to A, loss: B 1.0000, A 1.0000, highest 3.0000, barrier 2.0000; "
        "error barrier 20.00%; statistics interpolated"
    )
    assert "error" not in repr(Curve((0.0, 1.0), (1.0, 1.0), (float("nan"), float("nan"))))
