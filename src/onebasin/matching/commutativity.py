"""Commutativity matching: the permutation under which layers of A and B commute.

Zhou et al. (2023) show that linear layers of linearly connected networks commute, that is
(W_A - P W_B P'^T)(H_A - P' H_B) = 0. Weight matching makes the first factor small and
activation matching the second; here the product itself is.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn

from onebasin._checks import checks_arguments
from onebasin.graph.features import Features
from onebasin.matching._checks import check_counts, check_init, check_seed
from onebasin.matching._coordinate_descent.runs import begin_search
from onebasin.matching._features.commuting import CommutingDescent, CommutingLayer
from onebasin.matching._features.sides import gather_layers
from onebasin.matching.activations import match_activations
from onebasin.matching.result import Matching, Progress
from onebasin.matching.weights import CACHE_BYTES, match_weights
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry

CALL = "match_commutativity"


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
    r"""Find the permutation of B under which the layers of A and B commute best.

    Minimizes \(\sum_\ell \|(W_A - P W_B P'^\top)(H_A - P' H_B)\|^2 / c_\ell\), where
    \(H\) are the inputs of layer \(\ell\), \(P'\) and \(P\) act on its two sides, and
    \(c_\ell\) is the mean of \(\|W_A H_A\|^2\) and \(\|W_B H_B\|^2\), so that layers count
    alike whatever their scale. Coordinate descent: a tree of groups at a time is assigned on
    the linearization of the sum, and moved if the sum falls. The sum depends on the data
    only through second moments, gathered in one pass.

    Starts are weight matching, activation matching, and weight matching from where
    activation matching ends; the best end is returned. Convolutions count with their
    windows. Grouped convolutions, embeddings and norms do not count; a group that touches
    only these stays where the start has it.

    Args:
        symmetry: of the architecture of both.
        params_a: the reference: parameters and buffers.
        params_b: what is moved: parameters and buffers.
        model: the architecture, as it was traced; its own parameters are not used.
        data: batches `(inputs, labels)` or inputs alone; read twice. At most 4093 evenly
            spaced rows of each layer's input are taken from a batch.
        seed: of the order of the groups.
        max_sweeps: passes over all groups at most, from each start.
        init: the one start, instead of the three.
        cache_bytes: memory for similarities of the starts.
        progress: called with a `Step` after every group.

    Returns:
        The matching; its objective is minus the sum, and never falls. `restarts` has what
        each start came to.

    Raises:
        OneBasinError: when there is no data, the model refuses a batch, features are not
            finite, no layer counts, tensors or `init` do not fit the symmetry, or `max_sweeps`
            is below 1.
    """
    check_counts(CALL, max_sweeps=max_sweeps)
    check_seed(CALL, seed)
    check_init(symmetry, init, CALL)
    began = time.perf_counter()
    search, _ = begin_search(symmetry, params_a, params_b, cache_bytes=cache_bytes, call=CALL)
    features = Features(model, data, call=CALL)
    layers = gather_layers(CommutingLayer, symmetry, features, [params_a, params_b], call=CALL)
    descent = CommutingDescent(search, layers, seed=seed, max_sweeps=max_sweeps)
    starts = [] if init is None else [init]
    if not starts:
        starts = _starts(symmetry, params_a, params_b, model, data, seed, cache_bytes)
    runs = [descent.run(start.indices, number, progress) for number, start in enumerate(starts)]
    best = max(runs, key=lambda run: run.values[-1])
    return Matching(
        permutation=Permutation(symmetry, best.indices),
        objective=tuple(best.values),
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
