"""Windows of convolutions as rows of a matrix, extracted only when they are needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Windows:
    """The windows of a convolution.

    Args:
        view: `(n, *positions, channels, *window)`, in the memory of the padded input.
        dims: number of dimensions of the positions.
    """

    view: Tensor
    dims: int

    def __len__(self) -> int:
        """Return the number of windows."""
        return prod(self.view.shape[: self.dims + 1])

    def __getitem__(self, index: Int[Tensor, " n"]) -> Float[Tensor, "n d"]:
        """Return some windows, flattened."""
        places = torch.unravel_index(index, self.view.shape[: self.dims + 1])
        return self.view[places].flatten(1)


def windows(x: Tensor, kernel: tuple[int, ...], given: Mapping[str, Any]) -> Windows:
    """Return the windows of a convolution, positions in the order of its output.

    Args:
        x: input `(n, channels, *sizes)`, or `(channels, *sizes)` without a batch dimension.
        kernel: sizes of the kernel.
        given: `stride`, `padding` and `dilation`, as for `torch.nn.functional.conv2d`.
    """
    dims = len(kernel)
    x = x if x.dim() == dims + 2 else x[None]
    stride, dilation = (spread(given.get(name, 1), dims) for name in ("stride", "dilation"))
    reach = [step * (size - 1) for step, size in zip(dilation, kernel, strict=True)]
    padding = given.get("padding", 0)
    if padding == "same":
        pads = [(each // 2, each - each // 2) for each in reach]
    else:
        pads = [(each, each) for each in spread(0 if padding == "valid" else padding, dims)]
    return _windows(x, kernel, stride, dilation, pads)


def transposed_windows(x: Tensor, kernel: tuple[int, ...], given: Mapping[str, Any]) -> Windows:
    """Return the windows whose product with the flipped kernel is a transposed convolution.

    Args:
        x: input, as for `windows`.
        kernel: sizes of the kernel.
        given: `stride`, `padding`, `output_padding` and `dilation`, as for
            `torch.nn.functional.conv_transpose2d`.
    """
    dims = len(kernel)
    x = x if x.dim() == dims + 2 else x[None]
    stride, dilation = (spread(given.get(name, 1), dims) for name in ("stride", "dilation"))
    padding, extra = (spread(given.get(name, 0), dims) for name in ("padding", "output_padding"))
    sizes = [step * (size - 1) + 1 for step, size in zip(stride, x.shape[2:], strict=True)]
    spaced = x.new_zeros(*x.shape[:2], *sizes)
    spaced[(..., *(slice(None, None, step) for step in stride))] = x
    reach = [step * (size - 1) for step, size in zip(dilation, kernel, strict=True)]
    pads = [(far - p, far - p + e) for far, p, e in zip(reach, padding, extra, strict=True)]
    return _windows(spaced, kernel, (1,) * dims, dilation, pads)


def _windows(
    x: Tensor,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    pads: list[tuple[int, int]],
) -> Windows:
    x = F.pad(x, [side for pair in reversed(pads) for side in pair]).contiguous()
    reach = [step * (size - 1) for step, size in zip(dilation, kernel, strict=True)]
    spans = zip(x.shape[2:], reach, stride, strict=True)
    positions = [(size - far - 1) // step + 1 for size, far, step in spans]
    along = x.stride()[2:]
    apart, inside = (
        [near * step for near, step in zip(along, steps, strict=True)]
        for steps in (stride, dilation)
    )
    view = x.as_strided(
        (len(x), *positions, x.shape[1], *kernel),
        (x.stride(0), *apart, x.stride(1), *inside),
    )
    return Windows(view, len(kernel))


def spread(value: Any, dims: int) -> tuple[int, ...]:
    """Return a value for each dimension, as convolutions read theirs."""
    if isinstance(value, int):
        return (value,) * dims
    sizes = tuple(int(each) for each in value)
    return sizes * dims if len(sizes) == 1 else sizes
