"""Walks of linear chains that compute from the swapped layer up.

A swap changes a few units of its layer, and with them a few columns of the next layer's
averaged weights: that layer's values get a correction of low rank. Above it every unit is
another, and products are computed in full. Values are `(units, examples)`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from onebasin.matching._annealing.evaluated import Mixtures
from onebasin.matching._annealing.examples import Energy
from onebasin.matching._annealing.linear_chain import LinearChain
from onebasin.matching._annealing.swaps import Swap, swapped
from onebasin.matching._annealing.walk import Orders, Walk


@dataclass(frozen=True, eq=False)
class ChainTensors:
    """What a walk reads of the networks; walks may share it.

    Args:
        chain: the architecture and its examples.
        first: for each network the first layer before ReLU, `(units, examples)`.
        weights: for each network the weights of the layers after the first.
        biases: likewise.
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

    def order(self, orders: Orders, network: int, layer: int) -> Tensor:
        """Return which unit of a network's layer is at each position."""
        group = self.chain.layers[layer].group
        if group is not None:
            return orders[network][group]
        above = self.weights[network][layer - 1] if layer else self.first[network]
        return torch.arange(len(above))


@dataclass
class Average:
    """An average of networks, with the values of its layers.

    Args:
        members: numbers of the networks.
        weights: of the layers after the first, averaged as the networks stand.
        biases: likewise.
        values: of the first layer after ReLU, of the others before it, the logits last;
            `(units, examples)`.
        patches: by number of the layer, units whose values are others than in `values`.
    """

    members: tuple[int, ...]
    weights: list[Tensor] = field(default_factory=list)
    biases: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    patches: dict[int, tuple[list[int], Tensor]] = field(default_factory=dict)

    @classmethod
    def of(cls, tensors: ChainTensors, orders: Orders, members: tuple[int, ...]) -> Average:
        """Return the average of networks in given orders, computed in full."""
        first = sum(tensors.first[m][tensors.order(orders, m, 0)] for m in members)
        assert isinstance(first, Tensor)
        found = cls(members, values=[first.div_(len(members)).relu_()])
        for upper in range(len(tensors.chain.layers) - 1):
            rows = {m: tensors.order(orders, m, upper + 1) for m in members}
            columns = {m: tensors.order(orders, m, upper) for m in members}
            weights = [tensors.weights[m][upper][rows[m]][:, columns[m]] for m in members]
            biases = [tensors.biases[m][upper][rows[m]] for m in members]
            found.weights.append(torch.stack(weights).mean(0))
            found.biases.append(torch.stack(biases).mean(0))
            found.values.append(found.product(upper))
        return found

    def features(self, layer: int) -> Tensor:
        """Return what the next layer sees, before patches."""
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


