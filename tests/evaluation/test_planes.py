import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from onebasin.errors import OneBasinError
from onebasin.evaluation._paths import point_at
from onebasin.evaluation.evaluator import evaluator
from onebasin.evaluation.planes import Plane, basis_of, measure_plane
from tests.evaluation.networks import examples, mlp

NETWORKS = dict(zip("ABC", (mlp(seed).state_dict() for seed in range(3)), strict=True))
PLANE = Plane(
    names=("A", "B", "C"),
    coordinates=((0.0, 0.0), (2.0, 0.0), (1.0, 1.0)),
    network_losses=(0.1, 0.2, 0.3),
    network_errors=(0.0, 0.5, 1.0),
    xs=(0.0, 1.0, 2.0),
    ys=(0.0, 1.0),
    losses=((0.1, 2.0, 0.2), (5.0, math.inf, math.nan)),
    errors=((0.0, 0.5, 0.5), (1.0, 1.0, 1.0)),
)


def flat(params):
    return torch.cat([tensor.double().flatten() for tensor in params.values()])


def test_coordinates_are_distances():
    basis = basis_of(mlp(0), NETWORKS)
    vectors = [flat(params) for params in NETWORKS.values()]
    for i in range(3):
        for j in range(3):
            expected = (vectors[i] - vectors[j]).norm().item()
            assert math.dist(basis.coordinates[i], basis.coordinates[j]) == pytest.approx(
                expected, rel=1e-9
            )


def test_weights_and_coordinates_agree():
    basis = basis_of(mlp(0), NETWORKS)
    a, b, c = (flat(params) for params in NETWORKS.values())
    u = (b - a) / (b - a).norm()
    v = (c - a) - ((c - a) @ u) * u
    v /= v.norm()
    for x, y in [(0.0, 0.0), (1.3, -0.4), (-2.0, 5.0)]:
        shares = basis.weights_at(x, y)
        assert sum(shares.values()) == pytest.approx(1)
        point = point_at(list(NETWORKS.values()), shares)
        torch.testing.assert_close(flat(point), a + x * u + y * v, rtol=1e-5, atol=1e-5)
    for i, place in enumerate(basis.coordinates):
        assert basis.weights_at(*place) == pytest.approx({j: float(i == j) for j in range(3)})


def test_buffers_do_not_count_as_distance():
    networks = {name: mlp(i, norm=True).state_dict() for i, name in enumerate("ABC")}
    places = basis_of(mlp(0, norm=True), networks).coordinates
    for params in networks.values():
        params["1.running_mean"] = params["1.running_mean"] + 100 * torch.rand(8)
    assert basis_of(mlp(0, norm=True), networks).coordinates == places


def test_grid_is_evaluated_point_by_point():
    evaluate = evaluator(*examples())
    plane = measure_plane(mlp(0), NETWORKS, evaluate, num_points=4, margin=0.5)
    basis = basis_of(mlp(0), NETWORKS)
    for iy, y in enumerate(plane.ys):
        for ix, x in enumerate(plane.xs):
            other = mlp(0)
            other.load_state_dict(point_at(list(NETWORKS.values()), basis.weights_at(x, y)))
            assert plane.losses[iy][ix] == pytest.approx(evaluate(other).loss, rel=1e-5)
            assert plane.errors[iy][ix] == evaluate(other).error
    assert plane.network_losses[1] == evaluate(mlp(1)).loss
    assert plane.network_errors[1] == evaluate(mlp(1)).error
    (x_low, x_high), (y_low, y_high) = ((min(v), max(v)) for v in (plane.xs, plane.ys))
    for x, y in plane.coordinates:
        assert x_low < x < x_high
        assert y_low < y < y_high


def test_grid_without_margin_ends_at_the_networks():
    plane = measure_plane(mlp(0), NETWORKS, lambda model: 1.0, num_points=3, margin=0.0)
    for along, values in zip(
        zip(*plane.coordinates, strict=True), (plane.xs, plane.ys), strict=True
    ):
        assert (min(along), max(along)) == pytest.approx((values[0], values[-1]))


def test_quadratic_loss_is_quadratic_in_the_coordinates():
    class Weights(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(5))

        def forward(self):
            return self.w.square().sum()

    torch.manual_seed(0)
    b, c = torch.randn(2, 5)
    networks = {"A": {"w": torch.zeros(5)}, "B": {"w": b}, "C": {"w": c}}
    plane = measure_plane(Weights(), networks, lambda model: model().item(), num_points=6)
    for y, losses in zip(plane.ys, plane.losses, strict=True):
        assert losses == pytest.approx([x * x + y * y for x in plane.xs], rel=1e-4, abs=1e-5)


