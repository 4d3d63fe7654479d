"""States that evaluate the networks in full after every swap, for any network and energy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from onebasin._dtypes import compute_dtype
from onebasin.matching._annealing.state import AnnealingState, NetworkIndices
from onebasin.matching._annealing.swaps import Swap, transposition
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry

Params = Mapping[str, Tensor]
Mixtures = tuple[tuple[int, ...], ...]
"""Networks of each average; the energy of a state is the mean over all averages."""


class EvaluatedState(AnnealingState):
    """A state whose energy is that of averages of the permuted networks.

    Args:
        symmetry: symmetry of the architecture.
        networks: parameters and buffers of each network.
        indices: the initial indices.
        mixtures: networks of each average.
        evaluate: energy of an average.
    """

    def __init__(
        self,
        symmetry: Symmetry,
        networks: Sequence[Params],
        indices: NetworkIndices,
        mixtures: Mixtures,
        evaluate: Callable[[Params], float],
    ) -> None:
        """Permute the networks and evaluate their averages."""
        self.symmetry, self.mixtures, self.evaluate = symmetry, mixtures, evaluate
        self.permutations = [Permutation(symmetry, index) for index in indices]
        self.moved: list[Params] = [
            permutation.apply(params)
            for permutation, params in zip(self.permutations, networks, strict=True)
        ]
        self.averages = [average([self.moved[m] for m in mixture]) for mixture in mixtures]
        super().__init__(sum(map(evaluate, self.averages)) / len(mixtures))

    @property
    def indices(self) -> NetworkIndices:
        """The current indices."""
        return tuple(dict(permutation.indices) for permutation in self.permutations)

    def propose(self, swaps: Sequence[Swap]) -> float:
        """Return the energy after swaps."""
        moved, permutations, touched = list(self.moved), list(self.permutations), set[str]()
        for network in {swap.network for swap in swaps}:
            own = [swap for swap in swaps if swap.network == network]
            step = transposition(self.symmetry, own)
            names = self._carriers(own, moved[network])
            changes = {name: step.apply_tensor(name, moved[network][name]) for name in names}
            moved[network] = {**moved[network], **changes}
            permutations[network] = step @ permutations[network]
            touched |= names
        averages = [
            {**known, **average([{n: moved[m][n] for n in touched} for m in mixture])}
            for known, mixture in zip(self.averages, self.mixtures, strict=True)
        ]
        self._proposed = moved, permutations, averages
        return sum(map(self.evaluate, averages)) / len(averages)

    def accept(self) -> None:
        """Apply the last proposed swaps."""
        self.moved, self.permutations, self.averages = self._proposed

    def refresh(self) -> None:
        """Do nothing: energies are not accumulated."""

    def _carriers(self, swaps: Sequence[Swap], params: Params) -> set[str]:
        """Return all names of the tensors that contain the groups."""
        ties = {name: names for names in self.symmetry.tied for name in names}
        tensors_of = {name for swap in swaps for name in self.symmetry.tensors_of[swap.group]}
        return {
            alias for name in tensors_of for alias in ties.get(name, (name,)) if alias in params
        }


def average(networks: Sequence[Params]) -> dict[str, Tensor]:
    """Return the mean of networks; integer tensors are copied from the first."""
    return {name: _mean([params[name] for params in networks]) for name in networks[0]}


def _mean(tensors: Sequence[Tensor]) -> Tensor:
    first = tensors[0].detach()
    if not first.is_floating_point():
        return first
    dtype = compute_dtype(*(tensor.dtype for tensor in tensors))
    total = first.to(dtype)
    for tensor in tensors[1:]:
        total = total + tensor.detach().to(first.device, dtype)
    return (total / len(tensors)).to(first.dtype)
