"""Functional difference: units matched by how differently they act on the data.

He et al. (2018), "Multi-Task Zipping via Layer-wise Neuron Sharing", as used by Entezari et
al. (2022), appendix: layer by layer, what is earlier applied first.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from itertools import filterfalse
from math import isclose
from typing import Any, Literal

import torch
from torch import Tensor, nn

from onebasin._checks import checks_arguments
from onebasin.errors import check_choice
from onebasin.graph.features import Features
from onebasin.matching._assignment.greedy import assign_greedily
from onebasin.matching._assignment.linear import assign_many
from onebasin.matching._assignment.nested import NestedSolver
from onebasin.matching._coordinate_descent.runs import begin_search
from onebasin.matching._coordinate_descent.search import Search
from onebasin.matching._coordinate_descent.trees import Key
from onebasin.matching._features.differing import DifferingLayer
from onebasin.matching._features.sides import gather_layers
from onebasin.matching.result import Matching, Progress, Step
from onebasin.matching.weights import CACHE_BYTES
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry

CALL = "match_functional_difference"

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
    r"""Find the permutation of B whose units differ least from A's as functions of their inputs.

    \(\delta_{ij} = \frac12 (w_i^A - w_j^B)^\top (H_A^{-1} + H_B^{-1})^{-1} (w_i^A - w_j^B)\)
    with \(H = E[x x^\top]\) over the layer's inputs, a one appended for the bias. The middle
    factor is computed as the parallel sum \(H_A (H_A + H_B)^+ H_B\), which exists where inputs
    are constant (the borders of MNIST) and \(H\) cannot be inverted.

    Differs from the paper:
        - Any symmetry: the differences of a group are summed over all layers that make its
          units from units that are matched already, windows of convolutions included.
        - Groups that no such layer makes (embeddings, grouped convolutions) are matched by
          weights, to what is matched already.

    Args:
        symmetry: of the architecture of both.
        params_a: the reference: parameters and buffers.
        params_b: what is moved: parameters and buffers.
        model: the architecture, as it was traced; its own parameters are not used.
        data: batches `(inputs, labels)` or inputs alone; read once. At most 4093 evenly
            spaced rows of each layer's input are taken from a batch.
        assignment: `greedy` (pairs by a global sort, as published) or `optimal`.
        cache_bytes: memory for similarities of groups matched by weights.
        progress: called with a `Step` after every group.

    Returns:
        The matching; its objective is minus the summed difference of matched units, for
        units in their old places and at the end.

    Raises:
        OneBasinError: when there is no data, the model refuses a batch, features are not
            finite, or tensors do not fit the symmetry.
    """
    check_choice(CALL, "assignment", assignment, Assignment)
    began = time.perf_counter()
    search, _ = begin_search(symmetry, params_a, params_b, cache_bytes=cache_bytes, call=CALL)
    features = Features(model, data, call=CALL)
    layers = gather_layers(DifferingLayer, symmetry, features, [params_a, params_b], call=CALL)
    run = _Run(search, layers, assignment, progress)
    run.match()
    return Matching(
        permutation=Permutation(symmetry, search.indices),
        objective=(run.before, run.after),
        converged=True,
        num_sweeps=1,
        num_solves=search.num_solves,
        seconds=time.perf_counter() - began,
        restarts=(run.after,),
    )


class _Run:
    """One walk through the network, tree after tree."""

    def __init__(
        self,
        search: Search,
        layers: list[DifferingLayer],
        assignment: Assignment,
        progress: Progress | None,
    ) -> None:
        self.search, self.layers, self.progress = search, layers, progress
        solver = assign_greedily if assignment == "greedy" else assign_many
        self.solvers = {
            root: NestedSolver(tree, num_threads=torch.get_num_threads(), assignment=solver)
            for root, tree in search.trees.items()
        }
        self.known: set[str] = set()
        self.before = self.after = 0.0

    def match(self) -> None:
        """Match every tree, those first whose layers read what is matched already."""
        waiting = list(self.search.trees)
        while waiting:
            root = next(filter(self._makers, waiting), None)
            root = root or next(filterfalse(self._is_made, waiting), waiting[0])
            waiting.remove(root)
            makers = self._makers(root)
            if makers:
                self._match(root, makers)
            else:
                self.search.step(root, known=self.known)
            self.known.update(self.search.trees[root].members)
            if self.progress is not None:
                done, total = len(self.search.trees) - len(waiting), len(self.search.trees)
                self.progress(Step(0, 1, root, done, total, self.after))

    def _is_made(self, root: str) -> bool:
        """Return whether some layer makes a tree's units, be it of what is not matched yet."""
        members = frozenset(self.search.trees[root].members)
        return any(layer.made & members for layer in self.layers)

    def _makers(self, root: str) -> list[DifferingLayer]:
        """Return the layers that make a tree's units of what is matched."""
        members = frozenset(self.search.trees[root].members)
        return [
            layer
            for layer in self.layers
            if layer.made & members
            and layer.read <= self.known
            and layer.made - members <= self.known
        ]

    def _match(self, root: str, makers: list[DifferingLayer]) -> None:
        sums: dict[Key, Tensor] = {}
        for layer in makers:
            layer.add(sums, self.search.trees[root], self.search.indices)
        before = self.search.value(root, sums)
        self.search.num_solves += 1
        found = self.search.indices | self.solvers[root].solve(sums, self.search.indices)
        after = self.search.value(root, sums, found)
        if isclose(before, after, rel_tol=1e-12):
            after = before  # units that nothing tells apart stay where they are
        else:
            self.search.indices = found
        self.before, self.after = self.before + before, self.after + after
