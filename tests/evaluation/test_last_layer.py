"""The last layer of a classifier is fit to the geometric mean of probabilities."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

import onebasin
from onebasin.graph.binding import FunctionalModel
from onebasin.merging import average, repair
from onebasin.merging.enlarging import merge_enlarged

Params = dict[str, Tensor]


def build() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4))


def networks(number: int) -> list[Params]:
    torch.manual_seed(0)
    models = [build() for _ in range(number)]
    return [{name: 3 * t for name, t in model.state_dict().items()} for model in models]


def batches(seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(100, 6, generator=generator) for _ in range(10)]


def cross_entropy(params: Params, sources: list[Params]) -> float:
    inputs = torch.cat(batches(1))
    with torch.no_grad():
        outputs = [FunctionalModel(build(), each)(inputs) for each in [*sources, params]]
    mean = torch.stack(outputs[:-1]).mean(0).softmax(1)
    return float(-(mean * outputs[-1].log_softmax(1)).sum(1).mean())


def refit(sources: list[Params], outputs: Literal["values", "logits"]) -> Params:
    merged = average(sources)
    return repair(build(), merged, sources, batches(), method="refit", outputs=outputs).params


def test_logits_are_closer_to_the_geometric_mean() -> None:
    sources = networks(2)
    values, logits = refit(sources, "values"), refit(sources, "logits")
    assert cross_entropy(logits, sources) < cross_entropy(values, sources) - 0.01
    assert torch.equal(logits["0.weight"], values["0.weight"])


def test_the_last_layer_of_an_enlarged_network_is_fit() -> None:
    sources, data = networks(2), [(batch, None) for batch in batches()]
    symmetry = onebasin.infer_symmetry(build(), batches()[0])
    inputs = torch.cat(batches(1))
    with torch.no_grad():
        mean = torch.stack([FunctionalModel(build(), each)(inputs) for each in sources]).mean(0)
    losses = []
    kinds: tuple[Literal["values", "logits"], ...] = ("values", "logits")
    for kind in kinds:
        enlarged = merge_enlarged(
            build(), sources, symmetry, data, size=1.3, weights=[0.5, 0.5], outputs=kind
        )
        assert enlarged.params["0.weight"].shape[0] > 8
        with torch.no_grad():
            outputs = enlarged.module(inputs).log_softmax(1)
        losses.append(float(-(mean.softmax(1) * outputs).sum(1).mean()))
    assert losses[1] < losses[0] - 1e-3


def test_networks_with_one_body_keep_the_mean_of_their_logits() -> None:
    first, second = networks(2)
    second = {**first, **{name: second[name] for name in ("2.weight", "2.bias")}}
    mean, changed = average([first, second]), refit([first, second], "logits")
    assert all(torch.allclose(changed[name], tensor, atol=1e-5) for name, tensor in mean.items())


def test_equal_networks_are_not_changed() -> None:
    source = networks(1)[0]
    changed = refit([source, source], "logits")
    assert all(torch.equal(changed[name], tensor) for name, tensor in source.items())


def test_outputs_that_end_in_another_operator_keep_the_solution() -> None:
    model = nn.Sequential(build(), nn.Tanh())
    sources = [{f"0.{name}": t for name, t in each.items()} for each in networks(2)]
    merged = average(sources)
    kinds: tuple[Literal["values", "logits"], ...] = ("values", "logits")
    found = [
        repair(model, merged, sources, batches(), method="refit", outputs=kind).params
        for kind in kinds
    ]
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
