"""Several networks and their ensemble evaluated in one pass, against plain PyTorch."""

from math import exp, log

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from onebasin.errors import OneBasinError
from onebasin.evaluation.evaluator import evaluator
from onebasin.evaluation.network_evaluations import evaluate_networks
from onebasin.evaluation.output_distances import compare_outputs


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def network(seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return dict(model().state_dict())


def data(number: int = 50) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(number, 6, generator=generator)
    return inputs, torch.randint(0, 3, (number,), generator=generator)


def logits_of(params: dict[str, torch.Tensor], inputs: torch.Tensor) -> torch.Tensor:
    module = model()
    module.load_state_dict(params)
    with torch.no_grad():
        return module.eval()(inputs)


def test_loss_and_error_match_plain_pytorch():
    inputs, labels = data()
    a, b = network(0), network(1)
    result = evaluate_networks(
        model(), {"A": a, "B": b}, evaluator(inputs, labels, batch_size=16), ensemble=("A", "B")
    )
    probabilities = []
    for name, params in {"A": a, "B": b}.items():
        logits = logits_of(params, inputs)
        probabilities.append(logits.softmax(1))
        assert result[name].loss == pytest.approx(float(F.cross_entropy(logits, labels)), rel=1e-5)
        wrong = int((logits.argmax(1) != labels).sum())
        assert result[name].error == wrong / 50
        alone = evaluate_networks(model(), {"A": params}, (inputs, labels))["A"]
        assert (alone.error, alone.num_examples) == (wrong / 50, 50)
        assert alone.loss == pytest.approx(result[name].loss, rel=1e-6)
    mean = torch.stack(probabilities).mean(0)
    assert result.ensemble.loss == pytest.approx(float(F.nll_loss(mean.log(), labels)), rel=1e-5)
    assert result.ensemble.error == int((mean.argmax(1) != labels).sum()) / 50
    assert [row["name"] for row in result.rows()] == ["A", "B", "ensemble"]
    assert {row["examples"] for row in result.rows()} == {50}


def test_network_may_be_called_ensemble():
    nets = {"ensemble": network(0), "B": network(1)}
    result = evaluate_networks(model(), nets, [data()], ensemble=("ensemble", "B"))
    alone = evaluate_networks(model(), {"A": network(0)}, data())["A"]
    assert result["ensemble"].loss == pytest.approx(alone.loss, rel=1e-6)
    assert result.ensemble is not None
    assert result.ensemble.loss != pytest.approx(alone.loss, rel=1e-3)
    assert [row["name"] for row in result.rows()] == ["ensemble", "B", "ensemble"]
    assert len(result.plot().patches) == 3


def test_baseline_is_the_best_constant_prediction():
    inputs, labels = data()
    result = evaluate_networks(model(), {"A": network(0)}, [(inputs, labels)]).baseline
    frequencies = labels.bincount() / 50
    constant = frequencies.log().expand(50, 3)
    assert result is not None
    assert result.loss == pytest.approx(float(F.cross_entropy(constant, labels)), rel=1e-6)
    assert result.error == pytest.approx(1 - float(frequencies.max()))
    assert (result.chance_loss, result.chance_error) == (
        pytest.approx(log(3)),
        pytest.approx(2 / 3),
    )


def test_tokens_have_a_perplexity():
    module = nn.Embedding(5, 5)
    tokens = torch.randint(0, 5, (4, 7))
    params = dict(module.state_dict())
    result = evaluate_networks(module, {"A": params}, [(tokens, tokens.roll(-1, 1))])
    with torch.no_grad():
        loss = F.cross_entropy(module(tokens).flatten(0, 1), tokens.roll(-1, 1).flatten())
    assert result.per_token
    assert result.rows()[0]["perplexity"] == pytest.approx(exp(float(loss)), rel=1e-5)
    assert result.baseline is not None
    assert result.baseline.num_examples == 28


def test_squared_errors_have_the_mean_output_as_ensemble():
    module = nn.Linear(6, 2)
    nets = {name: {k: torch.randn_like(v) for k, v in module.state_dict().items()} for name in "AB"}
    inputs, targets = data()[0], torch.randn(50, 2)
    evaluate_mse = evaluator(inputs, targets, loss="mse")
    result = evaluate_networks(module, nets, evaluate_mse, ensemble=("A", "B"))
    outputs = [F.linear(inputs, net["weight"], net["bias"]) for net in nets.values()]
    expected = F.mse_loss(torch.stack(outputs).mean(0), targets)
    assert result.ensemble.loss == pytest.approx(float(expected), rel=1e-5)
    assert result.baseline is None


def test_ensemble_with_a_custom_loss_is_rejected():
    with pytest.raises(OneBasinError, match="an ensemble needs the loss"):
        evaluate_networks(
            model(), {"A": network(0)}, [data()], loss=F.cross_entropy, ensemble=("A",)
        )


def test_data_without_labels_are_rejected():
    with pytest.raises(OneBasinError, match="has no labels"):
        evaluate_networks(model(), {"A": network(0)}, [data()[0]])


def test_output_distances_match_the_formula():
    inputs = data()[0]
    a, b, c = (network(seed) for seed in range(3))
    batches = [inputs[:20], inputs[20:]]
    result = compare_outputs(model(), {"A": a, "B": b, "C": c}, batches, reference=("A", "B"))
    reference = (logits_of(a, inputs) + logits_of(b, inputs)) / 2
    spread = (reference - reference.mean(0)).square().sum()
    for name, params in {"A": a, "B": b, "C": c}.items():
        outputs = logits_of(params, inputs)
        expected = ((outputs - reference).square().sum() / spread).sqrt()
        assert result[name].distance == pytest.approx(float(expected), rel=1e-4)
        same = (outputs.argmax(1) == reference.argmax(1)).double().mean()
        assert result[name].agreement == pytest.approx(float(same))
    same = compare_outputs(model(), {"A": a}, batches, reference=("A",))["A"]
    assert (same.distance, same.agreement) == (0, 1)
