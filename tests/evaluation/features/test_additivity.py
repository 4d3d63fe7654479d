"""Additivity: every ReLU of the graph is result, and compared by the formula."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from onebasin import Permutation, infer_symmetry
from onebasin.errors import OneBasinError
from onebasin.evaluation.features import measure_additivity
from onebasin.matching import match_weights
from tests.evaluation.features.pairs import cosines, distances, mlp_features, pair
from tests.graph.networks import build


def test_numbers_match_the_formulas() -> None:
    model, a, b, inputs = pair("mlp")
    result = measure_additivity(model, a, b, [inputs[:4], inputs[4:]])
    h_a, h_b = (mlp_features(each, inputs)["0.linear"] for each in (a, b))
    assert result.layers == ("1.relu",)
    for alpha in (0.25, 0.5, 0.75):
        x = (alpha * h_a + (1 - alpha) * h_b).clamp(min=0)
        y = alpha * h_a.clamp(min=0) + (1 - alpha) * h_b.clamp(min=0)
        for measure, expected in (("1-cos", cosines(x, y)), ("distance", distances(x, y))):
            record = result.at("1.relu", measure, alpha)
            assert record.mean == pytest.approx(float(expected.mean()), abs=1e-12)
            assert record.sd == pytest.approx(float(expected.std(correction=0)), abs=1e-9)
            assert record.n == 6
    ends = cosines(h_a.clamp(min=0), h_b.clamp(min=0))
    assert result.at("1.relu", "1-cos ends").mean == pytest.approx(float(ends.mean()))


class Bent(nn.Module):
    """A function between two linear layers, called twice."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.last, self.function = nn.Linear(5, 8), nn.Linear(8, 8), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.last(self.function(self.first(x))))


RELUS: dict[str, Callable[[Tensor], Tensor]] = {
    "F.relu": F.relu,
    "in place": lambda x: F.relu(x, inplace=True),
    "relu_": lambda x: x.relu_(),
    "module": nn.ReLU(),
    "clamp": lambda x: x.clamp(min=0),
    "clamp_min": lambda x: torch.clamp_min(x, 0),
}


@pytest.fixture(scope="module")
def bent() -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor, list[float]]:
    """Two networks, a batch, and the distances at their functions."""
    torch.manual_seed(0)
    model, inputs = Bent(F.relu).double(), torch.randn(6, 5, dtype=torch.float64)
    a = {key: tensor.detach() for key, tensor in model.state_dict().items()}
    b = {key: torch.randn_like(tensor) for key, tensor in a.items()}
    result = measure_additivity(model, a, b, [inputs], alphas=[0.5])
    return a, b, inputs, list(result.means("distance", 0.5).values())


@pytest.mark.parametrize("name", sorted(RELUS.keys() - {"F.relu"}))
def test_every_form_of_relu_is_found(
    name: str, bent: tuple[dict[str, Tensor], dict[str, Tensor], Tensor, list[float]]
) -> None:
    a, b, inputs, expected = bent
    model = Bent(RELUS[name]).double()
    result = measure_additivity(model, a, b, [inputs], alphas=[0.5])
    assert list(result.means("distance", 0.5).values()) == expected
    assert len(expected) == 2
    assert min(expected) > 0


def test_other_functions_can_be_selected() -> None:
    torch.manual_seed(0)
    model, inputs = Bent(lambda x: F.gelu(x).tanh()), torch.randn(6, 5)
    other = {key: torch.randn_like(tensor) for key, tensor in model.state_dict().items()}
    ends = model.state_dict(), other
    result = measure_additivity(model, *ends, [inputs], operators=["all"])
    assert result.layers == ("gelu#1", "tanh#1", "gelu#2", "tanh#2")
    assert (
        measure_additivity(model, *ends, [inputs], operators=["gelu"]).layers == result.layers[::2]
    )
    h_a, h_b = (F.linear(inputs, params["first.weight"], params["first.bias"]) for params in ends)
    expected = distances(F.gelu((h_a + h_b) / 2), (F.gelu(h_a) + F.gelu(h_b)) / 2).mean()
    assert result.at("gelu#1", "distance", 0.5).mean == pytest.approx(float(expected), rel=1e-4)


def test_other_clamping_is_not_a_relu() -> None:
    for function in (lambda x: x.clamp(min=-1), lambda x: x.clamp(min=0, max=1)):
        model, inputs = Bent(function), torch.randn(6, 5)
        with pytest.raises(
            OneBasinError, match=r"^measure_additivity: the model has no relu; pass oper"
        ):
            measure_additivity(model, model.state_dict(), model.state_dict(), [inputs])
    model = Bent(lambda x: x * x)
    with pytest.raises(
        OneBasinError, match=r"^measure_additivity: the model has no elementwise function$"
    ):
        measure_additivity(
            model, model.state_dict(), model.state_dict(), [torch.randn(6, 5)], operators=["all"]
        )


def test_permuted_copy_is_additive_after_matching() -> None:
    model, a, _, inputs = pair("residual")
    symmetry = infer_symmetry(model, (inputs,))
    twin = Permutation.random(symmetry, seed=3).apply(a)
    before = measure_additivity(model, a, twin, [inputs])
    assert before.layers == ("relu#1", "relu#2", "relu#3")
    assert max(before.means("1-cos", 0.5).values()) > 0.1
    aligned = match_weights(symmetry, a, twin, seed=0, restarts=5).permutation.apply(twin)
    after = measure_additivity(model, a, aligned, [inputs])
    assert max(after.means("1-cos", 0.5).values()) < 1e-20


def test_in_place_functions_do_not_change_the_run() -> None:
    model, inputs = build("residual")
    params = {name: t for name, t in model.state_dict().items()}
    result = measure_additivity(model, params, dict(params), [inputs, inputs])
    assert {record.mean for record in result.records} == {0.0}
    assert {record.n for record in result.records} == {8}


def test_unknown_operator_is_rejected() -> None:
    model, a, b, inputs = pair("mlp")
    with pytest.raises(
        OneBasinError, match=r"^measure_additivity: operator 'glu' is not an elementwise"
    ):
        measure_additivity(model, a, b, [inputs], operators=["relu", "glu"])
    with pytest.raises(
        OneBasinError, match=r"^measure_additivity: alpha is 0\.0; it must be between 0 and 1$"
    ):
        measure_additivity(model, a, b, [inputs], alphas=[0.0])
