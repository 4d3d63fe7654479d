"""Rows of a large array in several memory-mapped tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class RowChunks:
    """Rows in several tensors; an index gives a tensor in memory.

    Args:
        chunks: the tensors; they differ only in their number of rows.
    """

    chunks: tuple[Tensor, ...]

    def __len__(self) -> int:
        """Return the number of rows."""
        return sum(map(len, self.chunks))

    @property
    def shape(self) -> torch.Size:
        """The shape of all rows."""
        return torch.Size((len(self), *self.chunks[0].shape[1:]))

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the rows."""
        return self.chunks[0].dtype

    def __getitem__(self, rows: slice | Tensor | list[int]) -> Tensor:
        """Return some rows."""
        index = torch.arange(len(self))[rows]
        selected = self.chunks[0].new_empty((len(index), *self.shape[1:]))
        start = 0
        for chunk in self.chunks:
            inside = (index >= start) & (index < start + len(chunk))
            selected[inside] = chunk[index[inside] - start]
            start += len(chunk)
        return selected


def select_columns(rows: Tensor | RowChunks, columns: int | slice) -> Any:
    """Return some columns of all rows, without copying them."""
    if isinstance(rows, Tensor):
        return rows[:, columns]
    return RowChunks(tuple(chunk[:, columns] for chunk in rows.chunks))


def as_one_tensor(rows: Tensor | RowChunks) -> Tensor:
    """Return all rows as one tensor."""
    return rows if isinstance(rows, Tensor) else torch.cat(rows.chunks)
