"""Matching of units by the moments of their weights, which do not depend on other groups."""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from onebasin.matching._coordinate_descent.search import Search
from onebasin.matching._coordinate_descent.trees import Key


def match_by_moments(search: Search) -> None:
    """Match every tree by the moments of its units' weights."""
    for root in search.trees:
        sums = _moment_similarities(search, root)
        if sums:
            search.move(search.solve(root, sums))


def _moment_similarities(search: Search, root: str) -> dict[Key, Tensor]:
    """Return minus the squared distance of the units' moments, scaled to variance one."""
    features: dict[Key, list[tuple[Tensor, Tensor]]] = {}
    name, tensors = "", None
    for view in search.views[root]:
        if tensors is None or view.tensor != name:
            name, tensors = view.tensor, search.pair.read(view.tensor)
        num_outer = view.key.num_outer(search.trees[root])
        a, b = (_moments(view.arrange(tensor), num_outer) for tensor in tensors)
        features.setdefault(view.key, []).append((a, b))
    sums = {}
    for key, pairs in features.items():
        a, b = (torch.cat(side, dim=-1) for side in zip(*pairs, strict=True))
        scale = torch.cat((a, b), dim=1).std(dim=1, keepdim=True).clamp(min=1e-12)
        sums[key] = -(torch.cdist(a / scale, b / scale) ** 2).to(search.pair.dtype)
    return sums


def _moments(
    rows: Float[Tensor, "r f n"], num_outer: int
) -> Float64[Tensor, "{num_outer} n moments"]:
    """Return sums of powers of all entries of every unit."""
    entries = rows.double().reshape(num_outer, -1, rows.shape[-1])
    size = entries.abs().mean().clamp(min=1e-300)
    entries = entries / size
    powers = [entries, entries.square(), entries**3, entries.abs()]
    return torch.stack([power.sum(dim=1) for power in powers], dim=-1)
