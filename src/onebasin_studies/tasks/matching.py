"""Matching as a task: networks moved to where another one is, or anywhere at random."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onebasin.errors import OneBasinError
from onebasin.matching.registry import check_options, find_method
from onebasin.matching.result import Matching
from onebasin.symmetry import Permutation
from onebasin_studies.runtime.task import Result
from onebasin_studies.tasks.specs import Spec, data_of, network_of, symmetry_of
from onebasin_studies.tasks.splits import batches_of


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
    """Move network B to network A.

    Args:
        data: what both were trained on; methods that need data look at its training set.
        network: of both.
        a: the reference, for example of `train_networks`.
        b: the network to move.
        method: one of `onebasin.matching.registry.MATCHERS`, for two networks.
        options: of the method.
        seed: of the method.

    Returns:
        The parameters of the moved B, and one row: method, objective, converged, seconds.

    Raises:
        OneBasinError: when the method is unknown, is one for many networks, or has no such
            options.
    """
    matcher = find_method(method, call="match_pair")
    if matcher.num_networks is None:
        raise OneBasinError(f"match_pair: method {method!r} takes many networks, not a pair")
    dataset = data_of(data)
    module = network_of(network, dataset)
    found = matcher.match(
        symmetry_of(module, dataset),
        [a.tensors, b.tensors],
        model=module,
        data=batches_of(dataset, batch_size=1000),
        seed=seed,
        **check_options(method, options or {}, call="match_pair"),
    )
    assert isinstance(found, Matching)
    row = {
        "method": method,
        "objective": float(found.objective[-1]),
        "converged": bool(found.converged),
        "seconds": float(found.seconds),
    }
    return Result([row], found.permutation.apply(b.tensors))


def permute_network(*, data: Spec, network: Spec, params: Result, seed: int) -> Result:
    """Put the units of a network into a random order, in every group its own.

    Args:
        data: what it was trained on.
        network: its architecture.
        params: the network.
        seed: of the permutation.

    Returns:
        The moved parameters: another network that computes the same.
    """
    dataset = data_of(data)
    symmetry = symmetry_of(network_of(network, dataset), dataset)
    return Result((), Permutation.random(symmetry, seed=seed).apply(params.tensors))
