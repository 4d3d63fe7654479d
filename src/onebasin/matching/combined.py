"""Combined matching: align both weights and features of B with those of A.

Weights describe the connections of units, features their values on data. The sum of both
similarities is maximized like that of weight matching, at the same cost.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from math import prod
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from onebasin._checks import checks_arguments
from onebasin.errors import check_amount, check_choice
from onebasin.graph._sites import Position
from onebasin.graph.features import Features
from onebasin.matching._checks import check_counts, check_init, check_seed
from onebasin.matching._coordinate_descent.runs import begin_search, descend_from_starts
from onebasin.matching._coordinate_descent.search import Search
from onebasin.matching._coordinate_descent.trees import Key
from onebasin.matching._features.similarities import FeatureSimilarities
from onebasin.matching._features.similarity import Statistic
from onebasin.matching.result import Matching, Progress
from onebasin.matching.weights import CACHE_BYTES
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry


@checks_arguments
def match_combined(
    symmetry: Symmetry,
    params_a: Mapping[str, Tensor],
    params_b: Mapping[str, Tensor],
    *,
    model: nn.Module,
    data: Iterable[Any],
    balance: float = 0.3,
    statistic: Statistic = "correlation",
    position: Position = "post",
    seed: int = 0,
    max_sweeps: int = 100,
    restarts: int = 1,
    init: Permutation | None = None,
    cache_bytes: int = CACHE_BYTES,
    progress: Progress | None = None,
) -> Matching:
    r"""Find the permutation of B that aligns both its weights and its features with A's.

    Maximizes \(\langle A, P(B)\rangle / s_w + \lambda \sum_g \langle P_g, S_g\rangle / s_f\)
    by the coordinate descent of `match_weights`. \(S_g\) are the feature similarities of
    `match_activations`. Both terms are divided by their value per unit for perfect partners.

    Args:
        symmetry: symmetry of the architecture.
        params_a: parameters and buffers of A, the reference.
        params_b: parameters and buffers of B, the network to permute.
        model: the traced architecture; its own parameters are ignored.
        data: batches `(inputs, labels)` or inputs; read once.
        balance: relative weight of features, the lambda above; 0 is weight matching.
        statistic: `correlation` or `inner` product of features.
        position: `post` (input of the next layer) or `pre` (input of the nonlinearity).
        seed: random seed for the group order.
        max_sweeps: maximum number of passes over all groups.
        restarts: number of starts, as in `match_weights`; the best one is returned.
        init: the initial permutation.
        cache_bytes: memory for similarities of weights. Those of features take `n^2` numbers
            for a group of n units in addition.
        progress: callback with a `Step` after every batch and group.

    Returns:
        The matching. Its objective is the sum, in the unit of `<A, P(B)>`.

    Raises:
        OneBasinError: the data are empty, the model fails on a batch, features are not finite,
            tensors do not match the symmetry, or a number is out of range.

    Example:
        >>> import torch
        >>> from onebasin import infer_symmetry
        >>> net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> x = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
        >>> symmetry = infer_symmetry(net, x)
        >>> a = net.state_dict()
        >>> b = Permutation.random(symmetry, seed=1).apply(a)
        >>> moved = match_combined(symmetry, a, b, model=net, data=[x]).permutation.apply(b)
        >>> all(torch.equal(moved[name], a[name]) for name in a)
        True
    """
    check_choice("statistic", statistic, Statistic)
    check_choice("position", position, Position)
    check_counts(max_sweeps=max_sweeps, restarts=restarts)
    check_seed(seed)
    check_init(symmetry, init)
    check_amount("balance", balance)
    began = time.perf_counter()
    search, stats = begin_search(symmetry, params_a, params_b, cache_bytes=cache_bytes)
    features = Features(model, data)
    feature_similarities = FeatureSimilarities(
        search, features, statistic, position, progress=progress
    )
    roots = feature_similarities.available(search.trees, (), 2**62)
    gathered = feature_similarities.compute(roots)
    search.add_linear_term(_weighted(gathered, balance, stats.bound, search))
    return descend_from_starts(
        search,
        stats,
        began=began,
        seed=seed,
        max_sweeps=max_sweeps,
        restarts=restarts,
        init=init,
        progress=progress,
    )


def _weighted(
    gathered: Mapping[str, Mapping[Key, Tensor]], balance: float, bound: float, search: Search
) -> dict[str, dict[Key, Tensor]]:
    """Return feature similarities in the unit of weight similarities."""
    groups, outer_shape = search.symmetry.groups, search.symmetry.outer_shape
    num_units = sum(prod(outer_shape(name)) * group.size for name, group in groups.items())
    return {
        root: {
            key: (balance * bound / num_units / _mean_best(values) * values).to(search.pair.dtype)
            for key, values in sums.items()
        }
        for root, sums in gathered.items()
    }


def _mean_best(values: Float[Tensor, "o n n"]) -> float:
    """Return the mean similarity of a unit to its best partner."""
    return float(values.amax(-1).clamp(min=0).double().mean()) or 1.0
