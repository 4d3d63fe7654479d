"""Rules for tensors that have no meaningful weighted mean.

These are pruning masks, integers, and quantized weights with their scales.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from onebasin._dtypes import dtype_name, is_inexact
from onebasin._text import counted
from onebasin.checkpoints._lazy import TensorInfo, describe
from onebasin.errors import ArgumentError
from onebasin.evaluation._pruning import apply_common_masks, differing_masks

SCALES = ("{}_scale", "{}_scale_inv", "{}.scale", "{}.scale_weight", "{}.weight_scale")
"""Names of the scale of a quantized tensor, after the name of the tensor or of its module."""


@dataclass(frozen=True)
class Rules:
    """Treatment of tensors that are not simply averaged.

    Args:
        networks: networks to average, with common pruning masks.
        kept: names of tensors that are copied from the first network.
        notes: one sentence for each decision that changes the result.
    """

    networks: Sequence[Mapping[str, Tensor]]
    kept: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


def rules_for(networks: Sequence[Mapping[str, Tensor]]) -> Rules:
    """Return the rules for networks, and check that all their tensors can be merged.

    Only integers, masks and scales are read.

    Args:
        networks: parameters and buffers, with the same names and shapes.

    Raises:
        OneBasinError: integers, masks without a tensor, or the scales of quantized weights differ.
    """
    infos = {name: describe(networks[0], name) for name in networks[0]}
    kept = _differing_quantization(networks, infos)
    masks = differing_masks(networks)
    for name in infos:
        if name not in kept and name not in masks.values():
            _check_integers(networks, name, infos[name])
            _check_scaled(networks, name, infos)
    shared = apply_common_masks(networks, masks)
    return Rules(shared, frozenset(kept), tuple(_notes(masks, kept)))


def _notes(masks: Mapping[str, str], kept: set[str]) -> Iterator[str]:
    if masks:
        yield (
            f"{counted(len(masks), 'pruned tensor')} ({next(iter(masks))!r}, ...) with different "
            "masks: the merged network keeps every weight that one of the networks keeps; prune "
            "it again for the same sparsity"
        )
    if kept:
        yield (
            f"quantization parameters ({min(kept)!r}, ...) differ and are copied from the first "
            "network; calibrate the merged network again"
        )


def _differing_quantization(
    networks: Sequence[Mapping[str, Tensor]], infos: Mapping[str, TensorInfo]
) -> set[str]:
    """Return scales and zero points with different zero points."""
    names: set[str] = set()
    for zero_point in infos:
        scale = zero_point.removesuffix("zero_point") + "scale"
        if zero_point.endswith("zero_point") and scale in infos and _differs(networks, zero_point):
            names |= {zero_point, scale}
    return names


def _check_integers(networks: Sequence[Mapping[str, Tensor]], name: str, info: TensorInfo) -> None:
    """Raise an error for integers that differ, except counters with one entry."""
    kinds = [is_inexact(describe(params, name).dtype) for params in networks]
    entries = torch.Size(info.shape).numel()
    if all(kinds) or entries <= 1 or (not any(kinds) and not _differs(networks, name)):
        return
    whole = describe(networks[kinds.index(False)], name).dtype
    raise ArgumentError(
        f"tensor {name!r} ({dtype_name(whole)}) differs between the networks, and integers"
        " cannot be averaged; dequantize the checkpoints, or copy the tensor of one network to all"
    )


def _check_scaled(
    networks: Sequence[Mapping[str, Tensor]], name: str, infos: Mapping[str, TensorInfo]
) -> None:
    """Raise an error for 8-bit weights whose scales differ."""
    if infos[name].dtype.itemsize > 1 or not infos[name].dtype.is_floating_point:
        return
    module = name.rpartition(".")[0]
    scales = [template.format(each) for each in (name, module) for template in SCALES]
    for scale in scales:
        if scale in infos and _differs(networks, scale):
            raise ArgumentError(
                f"tensor {name!r} ({dtype_name(infos[name].dtype)}) is scaled by "
                f"{scale!r}, which differs between the networks; dequantize the checkpoints first"
            )


def _differs(networks: Sequence[Mapping[str, Tensor]], name: str) -> bool:
    first = networks[0][name]
    return not all(
        torch.equal(first.to(other.device), other.to(first.dtype))
        for other in (params[name] for params in networks[1:])
    )
