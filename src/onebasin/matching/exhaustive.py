"""Exhaustive search: the best of all permutations, for tiny groups; the oracle of the others.

Owns what is looked at, by weights or on data; the order of all permutations and the energy
after each swap are `onebasin.matching._annealing`'s.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Literal

from torch import Tensor, nn

from onebasin._checks import checks_arguments
from onebasin.errors import OneBasinError, check_choice
from onebasin.matching._annealing.enumeration import Enumeration
from onebasin.matching._annealing.evaluated import EvaluatedWalk, Params
from onebasin.matching._annealing.examples import Examples, examples_of
from onebasin.matching._annealing.inner_product import InnerProductWalk
from onebasin.matching._annealing.making import energy_at, walk_maker
from onebasin.matching._annealing.swaps import Swap, transposition
from onebasin.matching._annealing.walk import Orders, Walk
from onebasin.matching._coordinate_descent.pair import Pair
from onebasin.matching._losses import Normalization
from onebasin.matching.result import Matching, Progress, Step
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry

CALL = "match_exhaustive"

Objective = Literal["weights", "loss", "error"]

LIMIT = 1_000_000
"""Permutations of nine units; by weights they take a few seconds."""

HALFWAY = ((0, 1),)
"""Networks 0 and 1 are averaged."""

SEGMENT = 4096
"""Permutations after which progress is told."""


@checks_arguments
def match_exhaustive(
    symmetry: Symmetry,
    params_a: Mapping[str, Tensor],
    params_b: Mapping[str, Tensor],
    *,
    objective: Objective | None = None,
    evaluate: Callable[[Mapping[str, Tensor]], float] | None = None,
    model: nn.Module | None = None,
    data: Iterable[Any] | None = None,
    normalization: Normalization = "interpolated",
    limit: int = LIMIT,
    progress: Progress | None = None,
) -> Matching:
    r"""Find the best of all permutations of B, by looking at every one.

    All groups are permuted together, nested ones included, in an order in which each
    permutation is one swap of neighbors from the last (Steinhaus, Johnson and Trotter). By
    weights a swap changes a few products; the loss halfway between networks of linear layers
    is corrected for the swapped units.

    Args:
        symmetry: of the architecture of both; tiny.
        params_a: the reference: parameters, and buffers where networks are run.
        params_b: what is moved, likewise.
        objective: `weights` maximizes `<A, P(B)>` like `match_weights`; `loss` and `error`
            minimize that of the network halfway between A and P(B) on the data; by default
            `loss` if there is data, else `weights`.
        evaluate: instead of these, what to minimize: a function of the parameters halfway.
        model: the architecture, for loss and error.
        data: batches `(inputs, labels)`, for loss and error; read once and kept.
        normalization: see `match_annealing`.
        limit: permutations that may be looked at.
        progress: called with a `Step` every 4096 permutations; `done` counts them.

    Returns:
        The matching; its objective is the inner product, or else the negative loss, for the
        unmoved B and at the end.

    Raises:
        OneBasinError: when there are more permutations than `limit`, loss or error have no
            model or data, or tensors do not fit the symmetry.

    Example:
        >>> import torch
        >>> from onebasin import trace
        >>> net = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
        >>> symmetry = infer_symmetry(net, torch.zeros(2, 3))
        >>> a = net.state_dict()
        >>> b = Permutation.random(symmetry, seed=1).apply(a)
        >>> moved = match_exhaustive(symmetry, a, b).permutation.apply(b)
        >>> all(torch.equal(moved[name], a[name]) for name in a)
        True
    """
    began = time.perf_counter()
    objective = objective or ("weights" if data is None else "loss")
    check_choice(CALL, "objective", objective, Objective)
    enumeration = Enumeration(symmetry, network=1, limit=limit, call=CALL)
    pair = Pair(symmetry, params_a, params_b, call=CALL)
    pair.survey()
    if evaluate is None and objective == "weights":
        walk: Walk = InnerProductWalk(pair)
        energy_of = _negative(pair)
    else:
        networks = dict(params_a), dict(params_b)
        energy = evaluate or _examples(objective, model, data, normalization)
        walk, energy_of = _walk_halfway(symmetry, networks, energy)
    start = walk.orders
    for done in range(0, len(enumeration), SEGMENT):
        walk.run(enumeration.steps(done, done + SEGMENT))
        if progress is not None:
            count = min(done + SEGMENT, len(enumeration)) + 1
            progress(Step(0, 1, "", count, enumeration.size, -walk.best_energy))
    before, after = energy_of(start), energy_of(walk.best_orders)
    orders = walk.best_orders if after <= before else start
    value = -min(before, after)
    return Matching(
        permutation=Permutation(symmetry, orders[1]),
        objective=(-before, value),
        converged=True,
        num_sweeps=1,
        num_solves=0,
        seconds=time.perf_counter() - began,
        restarts=(value,),
    )


def enumerate_permutations(symmetry: Symmetry, *, limit: int = LIMIT) -> Iterator[Permutation]:
    """Yield every permutation of a symmetry once, the identity first.

    Each is one swap of neighbors from the one before.

    Args:
        symmetry: tiny.
        limit: how many permutations there may be.

    Raises:
        OneBasinError: when there are more.

    Example:
        >>> import torch
        >>> from onebasin import trace
        >>> net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> len(list(enumerate_permutations(infer_symmetry(net, torch.zeros(2, 3)))))
        24
    """
    call = "enumerate_permutations"
    enumeration = Enumeration(symmetry, network=0, limit=limit, call=call)
    return _permutations(symmetry, enumeration)


def _permutations(symmetry: Symmetry, enumeration: Enumeration) -> Iterator[Permutation]:
    permutation, known = Permutation.identity(symmetry), dict[Swap, Permutation]()
    yield permutation
    for start in range(0, len(enumeration), SEGMENT):
        steps = enumeration.steps(start, start + SEGMENT)
        for number in range(len(steps)):
            (swap,) = steps.at(number)
            if swap not in known:
                known[swap] = transposition(symmetry, [swap])
            permutation = known[swap] @ permutation
            yield permutation


def _negative(pair: Pair) -> Callable[[Orders], float]:
    return lambda orders: -pair.objective(orders[1])


def _walk_halfway(
    symmetry: Symmetry,
    networks: tuple[Params, Params],
    energy: Callable[[Params], float],
) -> tuple[Walk, Callable[[Orders], float]]:
    """Return a walk of the network halfway, and its energy in full."""
    identity = dict(Permutation.identity(symmetry).indices)
    orders = identity, identity
    if isinstance(energy, Examples):
        walk = walk_maker(symmetry, networks, HALFWAY, energy)(orders)
    else:
        walk = EvaluatedWalk(symmetry, networks, orders, HALFWAY, energy)
    return walk, partial(energy_at, symmetry, networks, HALFWAY, energy)


def _examples(
    objective: Objective,
    model: nn.Module | None,
    data: Iterable[Any] | None,
    normalization: Normalization,
) -> Examples:
    if objective == "weights" or model is None or data is None:
        raise OneBasinError(
            f"{CALL}: objective {objective!r} runs networks on data; pass model= and data="
        )
    return examples_of(model, data, objective, normalization=normalization, call=CALL)
