"""Pairs of the networks of `tests.graph.networks`, for the matchers that look at features."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from onebasin import Permutation, Symmetry, infer_symmetry
from tests.graph.networks import build


class Two(NamedTuple):
    """Two networks, their model, and a batch."""

    symmetry: Symmetry
    model: nn.Module
    a: dict[str, Tensor]
    b: dict[str, Tensor]
    batch: Tensor


def twins(name: str) -> Two:
    """Return a network and a permuted copy."""
    model, batch = build(name)
    symmetry, a = infer_symmetry(model, batch), model.state_dict()
    return Two(symmetry, model, a, Permutation.random(symmetry, seed=3).apply(a), batch)


def strangers(name: str) -> Two:
    """Return two networks that have nothing in common."""
    model, batch = build(name)
    a, b = model.state_dict(), build(name, seed=1)[0].state_dict()
    return Two(infer_symmetry(model, batch), model, a, b, batch)
