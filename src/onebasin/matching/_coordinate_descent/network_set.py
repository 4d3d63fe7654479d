"""Several networks of one architecture with their permutations and their sum."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from onebasin.errors import ArgumentError
from onebasin.matching._coordinate_descent.pair import Pair
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry


class NetworkSet:
    """Several networks and their permutations.

    Args:
        symmetry: symmetry of the architecture.
        params_list: the networks; buffers may be missing.
        init: initial permutation of each network, by default the identity.
        labels: names of the networks in messages, by default their numbers.

    Raises:
        OneBasinError: there are fewer than two networks, or the arguments do not match.
    """

    def __init__(
        self,
        symmetry: Symmetry,
        params_list: Sequence[Mapping[str, Tensor]],
        init: Sequence[Permutation] | None = None,
        *,
        labels: Sequence[str] = (),
    ) -> None:
        """Check all networks; no sum is computed yet."""
        self.symmetry, self.params_list = symmetry, params_list
        self.pairs = checked_pairs(symmetry, params_list, labels)
        _check_init(symmetry, init, len(params_list))
        identity = Permutation.identity(symmetry)
        self.permutations = list(init or [identity] * len(params_list))
        self.names = self.pairs[0].names
        wide = any(pair.dtype == torch.float64 for pair in self.pairs)
        self.dtype = torch.float64 if wide else torch.float32
        self.present: set[int] = set()
        self.sums: dict[str, Tensor] = {}

    def __len__(self) -> int:
        """Return the number of networks."""
        return len(self.params_list)

    def sum_up(self, numbers: Iterable[int] | None = None) -> None:
        """Recompute the sum of some permuted networks, by default of all."""
        self.present, self.sums = set(), {}
        for number in range(len(self)) if numbers is None else numbers:
            self.add(number)

    def add(self, number: int) -> None:
        """Add a permuted network to the sum."""
        for name in self.names:
            moved = self.moved(number, name)
            self.sums[name] = self.sums[name] + moved if self.present else moved
        self.present.add(number)

    def mean_of_others(self, number: int) -> dict[str, Tensor]:
        """Return the mean of all networks in the sum except one."""
        if number not in self.present:
            return {name: total / len(self.present) for name, total in self.sums.items()}
        rest = len(self.present) - 1
        return {
            name: (total - self.moved(number, name)) / rest for name, total in self.sums.items()
        }

    def moved(self, number: int, name: str) -> Tensor:
        """Return a permuted tensor of a network, in the dtype of the sum."""
        return self.permutations[number].apply_tensor(name, self.unmoved(number, name))

    def unmoved(self, number: int, name: str) -> Tensor:
        """Return a tensor of a network in the dtype of the sum."""
        side, pair = ("A", self.pairs[0]) if number == 0 else ("B", self.pairs[number - 1])
        return pair.tensor(side, name).to(self.dtype)

    def move(self, number: int, permutation: Permutation) -> None:
        """Replace the permutation of a network in the sum."""
        for name in self.names:
            self.sums[name] -= self.moved(number, name)
        self.permutations[number] = permutation
        for name in self.names:
            self.sums[name] += self.moved(number, name)

    def objective(self) -> float:
        r"""Return \(\sum_{i<j} \langle P_i(\theta_i), P_j(\theta_j) \rangle\), in float64.

        The sum is recomputed, which removes accumulated rounding errors.
        """
        value = 0.0
        for name in self.names:
            moved = [self.moved(number, name) for number in range(len(self))]
            total = torch.stack(moved).sum(0, dtype=torch.float64)
            value += float(total.square().sum())
            value -= sum(float(each.double().square().sum()) for each in moved)
            if name in self.sums:
                self.sums[name] = total.to(self.dtype)
        return value / 2

    def relative_to_first(self) -> tuple[Permutation, ...]:
        """Return the permutations relative to that of the first network."""
        back = self.permutations[0].inverse()
        first = Permutation.identity(self.symmetry)
        return (first, *(back @ permutation for permutation in self.permutations[1:]))


def checked_pairs(
    symmetry: Symmetry,
    params_list: Sequence[Mapping[str, Tensor]],
    labels: Sequence[str] = (),
) -> list[Pair]:
    """Return the checked pairs of the first network and each other network.

    Args:
        symmetry: symmetry of the networks.
        params_list: the networks.
        labels: names of the networks in messages, by default their numbers.

    Raises:
        OneBasinError: there are fewer than two networks, or they do not match the symmetry.
    """
    labels = labels or [f"network {place + 1}" for place in range(len(params_list))]
    if len(params_list) < 2:
        raise ArgumentError(
            f"{len(params_list) or 'no'} network given; give at least two of one architecture"
        )
    pairs = []
    for params, label in zip(params_list[1:], labels[1:], strict=True):
        pair = Pair(symmetry, params_list[0], params, labels=(labels[0], label))
        pair.compute_stats()
        pairs.append(pair)
    return pairs


def _check_init(symmetry: Symmetry, init: Sequence[Permutation] | None, num_networks: int) -> None:
    if init is None:
        return
    if len(init) != num_networks:
        raise ArgumentError(
            f"init has {len(init)} permutations for {num_networks} networks; give one for each"
        )
    if any(permutation.symmetry.fingerprint != symmetry.fingerprint for permutation in init):
        raise ArgumentError(
            "init belongs to another symmetry; create it with the symmetry that you pass"
        )
