"""Averaging: from the first layer on a merged network, at the outputs an ensemble."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.func import functional_call

from onebasin.errors import OneBasinError
from onebasin.evaluation.features import interpolate_features
from onebasin.evaluation.statistics import reset_statistics
from tests.evaluation.features.pairs import between, labels_for, mlp_features, pair


def loss(logits: Tensor, labels: Tensor) -> float:
    return float(F.cross_entropy(logits, labels))


def test_rows_of_an_mlp_match_the_definition() -> None:
    model, a, b, inputs = pair("mlp")
    labels, alpha = labels_for(inputs, 3), 0.25
    result = interpolate_features(
        model, a, b, [(inputs[:4], labels[:4]), (inputs[4:], labels[4:])], alpha=alpha
    )
    of_a, of_b = mlp_features(a, inputs), mlp_features(b, inputs)
    merged = mlp_features(between(a, b, alpha), inputs)

    def mix(layer: str) -> Tensor:
        return alpha * of_a[layer] + (1 - alpha) * of_b[layer]

    def last(hidden: Tensor) -> Tensor:
        point = between(a, b, alpha)
        return hidden @ point["2.weight"].T + point["2.bias"]

    expected = {
        "A": of_a["2.linear"],
        "B": of_b["2.linear"],
        "merged weights": merged["2.linear"],
        "0.linear": merged["2.linear"],
        "1.relu": last(mix("1.relu")),
        "2.linear": mix("2.linear"),
        "mixed outputs": mix("2.linear"),
    }
    assert result.layers == tuple(expected)
    for name, logits in expected.items():
        share = {"A": 1.0, "B": 0.0}.get(name, alpha)
        assert result.at(name, "loss", share).mean == pytest.approx(loss(logits, labels)), name
        wrong = float((logits.argmax(1) != labels).double().mean())
        assert result.at(name, "error", share).mean == pytest.approx(wrong)
        assert result.at(name, "loss", share).n == 6
    assert len({round(r.mean, 9) for r in result.records if r.measure == "loss"}) == 5


@pytest.mark.parametrize("name", ["conv_net"])
def test_equal_networks_have_equal_losses_in_all_rows(name: str) -> None:
    model, a, _, inputs = pair(name)
    result = interpolate_features(model, a, dict(a), [(inputs, labels_for(inputs, 3))])
    losses = [record.mean for record in result.records if record.measure == "loss"]
    assert losses == pytest.approx([losses[0]] * len(losses), rel=1e-12)


class Affine(nn.Module):
    """Convolutions, functions in place and a residual connection, nothing normalized."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        stem = self.stem(x)
        x = F.relu(stem, inplace=True)
        # Reads what the function in place has made of `stem`.
        x = self.inner(x).relu_().add_(stem)
        return self.head(x.mean((2, 3)))


def test_first_row_equals_merged_weights() -> None:
    torch.manual_seed(0)
    model, inputs = Affine().double(), torch.randn(5, 3, 6, 6, dtype=torch.float64)
    a = model.state_dict()
    b = {name: torch.randn_like(tensor) for name, tensor in a.items()}
    labels = labels_for(inputs, 4)
    result = interpolate_features(model, a, b, [(inputs, labels)])
    at = {record.layer: record.mean for record in result.records if record.measure == "loss"}
    assert list(at)[3:] == ["stem.conv2d", *list(at)[4:-2], "head.linear", "mixed outputs"]
    assert at["stem.conv2d"] == pytest.approx(at["merged weights"], rel=1e-12)
    with torch.no_grad():
        logits = sum(functional_call(model, p, (inputs,)) for p in (a, b)) / 2
    assert at["head.linear"] == at["mixed outputs"] == pytest.approx(loss(logits, labels))
    assert at["merged weights"] != pytest.approx(at["mixed outputs"], rel=1e-3)


@pytest.mark.parametrize("name", ["residual", "transformer"])
def test_inputs_are_not_changed(name: str) -> None:
    model, a, b, inputs = pair(name)
    classes = 11 if name == "transformer" else 3
    labels = inputs if name == "transformer" else labels_for(inputs, classes)
    kept = [t.clone() for t in (*a.values(), *b.values(), inputs)]
    reported: list[tuple[int, int]] = []
    result = interpolate_features(
        model, a, b, [(inputs, labels)], progress=lambda *done: reported.append(done)
    )
    assert all(map(torch.equal, kept, (*a.values(), *b.values(), inputs)))
    total = len(result.layers)
    assert reported == [(i + 1, total) for i in range(total)]


def test_other_losses_and_layers_can_be_chosen() -> None:
    model, a, b, inputs = pair("mlp")
    targets = torch.zeros(6, 3, dtype=torch.float64)
    result = interpolate_features(model, a, b, [(inputs, targets)], layers=["*relu"], loss="mse")
    assert result.layers == ("A", "B", "merged weights", "1.relu", "mixed outputs")
    expected = mlp_features(a, inputs)["2.linear"].square().mean()
    assert result.at("A", "loss", 1.0).mean == pytest.approx(float(expected))
    ax = result.plot(Figure().subplots())
    line, of_a, of_b = ax.lines
    losses = {r.layer: r.mean for r in result.records if r.measure == "loss"}
    assert list(line.get_ydata()) == [losses[layer] for layer in result.layers[2:]]
    assert [of.get_ydata()[0] for of in (of_a, of_b)] == [losses["A"], losses["B"]]


def test_bad_input_gives_a_one_line_error() -> None:
    model, a, b, inputs = pair("mlp")
    data = [(inputs, labels_for(inputs, 3))]
    with pytest.raises(
        OneBasinError, match=r"^interpolate_features: alpha is 1\.5; it must be between 0 and 1"
    ):
        interpolate_features(model, a, b, data, alpha=1.5)
    with pytest.raises(
        OneBasinError, match=r"^interpolate_features: no layer matches 'x'; the layers are"
    ):
        interpolate_features(model, a, b, data, layers=["x"])


def test_statistics_of_the_merged_weights_can_be_reset() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    a, b = (
        {n: torch.rand(t.shape) if t.is_floating_point() else t for n, t in params.items()}
        for params in (model.state_dict(), model.state_dict())
    )
    inputs = torch.randn(20, 4)
    data = [(inputs, labels_for(inputs, 3))]
    plain = interpolate_features(model, a, b, data)
    result = interpolate_features(model, a, b, data, normalization="reset", statistics=data)
    point = reset_statistics(model, between(a, b, 0.5), data)
    assert result.at("merged weights", "loss", 0.5).mean == pytest.approx(
        loss(functional_call(model.eval(), point, inputs), data[0][1]), rel=1e-5
    )
    changed = {
        row.layer
        for row, before in zip(result.records, plain.records, strict=True)
        if row.mean != before.mean
    }
    assert changed == {"merged weights"}
    assert result.rows()[0]["normalization"] == "reset"
    with pytest.raises(
        OneBasinError, match='interpolate_features: normalization="reset" estimates'
    ):
        interpolate_features(model, a, b, data, normalization="reset")