def test_statistics_can_be_reset_on_the_plane():
    networks = {name: mlp(i, norm=True).state_dict() for i, name in enumerate("ABC")}
    inputs, labels = examples()
    evaluate = evaluator(inputs, labels)
    options = {"num_points": 3, "margin": 3.0}
    plain = measure_plane(mlp(0, norm=True), networks, evaluate, **options)
    reset = measure_plane(
        mlp(0, norm=True), networks, evaluate, normalization="reset", data=[inputs], **options
    )
    assert np.isnan(plain.losses).any()
    assert np.isfinite(reset.losses).all()
    assert reset.network_losses == plain.network_losses
    assert (reset.normalization, reset.num_reset) == ("reset", 1)


def test_rows_name_the_networks():
    rows = PLANE.rows()
    assert len(rows) == 3 + 6
    assert [row["point"] for row in rows] == ["A", "B", "C", "", "", "", "", "", ""]
    assert rows[1] == {
        "point": "B",
        "x": 2.0,
        "y": 0.0,
        "loss": 0.2,
        "error": 0.5,
        "normalization": "interpolated",
    }
    assert (rows[4]["x"], rows[4]["y"], rows[4]["loss"]) == (1.0, 0.0, 2.0)


@pytest.mark.parametrize("quantity", ["loss", "error"])
def test_picture_marks_the_networks(quantity):
    from matplotlib.figure import Figure

    ax = Figure().subplots()
    assert PLANE.plot(ax, quantity=quantity) is ax
    assert [text.get_text() for text in ax.texts] == ["A", "B", "C"]
    marked = [(line.get_xdata()[0], line.get_ydata()[0]) for line in ax.get_lines()]
    assert tuple(marked) == PLANE.coordinates


def test_flat_plane_can_be_drawn(tmp_path):
    plane = measure_plane(mlp(0), NETWORKS, lambda model: (0.5, 0.0), num_points=2)
    plane.save(tmp_path / "plane.png")
    assert (tmp_path / "plane.png").read_bytes().startswith(b"\x89PNG")


def test_plane_without_finite_values_is_rejected():
    plane = measure_plane(mlp(0), NETWORKS, lambda model: 0.5, num_points=2)
    with pytest.raises(OneBasinError, match="plot: the plane has no finite error to draw"):
        plane.plot(quantity="error")


def test_networks_on_a_line_are_rejected():
    a, b, c = NETWORKS.values()
    between = point_at([a, b], {0: 0.3, 1: 0.7})
    for networks in ({"A": a, "B": b, "C": between}, {"A": a, "B": a, "C": c}):
        with pytest.raises(OneBasinError, match="A, B and C lie on one line"):
            measure_plane(mlp(0), networks, lambda model: 0.0)
    with pytest.raises(OneBasinError, match="2 networks given; pass three"):
        measure_plane(mlp(0), {"A": a, "B": b}, lambda model: 0.0)
    with pytest.raises(OneBasinError, match=r"margin is -1\.0; it must be at least 0 and finite"):
        measure_plane(mlp(0), NETWORKS, lambda model: 0.0, margin=-1.0)
    with pytest.raises(OneBasinError, match=r"'0.bias' is \(5,\) but \(8,\) in the model"):
        measure_plane(mlp(0), {**NETWORKS, "C": {**c, "0.bias": torch.zeros(5)}}, lambda model: 0.0)


def test_repair_on_planes_is_rejected():
    networks = {name: mlp(i).state_dict() for i, name in enumerate("ABC")}
    with pytest.raises(OneBasinError, match="measure_plane: normalization 'repair' needs a point"):
        measure_plane(mlp(0), networks, lambda m: 0.0, normalization="repair", data=[])


def test_non_finite_network_is_rejected():
    networks = {name: mlp(i).state_dict() for i, name in enumerate("ABC")}
    networks["B"]["0.bias"][2] = float("nan")
    with pytest.raises(OneBasinError, match=r"^measure_plane: tensor '0\.bias' of B contains NaN"):
        measure_plane(mlp(0), networks, lambda m: 0.0)


def test_both_axes_of_a_plane_have_labels():
    ax = PLANE.plot()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("distance between parameters", "distance across")


def test_level_labels_are_distinct():
    near = replace(PLANE, losses=((2.1301, 2.13, 2.2), (2.1302, 2.27, 2.1304)))
    for plane, quantity in ((near, "loss"), (PLANE, "loss"), (PLANE, "error")):
        ax = plane.plot(Figure().subplots(), quantity=quantity)
        shown = [text.get_text() for text in ax.figure.axes[1].get_yticklabels()]
        assert len(set(shown)) == len(shown) > 5
        assert all(text.endswith("%") == (quantity == "error") for text in shown)
