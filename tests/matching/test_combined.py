"""Combined matching: weights and features together, and each alone at the ends of the scale."""

from __future__ import annotations

from math import inf, nan

import pytest
import torch

from onebasin import OneBasinError, infer_symmetry
from onebasin.matching import match_weights
from onebasin.matching.combined import match_combined
from tests.graph.networks import NETWORKS, build
from tests.matching.twins import strangers, twins


@pytest.mark.parametrize("name", NETWORKS)
def test_planted_permutation_is_recovered_with_dead_units(name: str) -> None:
    symmetry, model, a, b, batch = twins(name)
    result = match_combined(symmetry, a, b, model=model, data=[batch])
    moved = result.permutation.apply(b)
    assert all(torch.equal(moved[tensor], a[tensor]) for tensor in a)
    assert list(result.objective) == sorted(result.objective)


@pytest.mark.parametrize("name", ["mlp", "conv_net"])
def test_balance_zero_is_weight_matching(name: str) -> None:
    symmetry, model, a, b, batch = strangers(name)
    result = match_combined(symmetry, a, b, model=model, data=[batch], balance=0.0)
    expected = match_weights(symmetry, a, b)
    assert result.objective[-1] == pytest.approx(expected.objective[-1])
    for group, index in expected.permutation.indices.items():
        assert torch.equal(result.permutation.indices[group], index)


def test_larger_balance_favors_features_over_weights() -> None:
    symmetry, model, a, b, batch = strangers("conv_net")

    def similarity(balance: float) -> float:
        result = match_combined(symmetry, a, b, model=model, data=[batch], balance=balance)
        moved = result.permutation.apply(b)
        parameters = [name for name in a if name not in symmetry.buffers]
        return float(sum((a[name] * moved[name]).sum() for name in parameters))

    assert similarity(0.0) > similarity(100.0)


def test_numbers_out_of_range_are_rejected() -> None:
    model, batch = build("mlp")
    symmetry, a = infer_symmetry(model, batch), model.state_dict()
    for balance in (-1.0, nan, inf):
        with pytest.raises(OneBasinError, match=f"balance is {balance}; it must be at least 0"):
            match_combined(symmetry, a, a, model=model, data=[batch], balance=balance)
