"""Inputs: second moments of what the layers of two networks are fed, streamed.

Owns the sums `E[x_A x_A']`, `E[x_B x_B']` and `E[x_A x_B']` for every layer, and how much of a
batch they are taken from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from onebasin._dtypes import compute_dtype
from onebasin.graph.features import BatchContext, Features, check_finite
from onebasin.graph.graph import Call, ForwardPreHook
from onebasin.matching._features.layers import Layer, Windows

MAX_ROWS = 4093
"""Rows of a layer's input that are taken from a batch: evenly spaced, others in each batch.

A prime, since with steps of a power of two only one column of each image would be seen.
"""

GOLDEN = (5**0.5 - 1) / 2
"""Share of a step by which every batch begins later: the shares of all spread evenly."""


@dataclass
class InputMoments:
    """Second moments of a layer's input; a one is appended to every row.

    Args:
        aa, bb, ab: means of products, rows of A first.
        count: rows that they are means of.
    """

    aa: Float[Tensor, "d d"]
    bb: Float[Tensor, "d d"]
    ab: Float[Tensor, "d d"]
    count: float = 0.0

    @classmethod
    def of(cls, a: Float[Tensor, "n d"]) -> InputMoments:
        """Return moments of nothing, for rows like `a`."""
        dtype = compute_dtype(a.dtype)
        size = a.shape[1] + 1
        empty = torch.zeros(size, size, dtype=dtype, device=a.device)
        return cls(empty, empty.clone(), empty.clone())

    def add(self, a: Float[Tensor, "n d"], b: Float[Tensor, "n d"], weight: float) -> bool:
        """Add rows; return whether they are finite."""
        a, b = (torch.cat((x, x.new_ones(len(x), 1)), 1).to(self.aa.dtype) for x in (a, b))
        self.count += weight * len(a)
        share = weight / self.count
        keep = 1 - share * len(a)
        for total, left, right in ((self.aa, a, a), (self.bb, b, b), (self.ab, a, b)):
            total.addmm_(left.T, right, beta=keep, alpha=share)
        return bool(torch.isfinite(self.ab[-1]).all() and torch.isfinite(self.ab[:, -1]).all())


def gather_inputs(
    features: Features,
    params: Sequence[Mapping[str, Tensor]],
    layers: Sequence[Layer],
    *,
    call: str,
    progress: Callable[[int], object] | None = None,
) -> dict[str, InputMoments]:
    """Return the moments of the inputs of some layers, by node, in one pass over the data.

    Args:
        features: of the model on the data.
        params: of A and of B.
        layers: of the model's graph.
        call: the public function that is running, for messages.
        progress: called with the number of batches done.

    Raises:
        OneBasinError: when features are not finite or the model refuses a batch.
    """
    wanted = {layer.node: layer for layer in layers}
    moments: dict[str, InputMoments] = {}

    def enter_of(passage: BatchContext) -> ForwardPreHook:
        def enter(node: Call) -> None:
            layer = wanted.get(node.name)
            if layer is None:
                return
            both = [layer.rows(node, k) for k in range(2)]
            a, b = (_thinned(rows, passage.number) for rows in both)
            if layer.node not in moments:
                moments[layer.node] = InputMoments.of(a)
            # Each row stands for those that are left out: batches count by their sizes.
            if not moments[layer.node].add(a, b, passage.weight * len(both[0]) / len(a)):
                check_finite((a, b), passage.graph, node.name, call)

        return enter

    features.run(params, lambda _: lambda *_: None, enter=enter_of, progress=progress)
    return moments


def _thinned(rows: Float[Tensor, "n d"] | Windows, number: int) -> Float[Tensor, "m d"]:
    total = len(rows)
    count = min(total, MAX_ROWS)
    later = int(number * GOLDEN % 1 * total)
    return rows[(torch.arange(count) * total + later) // count]
