"""Sources: the tensors of A and B as a search reads them.

A tensor is read when it is needed and turned to float32 block by block; nothing is kept
unless both networks fit a budget several times over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from math import sqrt

import torch
from torch import Tensor

from onebasin.errors import OneBasinError
from onebasin.matching.terms import Reader
from onebasin.symmetry import Permutation
from onebasin.symmetry.blocks import Block
from onebasin.symmetry.symmetry import Symmetry

BUDGET = 4 * 2**30
"""Bytes that rearranged float32 copies may take, both networks together."""

CHUNK = 1 << 22
"""Entries that are summed in float64 at a time."""


class Sources:
    """Both networks, read lazily.

    Args:
        symmetry: says which tensors matter: floating parameters, tied ones once.
        params_a, params_b: any mapping, for example an opened checkpoint.

    Raises:
        OneBasinError: when a tensor is missing, of another shape, or of a kind that cannot
            be matched.
    """

    def __init__(
        self, symmetry: Symmetry, params_a: Mapping[str, Tensor], params_b: Mapping[str, Tensor]
    ) -> None:
        self.symmetry = symmetry
        self.params = {"A": params_a, "B": params_b}
        self.names = self._counted()
        moved = [n for n in self.names if any(self._movable(b) for b in symmetry.blocks[n])]
        entries = sum(block.num_entries for name in moved for block in symmetry.blocks[name])
        self.hold = entries * 16 <= BUDGET
        self.bound = 0.0  # of the objective, after Cauchy and Schwarz; known once it was summed

    def _counted(self) -> list[str]:
        """Return the tensors that make up the objective, in the symmetry's order."""
        ties = {name: names for names in self.symmetry.tied for name in names}
        counted, seen = [], set()
        for name in self.symmetry.layouts:
            tie = ties.get(name, (name,))
            if name in self.symmetry.buffers or tie[0] in seen:
                continue
            there = [n for n in tie if all(n in params for params in self.params.values())]
            if not there:
                self._refuse_missing(name)
            seen.add(tie[0])
            counted.append(there[0])
        return counted

    def _refuse_missing(self, name: str) -> None:
        which = " and ".join(side for side, params in self.params.items() if name not in params)
        raise OneBasinError(
            f"match: tensor '{name}' of the symmetry is missing in {which}; "
            "both must be checkpoints of the architecture that was traced"
        )

    def _movable(self, block: Block) -> bool:
        return any(group in self.symmetry.groups for group in block.groups)

    def blocks(self) -> Iterator[tuple[Block, Reader, Reader]]:
        """Yield every block that carries a group, with what reads it from A and from B."""
        for name in self.names:
            for block in self.symmetry.blocks[name]:
                if self._movable(block):
                    readers = (partial(self._block, side, name, block) for side in "AB")
                    yield (block, *readers)  # type: ignore[misc]

    def _block(self, side: str, name: str, block: Block) -> Tensor:
        return block.view(self.params[side][name].detach().contiguous()).float()

    def objective(self, permutation: Permutation | None) -> float:
        """Return `<A, permuted B>`, summed in float64; checks every tensor on the way."""
        total, norm_a, norm_b = 0.0, 0.0, 0.0
        for name in self.names:
            a, b = self._checked("A", name), self._checked("B", name)
            if permutation is not None:
                b = permutation.apply_tensor(name, b)
            a, b = a.reshape(-1), b.reshape(-1)
            for start in range(0, a.numel(), CHUNK):
                x, y = (tensor[start : start + CHUNK].double() for tensor in (a, b))
                total += float(torch.dot(x, y))
                norm_a += float(torch.dot(x, x))
                norm_b += float(torch.dot(y, y))
        self.bound = sqrt(norm_a) * sqrt(norm_b)
        return total

    def _checked(self, side: str, name: str) -> Tensor:
        tensor, shape = self.params[side][name].detach(), self.symmetry.shapes[name]
        if tuple(tensor.shape) != shape:
            raise OneBasinError(
                f"match: tensor '{name}' is {tuple(tensor.shape)} in {side} but {shape} in the "
                "symmetry; both must be checkpoints of the architecture that was traced"
            )
        if tensor.is_meta:
            raise OneBasinError(f"match: tensor '{name}' of {side} is on the meta device; load it")
        if not tensor.is_floating_point():
            raise OneBasinError(
                f"match: tensor '{name}' of {side} is {tensor.dtype}; only real floating-point "
                "weights can be matched: convert the checkpoint first"
            )
        if not bool(torch.isfinite(tensor.sum(dtype=torch.float32))) and not bool(
            torch.isfinite(tensor).all()
        ):
            raise OneBasinError(
                f"match: tensor '{name}' of {side} has NaN or infinite entries; "
                "use a checkpoint from before training diverged"
            )
        return tensor.cpu()
