"""Second moments of the inputs of both networks' layers, accumulated over batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from onebasin._dtypes import compute_dtype
from onebasin.graph._windows import Windows
from onebasin.graph.features import BatchContext, Features, check_finite
from onebasin.graph.graph import Call, ForwardPreHook
from onebasin.matching._features.layers import Layer

MAX_ROWS = 4093
"""Maximum number of rows of a layer's input per batch, evenly spaced.

It is prime. With a power of two only one column of each image would be sampled.
"""

GOLDEN = (5**0.5 - 1) / 2
"""Offset between batches as a fraction of a step, which spreads the offsets evenly."""


@dataclass
class InputMoments:
    """Second moments of a layer's input; a one is appended to every row.

    Args:
        aa, bb, ab: means of products, rows of A first.
        count: weighted number of rows.
    """

    aa: Float[Tensor, "d d"]
    bb: Float[Tensor, "d d"]
    ab: Float[Tensor, "d d"]
    count: float = 0.0

    @classmethod
    def of(cls, a: Float[Tensor, "n d"]) -> InputMoments:
        """Return empty moments for rows like `a`."""
        dtype = compute_dtype(a.dtype)
        size = a.shape[1] + 1
        empty = torch.zeros(size, size, dtype=dtype, device=a.device)
        return cls(empty, empty.clone(), empty.clone())

    def add(self, a: Float[Tensor, "n d"], b: Float[Tensor, "n d"], weight: float) -> bool:
        """Add rows; return whether they are finite."""
        a, b = (torch.cat((x, x.new_ones(len(x), 1)), 1).to(self.aa.dtype) for x in (a, b))
        self.count += weight * len(a)
        fraction = weight / self.count
        keep = 1 - fraction * len(a)
        for total, left, right in ((self.aa, a, a), (self.bb, b, b), (self.ab, a, b)):
            total.addmm_(left.T, right, beta=keep, alpha=fraction)
        return bool(torch.isfinite(self.ab[-1]).all() and torch.isfinite(self.ab[:, -1]).all())


def gather_inputs(
    features: Features,
    params: Sequence[Mapping[str, Tensor]],
    layers: Sequence[Layer],
    *,
    progress: Callable[[int], object] | None = None,
) -> dict[str, InputMoments]:
    """Return the moments of the inputs of some layers by node, after one pass over the data.

    Args:
        features: features of the model on the data.
        params: parameters of A and of B.
        layers: layers of the model's graph.
        progress: called with the number of batches done.

    Raises:
        OneBasinError: features are not finite, or the model fails on a batch.
    """
    wanted = {layer.node: layer for layer in layers}
    moments: dict[str, InputMoments] = {}

    def make_pre_hook(context: BatchContext) -> ForwardPreHook:
        def pre_hook(node: Call) -> None:
            layer = wanted.get(node.name)
            if layer is None:
                return
            both = [layer.rows(node, k) for k in range(2)]
            a, b = (_subsampled(rows, context.number) for rows in both)
            if layer.node not in moments:
                moments[layer.node] = InputMoments.of(a)
            # Each row represents the omitted ones, so batches are weighted by their sizes.
            if not moments[layer.node].add(a, b, context.weight * len(both[0]) / len(a)):
                check_finite((a, b), context.graph, node.name)

        return pre_hook

    features.run(params, lambda _: lambda *_: None, make_pre_hook=make_pre_hook, progress=progress)
    return moments


def _subsampled(rows: Float[Tensor, "n d"] | Windows, number: int) -> Float[Tensor, "m d"]:
    total = len(rows)
    count = min(total, MAX_ROWS)
    later = int(number * GOLDEN % 1 * total)
    return rows[(torch.arange(count) * total + later) // count]
