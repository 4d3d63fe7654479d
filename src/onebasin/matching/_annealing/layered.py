"""States for linear chains that recompute from the swapped layer up.

A swap changes a few units of its layer and a few columns of the next layer's averaged weights.
The values of that layer get a low-rank correction. All units of the layers above change, so
these are computed in full. Values are `(units, examples)`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from onebasin.matching._annealing.evaluated import Energy, Mixtures
from onebasin.matching._annealing.linear_chain import LinearChain
from onebasin.matching._annealing.state import AnnealingState, NetworkIndices, Swap, swapped


@dataclass(frozen=True, eq=False)
class ChainTensors:
    """Tensors of the networks; states may share them.

    Args:
        chain: the architecture and its examples.
        first: first layer before ReLU of each network, `(units, examples)`.
        weights: weights of the layers after the first, for each network.
        biases: biases of the same layers.
    """

    chain: LinearChain
    first: tuple[Tensor, ...]
    weights: tuple[tuple[Tensor, ...], ...]
    biases: tuple[tuple[Tensor, ...], ...]

    @classmethod
    def of(cls, chain: LinearChain, networks: Sequence[Mapping[str, Tensor]]) -> ChainTensors:
        """Run the first layer of every network."""
        upper = range(1, len(chain.layers))
        layers = [[chain.layer(params, number) for number in upper] for params in networks]
        return cls(
            chain,
            tuple(map(chain.first_values, networks)),
            tuple(tuple(weight for weight, _ in own) for own in layers),
            tuple(tuple(bias for _, bias in own) for own in layers),
        )

    def order(self, indices: NetworkIndices, network: int, layer: int) -> Tensor:
        """Return the index of a network's layer."""
        group = self.chain.layers[layer].group
        if group is not None:
            return indices[network][group]
        above = self.weights[network][layer - 1] if layer else self.first[network]
        return torch.arange(len(above))


@dataclass
class Average:
    """An average of networks, with the values of its layers.

    Args:
        members: numbers of the networks.
        weights: averaged weights of the layers after the first.
        biases: averaged biases of the same layers.
        values: first layer after ReLU, other layers before it, the logits last;
            `(units, examples)`.
        patches: pending changes by layer: units and their new values.
    """

    members: tuple[int, ...]
    weights: list[Tensor] = field(default_factory=list)
    biases: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    patches: dict[int, tuple[list[int], Tensor]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, tensors: ChainTensors, indices: NetworkIndices, members: tuple[int, ...]
    ) -> Average:
        """Return the average of networks with given indices, computed in full."""
        first = sum(tensors.first[m][tensors.order(indices, m, 0)] for m in members)
        assert isinstance(first, Tensor)
        result = cls(members, values=[first.div_(len(members)).relu_()])
        for upper in range(len(tensors.chain.layers) - 1):
            rows = {m: tensors.order(indices, m, upper + 1) for m in members}
            columns = {m: tensors.order(indices, m, upper) for m in members}
            weights = [tensors.weights[m][upper][rows[m]][:, columns[m]] for m in members]
            biases = [tensors.biases[m][upper][rows[m]] for m in members]
            result.weights.append(torch.stack(weights).mean(0))
            result.biases.append(torch.stack(biases).mean(0))
            result.values.append(result.product(upper))
        return result

    def features(self, layer: int) -> Tensor:
        """Return the inputs of the next layer, before patches."""
        return self.values[layer].relu() if layer else self.values[0]

    def product(self, upper: int, rows: list[int] | slice = slice(None)) -> Tensor:
        """Return values of the layer after `upper`, from the features before patches."""
        weight, bias = self.weights[upper][rows], self.biases[upper][rows]
        return torch.addmm(bias[:, None], weight, self.features(upper))

    def apply_patches(self) -> None:
        """Write the patches into the values."""
        for layer, (units, new) in self.patches.items():
            self.values[layer][units] = new
        self.patches = {}


