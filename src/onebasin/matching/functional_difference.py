"""Functional difference: match units by their functions on the data.

He et al. (2018), "Multi-Task Zipping via Layer-wise Neuron Sharing", as used by Entezari et
al. (2022), appendix. Layers are matched in forward order.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from itertools import filterfalse
from math import isclose
from typing import Any, Literal

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from onebasin._checks import checks_arguments
from onebasin.errors import check_choice
from onebasin.graph.features import Features
from onebasin.matching._assignment.linear import assign_many, greedy_assignment
from onebasin.matching._assignment.nested import NestedSolver
from onebasin.matching._coordinate_descent.runs import begin_search
from onebasin.matching._coordinate_descent.search import Search
from onebasin.matching._coordinate_descent.trees import Indices, Key, Tree
from onebasin.matching._features.layer_axes import LayerPair, gather_layers
from onebasin.matching._features.layers import Layer
from onebasin.matching.result import Matching, Progress, Step
from onebasin.matching.weights import CACHE_BYTES
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry


class DifferenceLayer(LayerPair):
    """A layer of both networks and the functional differences of its units."""

    def __post_init__(self) -> None:
        """Compute the weights and moments."""
        super().__post_init__()
        self.aa, self.bb = (each.cpu().double() for each in (self.moments.aa, self.moments.bb))
        self.w_a, self.w_b = (_rows(self.layer, p) for p in (self.params_a, self.params_b))

    def add(self, sums: dict[Key, Tensor], tree: Tree, indices: Indices) -> None:
        """Add minus the differences of a tree's units, with B's inputs permuted by `indices`."""
        differences = functional_differences(*self._moved(indices))
        self.axes.add(sums, tree, self.out, -differences, indices)

    def _moved(
        self, indices: Indices
    ) -> tuple[
        Float64[Tensor, "n d"],
        Float64[Tensor, "n d"],
        Float64[Tensor, "d d"],
        Float64[Tensor, "d d"],
    ]:
        out = self.axes.sources(self.out, indices)
        inner = self.axes.sources(self.inner, indices)
        inner = torch.cat((inner, torch.tensor([len(inner)])))
        return self.w_a, self.w_b[out][:, inner], self.aa, self.bb[inner][:, inner]


def functional_differences(
    w_a: Float64[Tensor, "n d"],
    w_b: Float64[Tensor, "n d"],
    h_a: Float64[Tensor, "d d"],
    h_b: Float64[Tensor, "d d"],
) -> Float64[Tensor, "n n"]:
    r"""Return \(\frac12 (w_i - w_j)^\top (H_A^{-1} + H_B^{-1})^{-1} (w_i - w_j)\) for all pairs.

    Args:
        w_a, w_b: weights with one row for each unit of A and of B.
        h_a, h_b: second moments of their inputs; they may be singular.

    Returns:
        Non-negative differences; row i is unit i of A.
    """
    middle = parallel_sum(h_a, h_b)
    left, right = w_a @ middle, w_b @ middle
    squares = (left * w_a).sum(1)[:, None] + (right * w_b).sum(1)[None]
    return (squares / 2 - left @ w_b.T).clamp(min=0)


def parallel_sum(a: Float64[Tensor, "d d"], b: Float64[Tensor, "d d"]) -> Float64[Tensor, "d d"]:
    r"""Return \(A (A + B)^+ B\), which equals \((A^{-1} + B^{-1})^{-1}\) for invertible matrices.

    Args:
        a, b: symmetric positive semidefinite matrices.
    """
    result = a @ torch.linalg.pinv(a + b, hermitian=True) @ b
    return (result + result.T) / 2


def _rows(layer: Layer, params: Mapping[str, Tensor]) -> Float64[Tensor, "n d"]:
    """Return one row for each unit, with its bias last."""
    weight = layer.matrix(params).cpu().double()
    bias = (
        params[layer.bias].detach().cpu().double() if layer.bias else weight.new_zeros(len(weight))
    )
    return torch.cat((weight, bias[:, None]), dim=1)


Assignment = Literal["greedy", "optimal"]


@checks_arguments
def match_functional_difference(
    symmetry: Symmetry,
    params_a: Mapping[str, Tensor],
    params_b: Mapping[str, Tensor],
    *,
    model: nn.Module,
    data: Iterable[Any],
    assignment: Assignment = "greedy",
    cache_bytes: int = CACHE_BYTES,
    progress: Progress | None = None,
) -> Matching:
    r"""Find the permutation of B that minimizes the functional differences from A's units.

    \(\delta_{ij} = \frac12 (w_i^A - w_j^B)^\top (H_A^{-1} + H_B^{-1})^{-1} (w_i^A - w_j^B)\)
    with \(H = E[x x^\top]\) over the layer's inputs, with a one appended for the bias. The
    middle factor is computed as the parallel sum \(H_A (H_A + H_B)^+ H_B\). This also exists
    for constant inputs, such as the borders of MNIST, with a singular \(H\).

    Differs from the paper:
        - Supports any symmetry: the differences of a group are summed over all layers that
          compute its units from matched units, windows of convolutions included.
        - Groups without such a layer (embeddings, grouped convolutions) are matched by
          weights, relative to the matched groups.

    Args:
        symmetry: symmetry of the architecture.
        params_a: parameters and buffers of A, the reference.
        params_b: parameters and buffers of B, the network to permute.
        model: the traced architecture; its own parameters are ignored.
        data: batches `(inputs, labels)` or inputs; read once. At most 4093 evenly spaced rows
            of each layer's input are used per batch.
        assignment: `greedy` (pairs by a global sort, as published) or `optimal`.
        cache_bytes: memory for similarities of groups matched by weights.
        progress: callback with a `Step` after every group.

    Returns:
        The matching. Its objective is minus the summed difference of matched units, before
        and after.

    Raises:
        OneBasinError: the data are empty, the model fails on a batch, features are not finite,
            or tensors do not match the symmetry.
    """
    check_choice("assignment", assignment, Assignment)
    began = time.perf_counter()
    search, _ = begin_search(symmetry, params_a, params_b, cache_bytes=cache_bytes)
    features = Features(model, data)
    layers = gather_layers(DifferenceLayer, symmetry, features, [params_a, params_b])
    run = _Run(search, layers, assignment, progress)
    run.match()
    return Matching(
        permutation=Permutation(symmetry, search.indices),
        objective=(run.before, run.after),
        converged=True,
        num_sweeps=1,
        num_solves=search.num_solves + run.num_solves,
        seconds=time.perf_counter() - began,
        restarts=(run.after,),
    )


class _Run:
    """One pass through the network, tree after tree."""

    def __init__(
        self,
        search: Search,
        layers: list[DifferenceLayer],
        assignment: Assignment,
        progress: Progress | None,
    ) -> None:
        self.search, self.layers, self.progress = search, layers, progress
        solver = greedy_assignment if assignment == "greedy" else assign_many
        self.solvers = {
            root: NestedSolver(tree, num_threads=torch.get_num_threads(), assignment=solver)
            for root, tree in search.trees.items()
        }
        self.known: set[str] = set()
        self.before = self.after = 0.0
        self.num_solves = 0

    def match(self) -> None:
        """Match every tree; trees whose layers read matched units come first."""
        waiting = list(self.search.trees)
        while waiting:
            root = next(filter(self._ready_layers, waiting), None)
            root = root or next(filterfalse(self._has_layer, waiting), waiting[0])
            waiting.remove(root)
            layers = self._ready_layers(root)
            if layers:
                self._match(root, layers)
            else:
                self.search.step(root, known=self.known)
            self.known.update(self.search.trees[root].members)
            if self.progress is not None:
                done, total = len(self.search.trees) - len(waiting), len(self.search.trees)
                self.progress(Step(0, 1, root, done, total, self.after))

    def _has_layer(self, root: str) -> bool:
        """Return whether some layer computes a tree's units."""
        members = frozenset(self.search.trees[root].members)
        return any(layer.output_groups & members for layer in self.layers)

    def _ready_layers(self, root: str) -> list[DifferenceLayer]:
        """Return the layers that compute a tree's units from matched units."""
        members = frozenset(self.search.trees[root].members)
        return [
            layer
            for layer in self.layers
            if layer.output_groups & members
            and layer.input_groups <= self.known
            and layer.output_groups - members <= self.known
        ]

    def _match(self, root: str, layers: list[DifferenceLayer]) -> None:
        sums: dict[Key, Tensor] = {}
        for layer in layers:
            layer.add(sums, self.search.trees[root], self.search.indices)
        before = self.search.value(root, sums)
        self.num_solves += 1
        indices = self.search.indices | self.solvers[root].solve(sums, self.search.indices)
        after = self.search.value(root, sums, indices)
        if isclose(before, after, rel_tol=1e-12):
            after = before  # do not reorder indistinguishable units
        else:
            self.search.set_indices(indices)
        self.before, self.after = self.before + before, self.after + after
