"""Commutativity: every product of features with weights, in whatever way a model writes it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from onebasin import Permutation, infer_symmetry
from onebasin.errors import OneBasinError
from onebasin.evaluation.features import measure_commutativity
from onebasin.matching import match_weights
from tests.evaluation.features.pairs import cosines, distances, mlp_features, pair


def test_numbers_match_the_formulas() -> None:
    model, a, b, inputs = pair("mlp")
    result = measure_commutativity(model, a, b, [inputs[:4], inputs[4:]])
    assert result.layers == ("0.linear", "2.linear")
    h_a, h_b = (mlp_features(each, inputs)["1.relu"] for each in (a, b))
    w_a, w_b = a["2.weight"].T, b["2.weight"].T
    x, y = h_a @ w_a + h_b @ w_b, h_b @ w_a + h_a @ w_b
    for measure, expected in (("1-cos", cosines(x, y)), ("distance", distances(x, y))):
        record = result.at("2.linear", measure)
        assert record.mean == pytest.approx(float(expected.mean()), abs=1e-12)
        assert record.sd == pytest.approx(float(expected.std(correction=0)), abs=1e-9)
        assert record.n == 6
    # Both networks get the same inputs, so that the first layer commutes always.
    assert result.at("0.linear", "distance").mean == 0


class Conv(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 6, 3, stride=2, padding=1)
        self.last = nn.ConvTranspose2d(6, 4, 3, stride=2, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x).relu())


def test_arguments_of_convolutions_are_kept() -> None:
    torch.manual_seed(0)
    model, inputs = Conv().double(), torch.randn(5, 2, 8, 8, dtype=torch.float64)
    a = model.state_dict()
    b = {key: torch.randn_like(tensor) for key, tensor in a.items()}
    result = measure_commutativity(model, a, b, [inputs])
    h_a, h_b = (F.conv2d(inputs, p["first.weight"], p["first.bias"], 2, 1).relu() for p in (a, b))

    def last(params: dict[str, Tensor], h: Tensor) -> Tensor:
        return F.conv_transpose2d(h, params["last.weight"], None, 2, groups=2).flatten(1)

    expected = distances(last(a, h_a) + last(b, h_b), last(a, h_b) + last(b, h_a)).mean()
    assert result.layers == ("first.conv2d", "last.conv_transpose2d")
    assert result.at(result.layers[1], "distance").mean == pytest.approx(float(expected), rel=1e-9)


class Written(nn.Module):
    """Two layers; a function multiplies a hidden feature with the second one's weight."""

    def __init__(self, product: Callable[[Tensor, nn.Linear], Tensor]) -> None:
        super().__init__()
        self.first, self.last, self.product = nn.Linear(5, 8), nn.Linear(8, 3), product

    def forward(self, x: Tensor) -> Tensor:
        return self.product(self.first(x).relu(), self.last)


PRODUCTS: dict[str, Callable[[Tensor, nn.Linear], Tensor]] = {
    "module": lambda h, last: last(h),
    "keywords": lambda h, last: F.linear(h, weight=last.weight, bias=last.bias),
    "matmul": lambda h, last: h @ last.weight.T + last.bias,
    "weights first": lambda h, last: (last.weight @ h.T).T,
    "mm": lambda h, last: torch.mm(h, last.weight.T),
    "addmm": lambda h, last: torch.addmm(last.bias, h, last.weight.T),
    "bmm": lambda h, last: torch.bmm(h[:, None], last.weight.T.expand(len(h), 8, 3))[:, 0],
    "baddbmm": lambda h, last: torch.baddbmm(
        last.bias.expand(len(h), 1, 3), h[:, None], last.weight.T.expand(len(h), 8, 3)
    )[:, 0],
    "einsum": lambda h, last: torch.einsum("ni,oi->no", h, last.weight),
}


@pytest.fixture(scope="module")
def written() -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor, float]:
    """Two networks, a batch, and the distance at their last layer."""
    torch.manual_seed(0)
    model, inputs = Written(PRODUCTS["module"]).double(), torch.randn(6, 5, dtype=torch.float64)
    a = {key: tensor.detach() for key, tensor in model.state_dict().items()}
    b = {key: torch.randn_like(tensor) for key, tensor in a.items()}
    result = measure_commutativity(model, a, b, [inputs])
    return a, b, inputs, result.at("last.linear", "distance").mean


@pytest.mark.parametrize("name", sorted(PRODUCTS.keys() - {"module"}))
def test_every_form_of_product_is_found(
    name: str, written: tuple[dict[str, Tensor], dict[str, Tensor], Tensor, float]
) -> None:
    a, b, inputs, expected = written
    result = measure_commutativity(Written(PRODUCTS[name]).double(), a, b, [inputs])
    assert len(result.layers) == 2, result.layers
    distance = result.at(result.layers[1], "distance").mean
    assert distance == pytest.approx(expected, rel=1e-9)
    assert distance > 0.01


def test_computed_weights_are_used() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), weight_norm(nn.Linear(8, 3))).double()
    inputs, a = torch.randn(6, 5, dtype=torch.float64), model.state_dict()
    b = {key: torch.randn_like(tensor) for key, tensor in a.items()}
    result = measure_commutativity(model, a, b, [inputs])
    w_a, w_b = (
        torch._weight_norm(p[f"{name}.original1"], p[f"{name}.original0"])
        for p in (a, b)
        for name in ["2.parametrizations.weight"]
    )
    h_a, h_b = (F.linear(inputs, p["0.weight"], p["0.bias"]).relu() for p in (a, b))
    expected = distances(h_a @ w_a.T + h_b @ w_b.T, h_b @ w_a.T + h_a @ w_b.T).mean()
    assert result.at(result.layers[1], "distance").mean == pytest.approx(float(expected), rel=1e-9)


def test_products_of_attention_are_not_layers() -> None:
    model, a, b, inputs = pair("transformer")
    assert measure_commutativity(model, a, b, [inputs]).layers == (
        "qkv.linear",
        "out.linear",
        "gate.linear",
        "down.linear",
        "head.linear",
    )


@pytest.mark.parametrize("name", ["mlp", "transformer"])
def test_permuted_copy_commutes_after_matching(name: str) -> None:
    model, a, _, inputs = pair(name)
    symmetry = infer_symmetry(model, (inputs,))
    twin = Permutation.random(symmetry, seed=3).apply(a)
    before = measure_commutativity(model, a, twin, [inputs])
    assert max(before.means("distance").values()) > 0.01
    aligned = match_weights(symmetry, a, twin, seed=0, restarts=5).permutation.apply(twin)
    after = measure_commutativity(model, a, aligned, [inputs])
    assert max(after.means("distance").values()) < 1e-20
    same = measure_commutativity(model, a, dict(a), [inputs])
    assert {record.mean for record in same.records} == {0.0}


def test_model_without_such_layers_is_rejected() -> None:
    model = nn.Sequential(nn.LayerNorm(5), nn.ReLU())
    with pytest.raises(
        OneBasinError, match=r"^measure_commutativity: the model has no linear or convolu"
    ):
        measure_commutativity(model, model.state_dict(), model.state_dict(), [torch.randn(3, 5)])
