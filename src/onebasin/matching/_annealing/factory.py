"""Choice of the fastest kind of state for a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from onebasin.errors import ArgumentError
from onebasin.matching._annealing.evaluated import (
    EvaluatedState,
    Examples,
    Mixtures,
    Params,
    average,
)
from onebasin.matching._annealing.hidden_layer import HiddenLayer, HiddenLayerState, is_compilable
from onebasin.matching._annealing.layered import ChainTensors, LayeredState
from onebasin.matching._annealing.linear_chain import LinearChain, find_chain
from onebasin.matching._annealing.state import AnnealingState, NetworkIndices
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry

MakeState = Callable[[NetworkIndices], AnnealingState]

CACHE_BYTES = 4 * 2**30
"""Enough for the first layers of two networks of 8192 units on 60,000 examples."""


def state_factory(
    symmetry: Symmetry,
    networks: Sequence[Params],
    mixtures: Mixtures,
    examples: Examples,
    *,
    cache_bytes: int = CACHE_BYTES,
) -> MakeState:
    """Return a function that creates a state: compiled, layered, or evaluated in full.

    Args:
        symmetry: symmetry of the architecture.
        networks: parameters and buffers of each network.
        mixtures: networks of each average; all of the same number.
        examples: energy of an average.
        cache_bytes: memory for the first layer's values of all examples.

    Raises:
        OneBasinError: the first layer's values need more memory.
    """
    chain = find_chain(symmetry, networks[0], examples) if symmetry.groups else None
    if chain is None:
        return lambda indices: EvaluatedState(symmetry, networks, indices, mixtures, examples)
    _check_memory(chain, networks, cache_bytes)
    tensors = ChainTensors.of(chain, networks)
    if is_compilable(tensors):
        layer = HiddenLayer.of(tensors)
        return lambda indices: HiddenLayerState(layer, indices, mixtures, examples.energy)
    return lambda indices: LayeredState(tensors, indices, mixtures, examples.energy)


def energy_at(
    symmetry: Symmetry,
    networks: Sequence[Params],
    mixtures: Mixtures,
    evaluate: Callable[[Params], float],
    indices: NetworkIndices,
) -> float:
    """Return the energy of networks with given indices, with all averages evaluated in full."""
    moved = [
        Permutation(symmetry, index).apply(params)
        for index, params in zip(indices, networks, strict=True)
    ]
    averages = (average([moved[m] for m in mixture]) for mixture in mixtures)
    return sum(map(evaluate, averages)) / len(mixtures)


def _check_memory(chain: LinearChain, networks: Sequence[Params], cache_bytes: int) -> None:
    units = len(networks[0][chain.layers[0].weight])
    needed = 4 * len(networks) * units * len(chain.inputs)
    if needed > cache_bytes:
        raise ArgumentError(
            f"the first layers of {len(networks)} networks on {len(chain.inputs)} examples"
            f" take {needed:,} bytes, but cache_bytes is {cache_bytes:,}; pass fewer examples, or"
            " increase cache_bytes"
        )
