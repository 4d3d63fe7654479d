"""Matching by all maps of a symmetry: permutations, signs, scales, rotations and linear maps."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from onebasin._checks import checks_arguments
from onebasin.errors import ArgumentError, check_amount, check_choice
from onebasin.graph._sites import Position
from onebasin.graph.features import Features
from onebasin.matching._checks import check_counts, check_init, check_seed
from onebasin.matching._coordinate_descent.runs import descend_from_starts
from onebasin.matching._features.similarities import FeatureSimilarities
from onebasin.matching._rotations.balanced_pair import BalancedPair
from onebasin.matching.result import Matching, Progress
from onebasin.matching.weights import CACHE_BYTES
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry


@checks_arguments
def match_rotations(
    symmetry: Symmetry,
    params_a: Mapping[str, Tensor],
    params_b: Mapping[str, Tensor],
    *,
    model: nn.Module | None = None,
    data: Iterable[Any] | None = None,
    position: Position = "post",
    seed: int = 0,
    max_sweeps: int = 100,
    restarts: int = 1,
    init: Permutation | None = None,
    cache_bytes: int = CACHE_BYTES,
    progress: Progress | None = None,
) -> Matching:
    r"""Find the transformation of B that is closest to A, in the class of every group.

    Both networks are balanced first: gains of normalizations are folded into other tensors, scales
    minimize the norm of the network, and linear maps make the Gram matrices of the tensors before
    and after them equal. What remains are permutations, signs and orthogonal maps. They maximize
    \(\langle A, T(B)\rangle\) of the balanced networks by the coordinate descent of
    `match_weights`. Each step solves an assignment problem, or the orthogonal Procrustes problem
    (Schönemann, 1966) if the units of a group can be mixed. The similarity of two attention heads
    is the largest value that maps within the heads can reach, a sum of singular values.

    The function of B does not change, and A is not changed.

    Args:
        symmetry: symmetry of the architecture, with the classes of its groups. Groups with gains
            that are almost zero in one of the networks are only permuted.
        params_a: parameters and buffers of A, the reference.
        params_b: parameters and buffers of B, the network to transform.
        model: the traced architecture, for features; its own parameters are ignored.
        data: batches `(inputs, labels)` or inputs; read once. With data, the search starts from
            the transformation that is best for the features of both networks.
        position: `post` (input of the next layer) or `pre` (input of the nonlinearity).
        seed: random seed for the group order.
        max_sweeps: maximum number of passes over all groups.
        restarts: number of starts, as in `match_weights`; the best one is returned.
        init: the initial permutation, without data.
        cache_bytes: memory for similarities, and the same for transformed tensors.
        progress: callback with a `Step` after every group.

    Returns:
        The matching: `matching.transformation.apply(params_b)` is the aligned network. The
        objective is that of the balanced networks.

    Raises:
        OneBasinError: tensors are missing, have other shapes, or are not real and finite; data
            are given without a model; a number is out of range.

    Example:
        >>> import torch
        >>> from onebasin import infer_symmetry
        >>> from onebasin.symmetry.transformation import Transformation
        >>> net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> symmetry, a = infer_symmetry(net, torch.zeros(2, 3)), net.state_dict()
        >>> b = Transformation.random(symmetry, seed=1).apply(a)
        >>> aligned = match_rotations(symmetry, a, b).transformation.apply(b)
        >>> all(torch.allclose(aligned[name], a[name], atol=1e-5) for name in a)
        True
    """
    check_choice("position", position, Position)
    check_counts(max_sweeps=max_sweeps, restarts=restarts)
    check_seed(seed)
    check_init(symmetry, init)
    check_amount("cache_bytes", cache_bytes)
    if data is not None and model is None:
        raise ArgumentError("data is given without a model; pass model= to compute features")
    began = time.perf_counter()
    pair = BalancedPair.of(symmetry, params_a, params_b, cache_bytes=cache_bytes)
    if data is not None and model is not None:
        start_from_features(pair, model, data, position, progress)
    return descend_from_starts(
        pair.search,
        pair.stats,
        began=began,
        seed=seed,
        max_sweeps=max_sweeps,
        restarts=restarts,
        init=init,
        progress=progress,
        continues=data is not None,
        finish=pair.transformation,
    )


def start_from_features(
    pair: BalancedPair,
    model: nn.Module,
    data: Iterable[Any],
    position: Position,
    progress: Progress | None,
) -> None:
    """Move B to the maps with the largest inner products of the features of both networks."""
    search = pair.search
    similarities = FeatureSimilarities(
        search,
        Features(model, data),
        "inner",
        position,
        params=(pair.balance_a.apply(pair.params_a), pair.balance_b.apply(pair.params_b)),
        progress=progress,
    )
    roots = similarities.available(search.trees, (), 2**62)
    for root, sums in similarities.compute(roots).items():
        search.take(root, sums)
