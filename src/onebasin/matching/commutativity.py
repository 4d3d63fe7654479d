"""Commutativity matching: minimize the commutators of the layers of A and B.

Zhou et al. (2023) show that linear layers of linearly connected networks commute:
(W_A - P W_B P'^T)(H_A - P' H_B) = 0. Weight matching minimizes the first factor, activation
matching the second, and this method their product.

With D = W_A - W and K = E[(h_A - h)(h_A - h)'], where W and h are those of permuted B, a layer
adds tr(D K D'). This is linear in the order of its output units and quadratic in the order of
its input units. The similarities are minus half its gradient.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from onebasin._checks import checks_arguments
from onebasin.graph.features import Features
from onebasin.matching._checks import check_counts, check_init, check_seed
from onebasin.matching._coordinate_descent.runs import begin_search
from onebasin.matching._coordinate_descent.search import DAMPING, Search
from onebasin.matching._coordinate_descent.trees import Indices, Key, Tree
from onebasin.matching._features.layer_axes import LayerPair, gather_layers
from onebasin.matching.activations import match_activations
from onebasin.matching.result import Matching, Progress, Step
from onebasin.matching.weights import CACHE_BYTES, match_weights
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry


class CommutingLayer(LayerPair):
    """A layer of both networks and its commutator."""

    def __post_init__(self) -> None:
        """Compute the weights and moments."""
        super().__post_init__()
        # A bias cancels, so the row of ones is not needed.
        self.aa, self.bb, self.ab = (
            each[:-1, :-1].cpu() for each in (self.moments.aa, self.moments.bb, self.moments.ab)
        )
        dtype = self.aa.dtype
        self.w_a = self.layer.matrix(self.params_a).cpu().to(dtype)
        self.w_b = self.layer.matrix(self.params_b).cpu().to(dtype)
        energy = (self.w_a @ self.aa * self.w_a).sum() + (self.w_b @ self.bb * self.w_b).sum()
        self.scale = 2 / float(energy) if float(energy) > 0 else 0.0

    def value(self, indices: Indices) -> float:
        """Return the term of the layer in the sum."""
        w, bb, ab = self._moved(indices)
        difference = self.w_a - w
        kernel = self.aa + bb - ab - ab.T
        norm = float((difference @ kernel * difference).sum(dtype=torch.float64))
        return self.scale * max(0.0, norm)

    def add(self, sums: dict[Key, Tensor], tree: Tree, indices: Indices) -> None:
        """Add minus half the gradient to the similarities of a tree."""
        w, bb, ab = self._moved(indices)
        members = frozenset(tree.members)
        if self.output_groups & members:
            kernel = self.aa + bb - ab - ab.T
            self.axes.add(sums, tree, self.out, self.scale * (self.w_a @ kernel @ w.T), indices)
        if self.input_groups & members:
            square_a, square_b, cross = self.w_a.T @ self.w_a, w.T @ w, self.w_a.T @ w
            gradient = square_a @ (ab - bb) + self.aa @ (cross - square_b)
            gradient += cross @ (bb - ab) + ab @ (square_b - cross)
            self.axes.add(sums, tree, self.inner, self.scale * gradient, indices)

    def _moved(
        self, indices: Indices
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "d d"], Float[Tensor, "d d"]]:
        out, inner = (self.axes.sources(side, indices) for side in (self.out, self.inner))
        return self.w_b[out][:, inner], self.bb[inner][:, inner], self.ab[:, inner]


@dataclass(frozen=True)
class CommutingRun:
    """Result of one start.

    Args:
        indices: indices of all groups.
        values: minus the sum, at initialization and after every sweep.
        converged: whether no tree moved in the last sweep.
    """

    indices: dict[str, Tensor]
    values: tuple[float, ...]
    converged: bool


class CommutingDescent:
    """Coordinate descent on the sum over layers.

    Args:
        search: search with the trees and their solvers.
        layers: the layers.
        seed: random seed for the order of the trees.
        max_sweeps: maximum number of sweeps of a run.
    """

    def __init__(
        self,
        search: Search,
        layers: Sequence[CommutingLayer],
        *,
        seed: int,
        max_sweeps: int,
    ) -> None:
        self.search, self.layers, self.max_sweeps = search, layers, max_sweeps
        self.rng = np.random.default_rng(seed)
        self.num_solves = 0

    def run(self, start: Indices, number: int, progress: Progress | None) -> CommutingRun:
        """Descend from a start.

        Args:
            start: indices of all groups.
            number: number of the start, from 0.
            progress: callback after every tree.
        """
        now = {layer.inner: layer.value(start) for layer in self.layers}
        indices, values, moved = dict(start), [-sum(now.values())], True
        roots = list(self.search.trees)
        while len(values) <= self.max_sweeps and moved:
            moved = False
            for done, place in enumerate(self.rng.permutation(len(roots)), start=1):
                changed = self._step(roots[place], indices, now)
                indices.update(changed)
                moved |= bool(changed)
                if progress is not None:
                    sweep, value = len(values), -sum(now.values())
                    progress(Step(number, sweep, roots[place], done, len(roots), value))
            values.append(-sum(now.values()))
        return CommutingRun(indices, tuple(values), converged=not moved)

    def _step(
        self, root: str, indices: Mapping[str, Tensor], now: dict[str, float]
    ) -> dict[str, Tensor]:
        """Return the new indices of one tree, or nothing if the sum does not decrease.

        Args:
            root: root of the tree.
            indices: indices of all groups.
            now: value of each layer, updated if the tree moves.
        """
        tree = self.search.trees[root]
        members = frozenset(tree.members)
        affected = [
            layer for layer in self.layers if (layer.output_groups | layer.input_groups) & members
        ]
        sums: dict[Key, Tensor] = {}
        for layer in affected:
            layer.add(sums, tree, indices)
        before = sum(now[layer.inner] for layer in affected)
        for damping in DAMPING if sums else ():
            self.num_solves += 1
            changed = self.search.solvers[root].solve(sums, indices, damping)
            if all(torch.equal(changed[name], indices[name]) for name in tree.members):
                return {}
            values = {layer.inner: layer.value({**indices, **changed}) for layer in affected}
            if sum(values.values()) < before * (1 - 1e-6):
                now.update(values)
                return changed
        return {}


@checks_arguments
def match_commutativity(
    symmetry: Symmetry,
    params_a: Mapping[str, Tensor],
    params_b: Mapping[str, Tensor],
    *,
    model: nn.Module,
    data: Iterable[Any],
    seed: int = 0,
    max_sweeps: int = 100,
    init: Permutation | None = None,
    cache_bytes: int = CACHE_BYTES,
    progress: Progress | None = None,
) -> Matching:
    r"""Find the permutation of B that minimizes the commutators of the layers of A and B.

    Minimizes \(\sum_\ell \|(W_A - P W_B P'^\top)(H_A - P' H_B)\|^2 / c_\ell\), where
    \(H\) are the inputs of layer \(\ell\), and \(P'\) and \(P\) act on its two sides.
    \(c_\ell\) is the mean of \(\|W_A H_A\|^2\) and \(\|W_B H_B\|^2\), which makes layers of
    different scale comparable. Coordinate descent assigns one tree of groups at a time by the
    linearized sum, and accepts the step if the sum decreases. The sum depends on the data only
    through second moments, which take one pass.

    The starts are weight matching, activation matching, and weight matching initialized by
    activation matching; the best result is returned. Convolutions are layers with windows as
    inputs. Grouped convolutions, embeddings and norms are ignored; a group of only these keeps
    the permutation of the start.

    Args:
        symmetry: symmetry of the architecture.
        params_a: parameters and buffers of A, the reference.
        params_b: parameters and buffers of B, the network to permute.
        model: the traced architecture; its own parameters are ignored.
        data: batches `(inputs, labels)` or inputs; read twice. At most 4093 evenly spaced rows
            of each layer's input are used per batch.
        seed: random seed for the group order.
        max_sweeps: maximum number of passes over all groups, for each start.
        init: a single start that replaces the three.
        cache_bytes: memory for similarities of the starts.
        progress: callback with a `Step` after every group.

    Returns:
        The matching. Its objective is minus the sum and never decreases. `restarts` holds the
        final objective of each start.

    Raises:
        OneBasinError: the data are empty, the model fails on a batch or has no supported layer,
            features are not finite, tensors or `init` do not match the symmetry, or
            `max_sweeps` is below 1.
    """
    check_counts(max_sweeps=max_sweeps)
    check_seed(seed)
    check_init(symmetry, init)
    began = time.perf_counter()
    search, _ = begin_search(symmetry, params_a, params_b, cache_bytes=cache_bytes)
    features = Features(model, data)
    layers = gather_layers(CommutingLayer, symmetry, features, [params_a, params_b])
    descent = CommutingDescent(search, layers, seed=seed, max_sweeps=max_sweeps)
    starts = [] if init is None else [init]
    if not starts:
        starts = _starts(symmetry, params_a, params_b, model, data, seed, cache_bytes)
    runs = [descent.run(start.indices, number, progress) for number, start in enumerate(starts)]
    best = max(runs, key=lambda run: run.values[-1])
    return Matching(
        permutation=Permutation(symmetry, best.indices),
        objective=best.values,
        converged=best.converged,
        num_sweeps=len(best.values) - 1,
        num_solves=descent.num_solves,
        seconds=time.perf_counter() - began,
        restarts=tuple(run.values[-1] for run in runs),
    )


def _starts(
    symmetry: Symmetry,
    params_a: Mapping[str, Tensor],
    params_b: Mapping[str, Tensor],
    model: nn.Module,
    data: Iterable[Any],
    seed: int,
    cache_bytes: int,
) -> list[Permutation]:
    by_weights = partial(match_weights, symmetry, params_a, params_b, seed=seed)
    by_features = match_activations(
        symmetry, params_a, params_b, model=model, data=data, cache_bytes=cache_bytes
    ).permutation
    first, both = (
        by_weights(init=init, cache_bytes=cache_bytes).permutation for init in (None, by_features)
    )
    return [first, by_features, both]
