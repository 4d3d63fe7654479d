"""Making walks: the quickest kind that a network allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from onebasin.errors import OneBasinError
from onebasin.matching._annealing.evaluated import EvaluatedWalk, Mixtures, Params, average
from onebasin.matching._annealing.examples import Examples
from onebasin.matching._annealing.hidden_layer import HiddenLayer, HiddenLayerWalk, is_compilable
from onebasin.matching._annealing.layered import ChainTensors, LayeredWalk
from onebasin.matching._annealing.linear_chain import LinearChain, find_chain
from onebasin.matching._annealing.walk import Orders, Walk
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry

Make = Callable[[Orders], Walk]

CACHE_BYTES = 4 * 2**30
"""Enough for the first layers of two networks of 8192 units on 60,000 examples."""


def walk_maker(
    symmetry: Symmetry,
    networks: Sequence[Params],
    mixtures: Mixtures,
    examples: Examples,
    *,
    cache_bytes: int = CACHE_BYTES,
) -> Make:
    """Return a function that begins a walk: compiled, layered, or evaluated anew every step.

    Args:
        symmetry: of the architecture.
        networks: parameters and buffers of each.
        mixtures: which networks are averaged; all of equally many.
        examples: the energy of an average.
        cache_bytes: memory for the first layer's values of all examples.

    Raises:
        OneBasinError: when the first layer's values need more memory than that.
    """
    chain = find_chain(symmetry, networks[0], examples) if symmetry.groups else None
    if chain is None:
        return lambda orders: EvaluatedWalk(symmetry, networks, orders, mixtures, examples)
    _check_memory(chain, networks, examples.call, cache_bytes)
    tensors = ChainTensors.of(chain, networks)
    if is_compilable(tensors):
        layer = HiddenLayer.of(tensors)
        return lambda orders: HiddenLayerWalk(layer, orders, mixtures, examples.energy)
    return lambda orders: LayeredWalk(tensors, orders, mixtures, examples.energy)


def energy_at(
    symmetry: Symmetry,
    networks: Sequence[Params],
    mixtures: Mixtures,
    evaluate: Callable[[Params], float],
    orders: Orders,
) -> float:
    """Return the energy of networks in given orders, all averages evaluated in full."""
    moved = [
        Permutation(symmetry, order).apply(params)
        for order, params in zip(orders, networks, strict=True)
    ]
    averages = (average([moved[m] for m in mixture]) for mixture in mixtures)
    return sum(map(evaluate, averages)) / len(mixtures)


def _check_memory(
    chain: LinearChain, networks: Sequence[Params], call: str, cache_bytes: int
) -> None:
    units = len(networks[0][chain.layers[0].weight])
    needed = 4 * len(networks) * units * len(chain.inputs)
    if needed > cache_bytes:
        raise OneBasinError(
            f"{call}: the first layers of {len(networks)} networks on {len(chain.inputs)} examples"
            f" take {needed:,} bytes, but cache_bytes is {cache_bytes:,}; pass fewer examples, or"
            " raise cache_bytes"
        )
