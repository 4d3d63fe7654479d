"""Common masks of pruned networks, which do not change the function of a network.

Pruning (`torch.nn.utils.prune`) stores `weight_orig` and a mask of 0 and 1, `weight_mask`. A
mean of masks is not a mask, so networks get a common one before they are averaged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from onebasin.checkpoints._lazy import LazyMapping, TensorInfo, describe
from onebasin.errors import ArgumentError

MASK = "_mask"


def differing_masks(networks: Sequence[Mapping[str, Tensor]]) -> dict[str, str]:
    """Return the pruned tensors whose masks differ between networks, each with its mask.

    Args:
        networks: networks with the same names and shapes; only masks are read.

    Raises:
        OneBasinError: a mask that belongs to no tensor differs.
    """
    masks = {}
    for mask in networks[0]:
        if is_mask_name(mask) and all(_has_mask(params, mask) for params in networks):
            first = networks[0][mask].bool()
            others = [params[mask].bool().to(first.device) for params in networks[1:]]
            if not all(torch.equal(first, other) for other in others):
                masks[_masked(networks[0], mask)] = mask
    return masks


def with_common_masks(networks: Sequence[Mapping[str, Tensor]]) -> Sequence[Mapping[str, Tensor]]:
    """Return equivalent networks with one mask, which keeps the entries that any of them keeps.

    Args:
        networks: networks with the same names and shapes.

    Returns:
        The networks themselves if masks are equal; otherwise views that mask tensors on access.

    Raises:
        OneBasinError: as for `differing_masks`.

    Example:
        >>> one, zero = torch.ones(1), torch.zeros(1)
        >>> a = {"weight_orig": one, "weight_mask": one}
        >>> _, b = with_common_masks([a, {"weight_orig": one, "weight_mask": zero}])
        >>> b["weight_orig"], b["weight_mask"]
        (tensor([0.]), tensor([1.]))
    """
    return apply_common_masks(networks, differing_masks(networks))


def apply_common_masks(
    networks: Sequence[Mapping[str, Tensor]], masks: Mapping[str, str]
) -> Sequence[Mapping[str, Tensor]]:
    """Return networks with one mask for each pruned tensor, as in `with_common_masks`.

    Args:
        networks: networks with the same names and shapes.
        masks: the result of `differing_masks`.
    """
    return [_WithCommonMask(params, masks, networks) for params in networks] if masks else networks


class _WithCommonMask(LazyMapping):
    """A network whose pruned tensors are masked, with the union of all masks.

    Args:
        params: parameters of the network.
        masks: names of the masks by pruned tensor.
        networks: all networks, for the union.
    """

    def __init__(
        self,
        params: Mapping[str, Tensor],
        masks: Mapping[str, str],
        networks: Sequence[Mapping[str, Tensor]],
    ) -> None:
        super().__init__(params)
        self._params, self._masks, self._networks = params, masks, networks
        self._unions = set(masks.values())

    def metadata(self, name: str) -> TensorInfo:
        """Return the shape and dtype of a tensor, without computing it."""
        return describe(self._params, name)

    def __getitem__(self, name: str) -> Tensor:
        """Return a tensor, masked, or the union of masks."""
        tensor = self._params[name]
        if name in self._masks:
            mask = self._params[self._masks[name]].bool()
            return tensor.detach() * mask.to(tensor.dtype)
        if name not in self._unions:
            return tensor
        union = torch.zeros_like(tensor, dtype=torch.bool)
        for params in self._networks:
            union |= params[name].bool().to(union.device)
        return union.to(tensor.dtype)


def is_mask_name(name: str) -> bool:
    """Return whether a tensor has the name `mask` or `..._mask`."""
    last = name.rpartition(".")[2]
    return last == "mask" or last.endswith(MASK)


def _has_mask(params: Mapping[str, Tensor], name: str) -> bool:
    tensor = params[name] if name in params else None
    if not isinstance(tensor, Tensor) or tensor.is_complex():
        return False
    value = tensor.detach().float()
    return bool(((value == 0) | (value == 1)).all())


def _masked(params: Mapping[str, Tensor], mask: str) -> str:
    """Return the tensor of a mask: `weight_orig` or `weight` for `weight_mask`."""
    base, shape = mask.removesuffix(MASK), describe(params, mask).shape
    for name in (f"{base}_orig", base):
        if name in params and name != mask and describe(params, name).shape == shape:
            return name
    raise ArgumentError(
        f"mask {mask!r} differs between the networks and cannot be averaged; use networks"
        " with the same mask"
    )
