"""Compiled states for networks with one hidden layer: a step reads a few rows of the examples.

Needs numba; `LayeredState` does the same without numba, much more slowly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from types import ModuleType

import numpy as np
import torch
from jaxtyping import Float32, Int32, Int64

from onebasin.matching._annealing.evaluated import Energy, Mixtures
from onebasin.matching._annealing.layered import Average, ChainTensors
from onebasin.matching._annealing.state import AnnealingState, NetworkIndices, Steps, Swap


@dataclass(frozen=True, eq=False)
class HiddenLayer:
    """Inputs of the compiled kernels; states may share them.

    Args:
        tensors: the same values as tensors.
        group: group of the hidden units.
        hidden: first layer before ReLU, by network, unit and example.
        outgoing: weights of the logits, by network, unit and class.
        labels: classes.
    """

    tensors: ChainTensors
    group: str
    hidden: Float32[np.ndarray, "k u n"]
    outgoing: Float32[np.ndarray, "k u c"]
    labels: Int32[np.ndarray, " n"]

    @classmethod
    def of(cls, tensors: ChainTensors) -> HiddenLayer:
        """Arrange the tensors of networks for the kernels."""
        group = tensors.chain.layers[0].group
        assert group is not None, "the hidden layer has a group"
        hidden = torch.stack(tensors.first)
        # Share one copy of the largest tensors.
        tensors = ChainTensors(tensors.chain, tuple(hidden), tensors.weights, tensors.biases)
        outgoing = torch.stack([weights[0].T for weights in tensors.weights]).contiguous()
        labels = tensors.chain.labels.int()
        return cls(tensors, group, hidden.numpy(), outgoing.numpy(), labels.numpy())


class HiddenLayerState(AnnealingState):
    """A compiled state for networks with one hidden layer.

    Args:
        layer: inputs of the kernels.
        indices: the initial indices.
        mixtures: networks of each average; all of the same number.
        energy: "loss" or "error".
    """

    is_compiled = True

    def __init__(
        self, layer: HiddenLayer, indices: NetworkIndices, mixtures: Mixtures, energy: Energy
    ) -> None:
        """Compute the logits of all averages in full."""
        self.layer, self.kernels = layer, _kernels()
        self.kind = self.kernels.LOSS if energy == "loss" else self.kernels.ERROR
        self.mixtures = np.array(mixtures)
        self._positions = np.stack([index[layer.group].numpy() for index in indices])
        self._logits = self._full()
        super().__init__(self._evaluate())

    @property
    def indices(self) -> NetworkIndices:
        """The current indices."""
        return self._indices_of(self._positions)

    def propose(self, swaps: Sequence[Swap]) -> float:
        """Return the energy after swaps."""
        self._proposed = self._positions.copy()
        touched = np.zeros((len(self._positions), 2), np.int64)
        num_touched = np.zeros(len(self._positions), np.int64)
        for swap in swaps:
            both = [swap.first, swap.second]
            touched[swap.network], num_touched[swap.network] = both, 2
            self._proposed[swap.network, both] = self._positions[swap.network, both[::-1]]
        return self._step(self._proposed, touched, num_touched)

    def accept(self) -> None:
        """Apply the last proposed swaps."""
        self._positions = self._proposed
        self._logits = np.ascontiguousarray(self._logits[::-1])

    def refresh(self) -> None:
        """Recompute the logits of all averages."""
        self._logits = self._full()
        self.energy = self._evaluate()

    def run(self, steps: Steps) -> None:
        """Try steps one after the other, and record the best indices."""
        best = np.stack([index[self.layer.group].numpy() for index in self.best_indices])
        self.energy, self.best_energy, num_accepted, now = self.kernels.anneal(
            self.layer.hidden, self.layer.outgoing, self.mixtures, self._logits,
            self.layer.labels, self._positions, self.kind,
            np.array([column.network for column in steps.columns]),
            np.ascontiguousarray(steps.swaps[:, :, 1:]), steps.uniforms, steps.temperatures,
            self.energy, best, self.best_energy,
        )  # fmt: skip
        if now:
            self._logits = np.ascontiguousarray(self._logits[::-1])
        self.best_indices = self._indices_of(best)
        self.num_accepted += num_accepted
        self.num_corrections += num_accepted
        self.refresh_if_due()

    def _step(
        self,
        proposed: Int64[np.ndarray, "k u"],
        touched: Int64[np.ndarray, "k 2"],
        counts: Int64[np.ndarray, " k"],
    ) -> float:
        """Compute the proposed logits and return their energy."""
        units, factors, rows, work = self.kernels.workspace(self.mixtures, self._logits)
        return self.kernels.propose(
            self.layer.hidden, self.layer.outgoing, self.mixtures, self._logits[0],
            self._logits[1], self.layer.labels, self._positions, proposed, touched, counts,
            self.kind, units, factors, rows, work,
        )  # fmt: skip

    def _evaluate(self) -> float:
        """Return the energy of the current logits, as a step without swaps."""
        networks = len(self._positions)
        nothing = np.zeros((networks, 2), np.int64), np.zeros(networks, np.int64)
        return self._step(self._positions, *nothing)

    def _full(self) -> Float32[np.ndarray, "2 m c n"]:
        averages = [
            Average.of(self.layer.tensors, self.indices, tuple(members))
            for members in self.mixtures.tolist()
        ]
        logits = torch.stack([average.values[-1] for average in averages])
        return torch.stack((logits, torch.empty_like(logits))).numpy()

    def _indices_of(self, positions: Int64[np.ndarray, "k u"]) -> NetworkIndices:
        return tuple({self.layer.group: torch.from_numpy(index.copy())} for index in positions)


def is_compilable(tensors: ChainTensors) -> bool:
    """Return whether a chain has one hidden layer and numba is installed."""
    return len(tensors.chain.layers) == 2 and find_spec("numba") is not None


def _kernels() -> ModuleType:
    """Import the kernels on first use, which takes a second."""
    from onebasin.matching._annealing import kernels

    return kernels
