"""Commutativity matching: minimize the commutators of the layers of A and B.

Zhou et al. (2023) show that linear layers of linearly connected networks commute:
(W_A - P W_B P'^T)(H_A - P' H_B) = 0. Weight matching minimizes the first factor, activation
matching the second, and this method their product.
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
from onebasin.matching._features.layer_axes import gather_layers
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
