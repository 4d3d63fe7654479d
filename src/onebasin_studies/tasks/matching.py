"""Matching tasks: one network aligned to another, or several by annealing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from onebasin.errors import ArgumentError, public
from onebasin.matching._annealing.evaluated import Energy
from onebasin.matching._annealing.runs import Schedule
from onebasin.matching._annealing.state import Move
from onebasin.matching._losses import Normalization
from onebasin.matching.annealing import Averages, match_many_annealing
from onebasin.matching.registry import check_options, find_method
from onebasin.matching.result import Matching
from onebasin.symmetry import Permutation
from onebasin_studies.runtime.task import Result
from onebasin_studies.tasks.bundles import bundle
from onebasin_studies.tasks.specs import Spec, batches_of, data_of, network_of, symmetry_of


@public
def match_pair(
    *,
    data: Spec,
    network: Spec,
    a: Result,
    b: Result,
    method: str = "weights",
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Result:
    """Align network B to network A.

    Args:
        data: spec of the dataset; methods that need data use its training set.
        network: spec of the architecture.
        a: the reference, for example a result of `train_networks`.
        b: the network to permute.
        method: name of a method for pairs in `onebasin.matching.registry.MATCHERS`.
        options: options of the method.
        seed: random seed of the method.

    Returns:
        The permuted parameters of B, and one row: method, objective, converged, seconds.

    Raises:
        OneBasinError: if the method is unknown, takes many networks, or does not have these
            options.
    """
    matcher = find_method(method)
    if matcher.num_networks is None:
        raise ArgumentError(f"method {method!r} takes many networks, not a pair")
    dataset = data_of(data)
    module = network_of(network, dataset)
    matching = matcher.match(
        symmetry_of(module, dataset),
        [a.tensors, b.tensors],
        model=module,
        data=batches_of(dataset, batch_size=1000),
        seed=seed,
        **check_options(method, options or {}),
    )
    assert isinstance(matching, Matching)
    row = {
        "method": method,
        "objective": float(matching.objective[-1]),
        "converged": bool(matching.converged),
        "seconds": float(matching.seconds),
    }
    return Result([row], matching.permutation.apply(b.tensors))


def permute_network(*, data: Spec, network: Spec, params: Result, seed: int) -> Result:
    """Permute the units of a network at random, independently in every group.

    Args:
        data: spec of the dataset.
        network: spec of the architecture.
        params: the network.
        seed: random seed of the permutation.

    Returns:
        The permuted parameters, which define the same function.
    """
    dataset = data_of(data)
    symmetry = symmetry_of(network_of(network, dataset), dataset)
    return Result((), Permutation.random(symmetry, seed=seed).apply(params.tensors))


def anneal_networks(
    *,
    data: Spec,
    network: Spec,
    networks: Sequence[Result],
    steps: int,
    averages: Averages = "all",
    energy: Energy = "error",
    normalization: Normalization = "interpolated",
    schedule: Schedule = "published",
    move: Move = "every",
    restarts: int = 1,
    seed: int = 0,
) -> Result:
    """Align networks to the first one by simulated annealing.

    Args:
        data: spec of the dataset; the energy is evaluated on its training set.
        network: spec of the architecture.
        networks: two or more networks; the first one is the reference.
        steps: number of steps; see `match_many_annealing` for this and all following arguments.
        averages: "all" (SA2) or "pairs" (SA1).
        energy: "error", as in the paper, or "loss".
        normalization: statistics of normalization layers, "interpolated" or "batch".
        schedule: "published" or "calibrated".
        move: "every" group in a step, or "one".
        restarts: number of independent runs, of which the best is returned.
        seed: random seed of the steps.

    Returns:
        The aligned networks, for `select_network`, without the reference (number 0); and one row:
        steps, schedule, energy_before, energy_after, seconds.
    """
    dataset = data_of(data)
    module = network_of(network, dataset)
    params = [dict(each.tensors) for each in networks]
    matching = match_many_annealing(
        symmetry_of(module, dataset),
        params,
        model=module,
        data=batches_of(dataset, batch_size=1000),
        averages=averages,
        energy=energy,
        normalization=normalization,
        steps=steps,
        schedule=schedule,
        move=move,
        restarts=restarts,
        seed=seed,
    )
    row = {
        "steps": steps,
        "schedule": schedule,
        "energy_before": -float(matching.objective[0]),
        "energy_after": -float(matching.objective[-1]),
        "seconds": float(matching.seconds),
    }
    moved = dict(enumerate(matching.apply(params)[1:], 1))
    return Result([row], bundle(moved))
