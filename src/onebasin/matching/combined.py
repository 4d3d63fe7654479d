"""Combined matching: the permutation that makes both weights and features of B like A's.

Weights say what units read and write, features what they do on data; either is blind where
the other sees. Their sum is climbed like weight matching, at the same cost.
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
from onebasin.graph.features import Features
from onebasin.graph.sites import Position
from onebasin.matching._checks import check_counts, check_init, check_seed
from onebasin.matching._coordinate_descent.runs import begin_search, descend_from_starts
from onebasin.matching._coordinate_descent.search import Search
from onebasin.matching._coordinate_descent.trees import Key
from onebasin.matching._features.seen import SeenTrees
from onebasin.matching._features.similarity import Statistic
from onebasin.matching.result import Matching, Progress
from onebasin.matching.weights import CACHE_BYTES
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry

CALL = "match_combined"


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
    r"""Find the permutation of B that makes its weights and its features like A's.

    Maximizes \(\langle A, P(B)\rangle / s_w + \lambda \sum_g \langle P_g, S_g\rangle / s_f\)
    by the coordinate descent of `match_weights`: \(S_g\) are the similarities of features that
    `match_activations` gathers, and both terms are divided by what they would be per unit if
    every unit had a perfect partner.

    Args:
        symmetry: of the architecture of both.
        params_a: the reference: parameters and buffers.
        params_b: what is moved: parameters and buffers.
        model: the architecture, as it was traced; its own parameters are not used.
        data: batches `(inputs, labels)` or inputs alone; read once.
        balance: how much features count beside weights, the lambda above. 0 is weight matching.
        statistic: `correlation` or `inner` product of features.
        position: `post` (what the next layer sees) or `pre` (what enters the nonlinearity).
        seed: of the order of groups.
        max_sweeps: passes over all groups at most.
        restarts: starts to try, as in `match_weights`; the best is returned.
        init: where to begin.
        cache_bytes: memory for similarities of weights; those of features, `n^2` numbers for a
            group of n, come on top.
        progress: called with a `Step` after every batch and group.

    Returns:
        The matching; its objective is the sum, in the unit of `<A, P(B)>`.

    Raises:
        OneBasinError: when there is no data, the model refuses a batch, features are not
            finite, tensors do not fit the symmetry, or a number is out of range.

    Example:
        >>> import torch
        >>> from onebasin import trace
        >>> net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> x = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
        >>> symmetry = infer_symmetry(net, x)
        >>> a = net.state_dict()
        >>> b = Permutation.random(symmetry, seed=1).apply(a)
        >>> moved = match_combined(symmetry, a, b, model=net, data=[x]).permutation.apply(b)
        >>> all(torch.equal(moved[name], a[name]) for name in a)
        True
    """
    check_choice(CALL, "statistic", statistic, Statistic)
    check_choice(CALL, "position", position, Position)
    check_counts(CALL, max_sweeps=max_sweeps, restarts=restarts)
    check_seed(CALL, seed)
    check_init(symmetry, init, CALL)
    check_amount(CALL, "balance", balance)
    began = time.perf_counter()
    search, survey = begin_search(symmetry, params_a, params_b, cache_bytes=cache_bytes, call=CALL)
    features = Features(model, data, call=CALL)
    seen = SeenTrees(search, features, statistic, position, call=CALL, progress=progress)
    roots = seen.ready(search.trees, (), 2**62)
    search.linear = _weighted(seen.gather(roots), balance, survey.bound, search)
    return descend_from_starts(
        search,
        survey,
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
    """Return similarities of features in the unit of those of weights."""
    groups, outer_shape = search.symmetry.groups, search.symmetry.outer_shape
    num_units = sum(prod(outer_shape(name)) * group.size for name, group in groups.items())
    return {
        root: {
            key: (balance * bound / num_units / _usual(values) * values).to(search.pair.dtype)
            for key, values in sums.items()
        }
        for root, sums in gathered.items()
    }


def _usual(values: Float[Tensor, "o n n"]) -> float:
    """Return how similar a unit is to its best partner, on average."""
    return float(values.amax(-1).clamp(min=0).double().mean()) or 1.0