class LayeredWalk(Walk):
    """A walk of a linear chain of any depth.

    Args:
        tensors: of the networks.
        orders: where it begins.
        mixtures: which networks are averaged.
        energy: "loss" or "error".
    """

    def __init__(
        self, tensors: ChainTensors, orders: Orders, mixtures: Mixtures, energy: Energy
    ) -> None:
        """Compute all averages in full."""
        self.tensors, self.kind = tensors, energy
        self.groups = [layer.group for layer in tensors.chain.layers]
        self.averages = [Average.of(tensors, orders, members) for members in mixtures]
        self._orders = orders
        super().__init__(self._energy(self.averages))

    @property
    def orders(self) -> Orders:
        """Where the walk stands."""
        return self._orders

    def propose(self, swaps: Sequence[Swap]) -> float:
        """Return the energy after swaps."""
        orders = list(self.orders)
        for swap in swaps:
            index = swapped(orders[swap.network][swap.group], swap.first, swap.second)
            orders[swap.network] = {**orders[swap.network], swap.group: index}
        self._proposed = tuple(orders)
        self._proposed_averages = [self._moved(average, swaps) for average in self.averages]
        return self._energy(self._proposed_averages)

    def accept(self) -> None:
        """Make the swaps that were proposed last."""
        self._orders, self.averages = self._proposed, self._proposed_averages
        for average in self.averages:
            average.apply_patches()

    def refresh(self) -> None:
        """Compute all averages in full."""
        self.averages = [Average.of(self.tensors, self.orders, a.members) for a in self.averages]
        self.energy = self._energy(self.averages)

    def _moved(self, average: Average, swaps: Sequence[Swap]) -> Average:
        """Return an average after swaps, from the lowest swapped layer up."""
        own = [swap for swap in swaps if swap.network in average.members]
        touched = [
            sorted({at for s in own if s.group == group for at in (s.first, s.second)})
            for group in self.groups
        ]
        found = Average(
            average.members, list(average.weights), list(average.biases), list(average.values)
        )
        if touched[0]:
            rows = [self._places(m, 0)[touched[0]] for m in found.members]
            first = [self.tensors.first[m][at] for m, at in zip(found.members, rows, strict=True)]
            found.patches[0] = touched[0], torch.stack(first).mean(0).relu_()
        spread = False
        for upper in range(len(self.groups) - 1):
            columns, rows = touched[upper], touched[upper + 1]
            if columns or rows:
                self._reweigh(found, upper, rows, columns)
            if spread:
                found.values[upper + 1] = found.product(upper)
            else:
                spread = _advance(average, found, upper, rows)
        return found

    def _reweigh(self, found: Average, upper: int, rows: list[int], columns: list[int]) -> None:
        """Average anew the rows and columns of a layer's weights that swaps have changed."""
        weight, bias = found.weights[upper].clone(), found.biases[upper].clone()
        weight[:, columns], weight[rows], bias[rows] = 0.0, 0.0, 0.0
        share = 1 / len(found.members)
        rest = torch.ones(weight.shape[1], dtype=torch.bool)
        rest[columns] = False
        for m in found.members:
            full, own_bias = self.tensors.weights[m][upper], self.tensors.biases[m][upper]
            down, across = self._places(m, upper + 1), self._places(m, upper)
            weight[:, columns] += full[down[:, None], across[columns]] * share
            weight[rows] += torch.where(rest, full[down[rows]][:, across], 0.0) * share
            bias[rows] += own_bias[down[rows]] * share
        found.weights[upper], found.biases[upper] = weight, bias

    def _places(self, network: int, layer: int) -> Tensor:
        return self.tensors.order(self._proposed, network, layer)

    def _energy(self, averages: Sequence[Average]) -> float:
        labels, total = self.tensors.chain.labels, 0.0
        for average in averages:
            logits = average.values[-1].T
            last = average.patches.get(len(self.groups) - 1)
            assert last is None, "logits do not swap"
            if self.kind == "loss":
                losses = F.cross_entropy(logits, labels, reduction="none")
                total += float(losses.double().mean())
            else:
                total += float((logits.argmax(1) != labels).double().mean())
        return total / len(averages)


def _advance(before: Average, found: Average, upper: int, rows: list[int]) -> bool:
    """Compute a layer above one of which few units are others than before.

    Args:
        before: the average before the swaps.
        found: the average after them, with the layers below computed.
        upper: number of the layer, less one.
        rows: the units of this layer that were swapped.

    Returns:
        Whether all units of the layer are others now; otherwise only the swapped ones are.
    """
    changed, gained = found.patches.get(upper, ([], None))
    new = found.product(upper, rows) if rows else None
    if gained is None:
        if new is not None:
            found.patches[upper + 1] = rows, new
        return False
    lost = before.values[upper][changed]
    if upper:
        lost, gained = lost.relu(), gained.relu()
    if new is not None:
        new.addmm_(found.weights[upper][rows][:, changed], gained - lost)
    factors = (found.weights[upper][:, changed], -before.weights[upper][:, changed])
    values = before.values[upper + 1].addmm(torch.cat(factors, 1), torch.cat((gained, lost)))
    if new is not None:
        values[rows] = new
    found.values[upper + 1] = values
    return True
