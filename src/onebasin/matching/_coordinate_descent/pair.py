"""Two networks of one architecture, read tensor by tensor.

Checks the networks, selects the tensors that count (floating-point parameters, tied ones once)
and evaluates the objective `<A, P(B)>` in float64.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, sqrt

import torch
from torch import Tensor

from onebasin._checks import check_mapping, check_tensor
from onebasin._dtypes import all_finite
from onebasin.errors import ArgumentError
from onebasin.symmetry._apply import IndexApplier
from onebasin.symmetry._buffer_values import check_buffer_values
from onebasin.symmetry.layouts import Layout
from onebasin.symmetry.symmetry import Symmetry

CHUNK = 2**18
"""Number of entries that are multiplied in float64 at a time, which fits the cache."""


@dataclass(frozen=True)
class PairStats:
    """Statistics of both networks.

    Args:
        value: objective of the unpermuted B.
        bound: upper bound of the objective, `|A| |B|`.
        alike: whether every tensor of B has the norm of A's, as for a permuted A.
    """

    value: float
    bound: float
    alike: bool


class Pair:
    """Both networks.

    Args:
        symmetry: symmetry of the architecture.
        params_a, params_b: parameters by name; tensors are read when needed. Buffers may be
            missing.
        labels: names of the networks in messages.

    Raises:
        OneBasinError: the names do not match the symmetry.
    """

    def __init__(
        self,
        symmetry: Symmetry,
        params_a: Mapping[str, Tensor],
        params_b: Mapping[str, Tensor],
        *,
        labels: tuple[str, str] = ("A", "B"),
    ) -> None:
        self.symmetry = symmetry
        self.labels = {"A": labels[0], "B": labels[1]}
        self.params = {"A": params_a, "B": params_b}
        for side, params in self.params.items():
            check_mapping(params, self.labels[side])
        self.dtype = torch.float32
        self._self_contained: dict[Layout, bool] = {}
        # `in` reads the tensor of a mapping that does not define `__contains__`.
        self.present = {side: dict.fromkeys(params) for side, params in self.params.items()}
        for side, present in self.present.items():
            for name in present:
                if name not in symmetry.layouts:
                    raise ArgumentError(
                        f"{self._describe(side, name)} is not in the symmetry; infer the symmetry"
                        " of this architecture, or remove the tensor"
                    )
        for side, params in self.params.items():
            check_buffer_values(self.labels[side], symmetry.buffer_values, params)
        self.names = tuple(self._counted())

    def _describe(self, side: str, name: str) -> str:
        return f"tensor {name!r} of {self.labels[side]}"

    def _counted(self) -> list[str]:
        """Return the parameters in the symmetry's order, one name for each tied tensor."""
        ties = {name: names for names in self.symmetry.tied for name in names}
        counted: dict[str, None] = {}
        for name in self.symmetry.layouts:
            names = ties.get(name, (name,))
            if name in self.symmetry.buffers or names[0] in counted:
                continue
            for side, present in self.present.items():
                if not any(each in present for each in names):
                    raise ArgumentError(
                        f"tensor {name!r} of the symmetry is missing in"
                        f" {self.labels[side]}; pass all parameters of the architecture"
                    )
            counted[names[0]] = None
        return list(counted)

    def read(self, name: str) -> tuple[Tensor, Tensor]:
        """Return a tensor of A and of B, contiguous, on the CPU, in their own dtypes."""
        return self.tensor("A", name), self.tensor("B", name)

    def tensor(self, side: str, name: str) -> Tensor:
        """Return a tensor of one side, contiguous, on the CPU, in its own dtype."""
        return self._raw(side, name).detach().cpu().contiguous()

    def _raw(self, side: str, name: str) -> Tensor:
        if name not in self.present[side]:
            ties = next(names for names in self.symmetry.tied if name in names)
            name = next(ty for ty in ties if ty in self.present[side])
        return self.params[side][name]

    def compute_stats(self) -> PairStats:
        """Check every tensor and compute the statistics in one pass.

        Raises:
            OneBasinError: a tensor has another shape, a dtype that cannot be multiplied, or NaN or
                infinite entries.
        """
        value = square_a = square_b = 0.0
        alike, counted = True, []
        for name in self.names:
            tensors = {side: self._checked(side, name) for side in self.params}
            a, b = tensors.values()
            if not (a.is_floating_point() and b.is_floating_point()):
                continue
            counted.append(name)
            if torch.float64 in (a.dtype, b.dtype):
                self.dtype = torch.float64
            ab, aa, bb = _moments(a, b)
            for side, square in zip(self.params, (aa, bb), strict=True):
                if not isfinite(square) and not all_finite(tensors[side]):
                    raise ArgumentError(
                        f"{self._describe(side, name)} has NaN or infinite entries; use a"
                        " checkpoint from before training diverged"
                    )
            value, square_a, square_b = value + ab, square_a + aa, square_b + bb
            alike = alike and abs(aa - bb) <= 1e-5 * max(aa, bb)
        self.names = tuple(counted)
        return PairStats(value, sqrt(square_a) * sqrt(square_b), alike)

    def _checked(self, side: str, name: str) -> Tensor:
        tensor, shape = self._raw(side, name), self.symmetry.shapes[name]
        check_tensor(self._describe(side, name), tensor)
        if tensor.is_meta:
            raise ArgumentError(
                f"{self._describe(side, name)} is on the meta device and has no values; load the"
                " checkpoint first"
            )
        if tuple(tensor.shape) != shape:
            raise ArgumentError(
                f"tensor {name!r} is {tuple(tensor.shape)} in {self.labels[side]} but"
                f" {shape} in the symmetry; use checkpoints of the same architecture"
            )
        moves = any(g in self.symmetry.groups for b in self.symmetry.blocks[name] for g in b.groups)
        if moves and not tensor.is_floating_point():
            raise ArgumentError(
                f"{self._describe(side, name)} is {tensor.dtype} and has permutable units; only"
                " real floating-point weights can be matched, convert it first"
            )
        return tensor.detach().cpu().contiguous()

    def objective(self, indices: Mapping[str, Tensor]) -> float:
        """Return `<A, P(B)>`, computed in float64.

        Args:
            indices: indices of the groups, as in a permutation.
        """
        return self.objectives([indices], self.names)[0]

    def objectives(
        self, candidates: Sequence[Mapping[str, Tensor]], names: Iterable[str]
    ) -> list[float]:
        """Return the contribution of some tensors to the objective, for several candidates."""
        appliers = [
            IndexApplier(self.symmetry, candidate, self_contained=self._self_contained)
            for candidate in candidates
        ]
        totals = [0.0] * len(appliers)
        for name in names:
            a, b = self.read(name)
            for i, applier in enumerate(appliers):
                totals[i] += _inner(a, applier.apply_to_tensor(name, b))
        return totals


def _inner(a: Tensor, b: Tensor) -> float:
    total = 0.0
    for x, y in zip(a.flatten().split(CHUNK), b.flatten().split(CHUNK), strict=True):
        total += float(torch.dot(x.double(), y.double()))
    return total


def _moments(a: Tensor, b: Tensor) -> tuple[float, float, float]:
    """Return `<a, b>`, `<a, a>` and `<b, b>`."""
    ab = aa = bb = 0.0
    for x, y in zip(a.flatten().split(CHUNK), b.flatten().split(CHUNK), strict=True):
        x, y = x.double(), y.double()
        ab, aa, bb = ab + float(x.dot(y)), aa + float(x.dot(x)), bb + float(y.dot(y))
    return ab, aa, bb
