"""Lemma: errors on the path, the bound, and what holds whether or not LLFC does."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from onebasin.errors import OneBasinError
from onebasin.evaluation.features import check_error_bound
from tests.evaluation.features.pairs import Params, between, labels_for, pair


def outputs(model: nn.Module, params: Params, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        return functional_call(model, params, (inputs,)).flatten(0, -2)


@pytest.mark.parametrize(("name", "classes"), [("mlp", 3), ("transformer", 11)])
def test_numbers_match_the_networks(name: str, classes: int) -> None:
    model, a, b, inputs = pair(name)
    labels = labels_for(inputs, classes)
    if name == "transformer":
        labels = inputs.roll(1, 1)
        labels[0, :2] = -100
    result = check_error_bound(model, a, b, [(inputs[:3], labels[:3]), (inputs[3:], labels[3:])])
    counts = labels.flatten() != -100
    of_a, of_b = outputs(model, a, inputs)[counts], outputs(model, b, inputs)[counts]
    classes_of = labels.flatten()[counts]

    def error(logits: Tensor) -> float:
        return float((logits.argmax(1) != classes_of).double().mean())

    assert result.epsilon == pytest.approx(max(error(of_a), error(of_b)))
    assert result.bound == 2 * result.epsilon
    assert result.at("output", "error", 1.0).mean == pytest.approx(error(of_a))
    errors = []
    for alpha in (0.25, 0.5, 0.75):
        x = outputs(model, between(a, b, alpha), inputs)[counts]
        y = alpha * of_a + (1 - alpha) * of_b
        errors.append(error(x))
        assert result.at("output", "error", alpha).mean == pytest.approx(error(x))
        assert result.at("output", "error of the mix", alpha).mean == pytest.approx(error(y))
        differ = float((x.argmax(1) != y.argmax(1)).double().mean())
        assert result.at("output", "disagreement", alpha).mean == pytest.approx(differ)
        assert error(y) <= result.bound + 1e-12
        assert error(x) <= result.unconditional_bound(alpha) + 1e-12
        assert result.at("output", "error", alpha).n == int(counts.sum())
    assert result.path_error == pytest.approx(max(errors))
    assert result.bound_satisfied == (max(errors) <= result.bound)


def test_bound_holds_with_llfc_and_can_fail_without() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 2, bias=False))
    inputs = torch.tensor([[1.0, 0.2], [0.3, 1.0], [0.1, 2.0], [3.0, 1.0]])
    labels = (inputs[:, 1] > inputs[:, 0]).long()
    swap, eye = torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.eye(2)
    a = {"0.weight": eye, "2.weight": eye}
    twin = {"0.weight": swap, "2.weight": swap}
    same = check_error_bound(model, a, a, [(inputs, labels)])
    assert (same.epsilon, same.path_error, same.bound_satisfied) == (0, 0, True)
    crossed = check_error_bound(model, a, twin, [(inputs, labels)], alphas=[0.5])
    # Halfway all weights are 1/2, both outputs equal, and the first class is taken.
    assert (crossed.epsilon, crossed.path_error, crossed.bound_satisfied) == (0, 0.5, False)
    assert crossed.at("output", "disagreement", 0.5).mean == 0.5
    assert crossed.at("output", "error of the mix", 0.5).mean == 0


def test_single_example_counts_once() -> None:
    model, a, b, inputs = pair("mlp")
    labels = labels_for(inputs, 3)
    whole = check_error_bound(model, a, b, [(inputs, labels)])
    parts = check_error_bound(model, a, b, [(inputs[:1], labels[:1]), (inputs[1:], labels[1:])])
    for one, other in zip(whole.records, parts.records, strict=True):
        assert other.mean == pytest.approx(one.mean)
        assert other.n == one.n


def test_mismatched_labels_are_rejected() -> None:
    model, a, b, inputs = pair("mlp")
    with pytest.raises(
        OneBasinError, match=r"^check_error_bound: batch 0 of the data .* has no labels"
    ):
        check_error_bound(model, a, b, [inputs])
    with pytest.raises(
        OneBasinError, match=r"^check_error_bound: outputs are \(6, 3\) and labels \(5,\) torch"
    ):
        check_error_bound(model, a, b, [(inputs, torch.zeros(5, dtype=torch.long))])
    with pytest.raises(
        OneBasinError, match=r"^check_error_bound: outputs are \(6, 3\) and labels \(6,\) torch"
    ):
        check_error_bound(model, a, b, [(inputs, torch.zeros(6))])


def test_labels_outside_of_the_classes_are_rejected() -> None:
    model, a, b, inputs = pair("mlp")
    with pytest.raises(
        OneBasinError, match=r"^check_error_bound: labels are 3 to 3, but there are 3 classes"
    ):
        check_error_bound(model, a, b, [(inputs, torch.full((len(inputs),), 3))])


def test_ignored_labels_only_are_rejected() -> None:
    model, a, b, inputs = pair("mlp")
    with pytest.raises(
        OneBasinError, match=r"^check_error_bound: all labels are ignored .got -100.; pass"
    ):
        check_error_bound(model, a, b, [(inputs, torch.full((len(inputs),), -100))])
