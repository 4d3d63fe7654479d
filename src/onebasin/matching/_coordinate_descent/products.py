"""Products of rows of two networks, corrected for the rows that moved."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

CHUNK = 2**22
"""Number of entries of rearranged rows that are multiplied at a time."""


class Workspace:
    """Reusable memory, since page faults cost more than the copies.

    Args:
        dtype: dtype of the products.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._room: dict[str, Tensor] = {}

    def take(
        self, slot: str, rows: Float[Tensor, "r f n"], places: Int[Tensor, " p"]
    ) -> Float[Tensor, "p f n"]:
        """Return some rows, contiguous, valid until the slot is used again.

        Adjacent rows are returned as a view if no copy is needed.
        """
        first, last = int(places[0]), int(places[-1])
        neighbors = last - first + 1 == len(places) and bool((places[1:] > places[:-1]).all())
        if neighbors:
            part = rows[first : last + 1]
            if part.dtype == self.dtype and part.is_contiguous():
                return part
            return self._buffer(slot, part.shape).copy_(part)
        if rows.dtype == self.dtype:
            shape = torch.Size((len(places), *rows.shape[1:]))
            return torch.index_select(rows, 0, places, out=self._buffer(slot, shape))
        part = rows.index_select(0, places)
        return self._buffer(slot, part.shape).copy_(part)

    def change(
        self, rows: Float[Tensor, "r f n"], new: Int[Tensor, " p"], used: Int[Tensor, " p"]
    ) -> Float[Tensor, "p f n"]:
        """Return new rows minus the previous ones; 0 for a row of -1."""
        fresh, gone = used < 0, new < 0
        change = self.take("new", rows, new.clamp(min=0))
        if not bool(fresh.all()):
            before = self.take("used", rows, used.clamp(min=0))
            if bool(fresh.any()):
                before = before.masked_fill(fresh[:, None, None], 0)
            change = torch.sub(change, before, out=self._buffer("change", change.shape))
        return change.masked_fill(gone[:, None, None], 0) if bool(gone.any()) else change

    def _buffer(self, slot: str, shape: torch.Size) -> Tensor:
        room = self._room.get(slot)
        if room is None or room.numel() < shape.numel():
            room = self._room[slot] = torch.empty(shape.numel(), dtype=self.dtype)
        return room[: shape.numel()].view(shape)


def add_products(
    sums: Float[Tensor, "o n n"],
    a: Float[Tensor, "r f n"],
    b: Float[Tensor, "r f n"],
    new: Int[Tensor, " r"],
    used: Int[Tensor, " r"],
    space: Workspace,
) -> None:
    """Add the change of the products after rows of B have moved, in place.

    Args:
        sums: similarities of n units at each of o outer positions.
        a: entries of A of any dtype: the rows of all outer positions in order, with f fixed
            positions each.
        b: entries of unpermuted B, in the same order.
        new: old row of B for every row; -1 if unknown.
        used: the old rows of the previous products.
        space: workspace for the rows.
    """
    outer, size = sums.shape[:2]
    if outer > 1:
        left = space.take("a", a, torch.arange(len(new))).view(outer, -1, size)
        right = space.change(b, new, used).view(outer, -1, size)
        sums.baddbmm_(left.transpose(1, 2), right)
        return
    changed = (new != used).nonzero().flatten()
    for part in changed.split(max(1, CHUNK // (a.shape[1] * size))):
        left = space.take("a", a, part).view(-1, size)
        right = space.change(b, new[part], used[part]).view(-1, size)
        sums[0].addmm_(left.T, right)