class LayeredState(AnnealingState):
    """A state for a linear chain of any depth.

    Args:
        tensors: tensors of the networks.
        indices: the initial indices.
        mixtures: networks of each average.
        energy: "loss" or "error".
    """

    def __init__(
        self, tensors: ChainTensors, indices: NetworkIndices, mixtures: Mixtures, energy: Energy
    ) -> None:
        """Compute all averages in full."""
        self.tensors, self.kind = tensors, energy
        self.groups = [layer.group for layer in tensors.chain.layers]
        self.averages = [Average.of(tensors, indices, members) for members in mixtures]
        self._indices = indices
        super().__init__(self._energy(self.averages))

    @property
    def indices(self) -> NetworkIndices:
        """The current indices."""
        return self._indices

    def propose(self, swaps: Sequence[Swap]) -> float:
        """Return the energy after swaps."""
        indices = list(self.indices)
        for swap in swaps:
            index = swapped(indices[swap.network][swap.group], swap.first, swap.second)
            indices[swap.network] = {**indices[swap.network], swap.group: index}
        self._proposed = tuple(indices)
        self._proposed_averages = [self._moved(average, swaps) for average in self.averages]
        return self._energy(self._proposed_averages)

    def accept(self) -> None:
        """Apply the last proposed swaps."""
        self._indices, self.averages = self._proposed, self._proposed_averages
        for average in self.averages:
            average.apply_patches()

    def refresh(self) -> None:
        """Recompute all averages."""
        self.averages = [Average.of(self.tensors, self.indices, a.members) for a in self.averages]
        self.energy = self._energy(self.averages)

    def _moved(self, average: Average, swaps: Sequence[Swap]) -> Average:
        """Return an average after swaps, from the lowest swapped layer up."""
        own = [swap for swap in swaps if swap.network in average.members]
        touched = [
            sorted({at for s in own if s.group == group for at in (s.first, s.second)})
            for group in self.groups
        ]
        after = Average(
            average.members, list(average.weights), list(average.biases), list(average.values)
        )
        if touched[0]:
            rows = [self._places(m, 0)[touched[0]] for m in after.members]
            first = [self.tensors.first[m][at] for m, at in zip(after.members, rows, strict=True)]
            after.patches[0] = touched[0], torch.stack(first).mean(0).relu_()
        is_dense = False
        for upper in range(len(self.groups) - 1):
            columns, rows = touched[upper], touched[upper + 1]
            if columns or rows:
                self._reweigh(after, upper, rows, columns)
            if is_dense:
                after.values[upper + 1] = after.product(upper)
            else:
                is_dense = _advance(average, after, upper, rows)
        return after

    def _reweigh(self, after: Average, upper: int, rows: list[int], columns: list[int]) -> None:
        """Recompute the averaged rows and columns of a layer's weights that changed."""
        weight, bias = after.weights[upper].clone(), after.biases[upper].clone()
        weight[:, columns], weight[rows], bias[rows] = 0.0, 0.0, 0.0
        fraction = 1 / len(after.members)
        rest = torch.ones(weight.shape[1], dtype=torch.bool)
        rest[columns] = False
        for m in after.members:
            full, own_bias = self.tensors.weights[m][upper], self.tensors.biases[m][upper]
            down, across = self._places(m, upper + 1), self._places(m, upper)
            weight[:, columns] += full[down[:, None], across[columns]] * fraction
            weight[rows] += torch.where(rest, full[down[rows]][:, across], 0.0) * fraction
            bias[rows] += own_bias[down[rows]] * fraction
        after.weights[upper], after.biases[upper] = weight, bias

    def _places(self, network: int, layer: int) -> Tensor:
        return self.tensors.order(self._proposed, network, layer)

    def _energy(self, averages: Sequence[Average]) -> float:
        labels, total = self.tensors.chain.labels, 0.0
        for average in averages:
            logits = average.values[-1].T
            last = average.patches.get(len(self.groups) - 1)
            assert last is None, "the logits have no patches"
            if self.kind == "loss":
                losses = F.cross_entropy(logits, labels, reduction="none")
                total += float(losses.double().mean())
            else:
                total += float((logits.argmax(1) != labels).double().mean())
        return total / len(averages)


def _advance(before: Average, after: Average, upper: int, rows: list[int]) -> bool:
    """Compute a layer whose inputs changed in few units.

    Args:
        before: the average before the swaps.
        after: the average after the swaps, with the lower layers computed.
        upper: number of the layer, minus one.
        rows: the swapped units of this layer.

    Returns:
        Whether all units of the layer changed; otherwise only the swapped ones did.
    """
    changed, gained = after.patches.get(upper, ([], None))
    new = after.product(upper, rows) if rows else None
    if gained is None:
        if new is not None:
            after.patches[upper + 1] = rows, new
        return False
    lost = before.values[upper][changed]
    if upper:
        lost, gained = lost.relu(), gained.relu()
    if new is not None:
        new.addmm_(after.weights[upper][rows][:, changed], gained - lost)
    factors = (after.weights[upper][:, changed], -before.weights[upper][:, changed])
    values = before.values[upper + 1].addmm(torch.cat(factors, 1), torch.cat((gained, lost)))
    if new is not None:
        values[rows] = new
    after.values[upper + 1] = values
    return True
