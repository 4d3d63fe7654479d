"""Symmetries that depend on buffer values require checkpoints with these values."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from onebasin import OneBasinError, Permutation, infer_symmetry
from onebasin.matching import match_weights
from onebasin.symmetry import Symmetry


class Select(nn.Module):
    """Permutes its units by an index in a buffer."""

    def __init__(self, index) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(3, 8), nn.Linear(8, 2), nn.Linear(8, 2)
        self.register_buffer("index", torch.tensor(index))

    def forward(self, x):
        h = torch.relu(self.a(x))
        return self.b(h) + torch.tanh(self.c(h[:, self.index]))


IN_ORDER, HALVES = list(range(8)), [4, 5, 6, 7, 0, 1, 2, 3]


def test_different_index_values_raise():
    symmetry = infer_symmetry(Select(IN_ORDER), torch.randn(2, 3))
    assert symmetry.groups and list(symmetry.buffer_values) == ["index"]
    right, wrong = Select(IN_ORDER).state_dict(), Select(HALVES).state_dict()
    match_weights(symmetry, right, right)
    for pair, side in (((wrong, right), "A"), ((right, wrong), "B")):
        with pytest.raises(OneBasinError, match=f"match_weights: .*{side}.*'index' differs"):
            match_weights(symmetry, *pair)
    with pytest.raises(OneBasinError, match="buffer 'index' differs"):
        Permutation.identity(symmetry).apply(wrong)


def test_random_index_is_not_a_dependency():
    symmetry = infer_symmetry(Select([3, 1, 4, 0, 5, 7, 2, 6]), torch.randn(2, 3))
    assert symmetry.buffer_values == {}
    Permutation.identity(symmetry).apply(Select(HALVES).state_dict())


def test_saved_symmetry_keeps_the_digests(tmp_path):
    symmetry = infer_symmetry(Select(HALVES), torch.randn(2, 3))
    symmetry.save(tmp_path / "symmetry.json")
    assert Symmetry.load(tmp_path / "symmetry.json").buffer_values == symmetry.buffer_values


def test_numpy_index_raises():
    symmetry = infer_symmetry(Select(IN_ORDER), torch.randn(2, 3))
    params = Select(IN_ORDER).state_dict()
    params["index"] = params.pop("index").numpy()
    with pytest.raises(OneBasinError, match=r"'index' is .* hold torch"):
        Permutation.identity(symmetry).apply(params)


def test_meta_index_is_not_checked():
    symmetry = infer_symmetry(Select(IN_ORDER), torch.randn(2, 3))
    params = Select(HALVES).to("meta").state_dict()
    assert Permutation.identity(symmetry).apply(params)["index"].is_meta
