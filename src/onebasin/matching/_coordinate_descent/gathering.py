"""Gathering: several networks of one architecture, where each one is, and their sum.

Owns the checks of many networks, the mean of the others that one is matched to, and the
objective of all pairs in float64.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from onebasin.errors import OneBasinError
from onebasin.matching._coordinate_descent.pair import Pair
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry


class Gathering:
    """Several networks and their permutations.

    Args:
        symmetry: of their architecture.
        params_list: the networks; any mappings, buffers may be missing.
        init: where each begins; by default unmoved.
        call: the public function that is running, for messages.
        labels: what the networks are called in messages; by default they are counted.

    Raises:
        OneBasinError: when there are fewer than two networks, or something does not fit.
    """

    def __init__(
        self,
        symmetry: Symmetry,
        params_list: Sequence[Mapping[str, Tensor]],
        init: Sequence[Permutation] | None = None,
        *,
        call: str,
        labels: Sequence[str] = (),
    ) -> None:
        """Check all networks; nothing is added up yet."""
        self.symmetry, self.params_list = symmetry, params_list
        labels = labels or [f"network {place + 1}" for place in range(len(params_list))]
        self.pairs = _surveyed(symmetry, params_list, labels, call)
        _check_init(symmetry, init, len(params_list), call)
        identity = Permutation.identity(symmetry)
        self.permutations = list(init or [identity] * len(params_list))
        self.names = self.pairs[0].names
        wide = any(pair.dtype == torch.float64 for pair in self.pairs)
        self.dtype = torch.float64 if wide else torch.float32
        self.present: set[int] = set()
        self.sums: dict[str, Tensor] = {}

    def __len__(self) -> int:
        """Count the networks."""
        return len(self.params_list)

    def gather(self, numbers: Iterable[int] | None = None) -> None:
        """Add up some of the networks anew, by default all, where they are now."""
        self.present, self.sums = set(), {}
        for number in range(len(self)) if numbers is None else numbers:
            self.enter(number)

    def enter(self, number: int) -> None:
        """Add a network to the sum."""
        for name in self.names:
            moved = self.moved(number, name)
            self.sums[name] = self.sums[name] + moved if self.present else moved
        self.present.add(number)

    def others(self, number: int) -> dict[str, Tensor]:
        """Return the mean of all networks in the sum but one."""
        if number not in self.present:
            return {name: total / len(self.present) for name, total in self.sums.items()}
        rest = len(self.present) - 1
        return {
            name: (total - self.moved(number, name)) / rest for name, total in self.sums.items()
        }

    def moved(self, number: int, name: str) -> Tensor:
        """Return a tensor of a network, moved, in the dtype of the sum."""
        return self.permutations[number].apply_tensor(name, self.unmoved(number, name))

    def unmoved(self, number: int, name: str) -> Tensor:
        """Return a tensor of a network in the dtype of the sum."""
        side, pair = ("A", self.pairs[0]) if number == 0 else ("B", self.pairs[number - 1])
        return pair.tensor(side, name).to(self.dtype)

    def move(self, number: int, permutation: Permutation) -> None:
        """Move a network in the sum to where another permutation has it."""
        for name in self.names:
            self.sums[name] -= self.moved(number, name)
        self.permutations[number] = permutation
        for name in self.names:
            self.sums[name] += self.moved(number, name)

    def objective(self) -> float:
        r"""Return \(\sum_{i<j} \langle P_i(\theta_i), P_j(\theta_j) \rangle\), in float64.

        The sum is made anew, so that no rounding of many moves is left in it.
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

    def to_first(self) -> tuple[Permutation, ...]:
        """Return the permutations that leave the first network where it is."""
        back = self.permutations[0].inverse()
        first = Permutation.identity(self.symmetry)
        return (first, *(back @ permutation for permutation in self.permutations[1:]))


def _surveyed(
    symmetry: Symmetry,
    params_list: Sequence[Mapping[str, Tensor]],
    labels: Sequence[str],
    call: str,
) -> list[Pair]:
    """Return the first network with each of the others, checked."""
    if len(params_list) < 2:
        raise OneBasinError(
            f"{call}: {len(params_list) or 'no'} network given; give at least two of one"
            " architecture"
        )
    pairs = []
    for params, label in zip(params_list[1:], labels[1:], strict=True):
        pair = Pair(symmetry, params_list[0], params, call=call, labels=(labels[0], label))
        pair.survey()
        pairs.append(pair)
    return pairs


def _check_init(
    symmetry: Symmetry, init: Sequence[Permutation] | None, num_networks: int, call: str
) -> None:
    if init is None:
        return
    if len(init) != num_networks:
        raise OneBasinError(
            f"{call}: init has {len(init)} permutations for {num_networks} networks; give one for"
            " each"
        )
    if any(permutation.symmetry.fingerprint != symmetry.fingerprint for permutation in init):
        raise OneBasinError(
            f"{call}: init has a permutation of another symmetry; make it with the symmetry that"
            " is given"
        )
