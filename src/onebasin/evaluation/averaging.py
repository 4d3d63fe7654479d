"""Running mean of the checkpoints of one run (SWA)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from onebasin._checks import check_mapping, described, state_of
from onebasin._dtypes import compute_dtype, is_inexact, round_to
from onebasin.errors import OneBasinError
from onebasin.evaluation._paths import check_same_names


def average_checkpoints(checkpoints: Iterable[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    r"""Return the mean of the checkpoints of one run (stochastic weight averaging).

    A running mean, \(\bar\theta \leftarrow \bar\theta + (\theta_k - \bar\theta) / k\) (Izmailov et
    al. 2018, Algorithm 1), which reads one checkpoint at a time. It is computed in float32 or
    better. Integer tensors are those of the last checkpoint. Statistics of normalization layers are
    averaged, too; recompute them on data with `reset_statistics`, as the paper does.

    Args:
        checkpoints: parameters and buffers of one or more checkpoints; not changed.

    Returns:
        The mean, with the names, dtypes and devices of the first.

    Raises:
        OneBasinError: the list is empty, or names or shapes differ.

    Example:
        >>> average_checkpoints({"w": torch.tensor([float(k)])} for k in (1, 2, 6))
        {'w': tensor([3.])}
    """
    mean: dict[str, Tensor] = {}
    dtypes: dict[str, torch.dtype] = {}
    count = 0
    for count, source in enumerate(_iterated(checkpoints), 1):
        checkpoint = state_of(source)
        check_mapping("average_checkpoints", checkpoint, f"checkpoint {count}")
        if count == 1:
            dtypes = {name: checkpoint[name].dtype for name in checkpoint}
        else:
            check_same_names(mean, checkpoint)
        for name in dtypes:
            mean[name] = _step(name, mean.get(name), checkpoint[name].detach(), count)
    if not count:
        raise OneBasinError("average_checkpoints: checkpoints is empty; pass at least one")
    return {
        name: round_to(f"average_checkpoints: the mean of tensor {name!r}", tensor, dtypes[name])
        for name, tensor in mean.items()
    }


def _iterated(checkpoints: Any) -> Iterable[Any]:
    if isinstance(checkpoints, Mapping | str) or not isinstance(checkpoints, Iterable):
        raise OneBasinError(
            f"average_checkpoints: checkpoints is {described(checkpoints)}; pass a list of state "
            "dicts"
        )
    return checkpoints


def _step(name: str, mean: Tensor | None, value: Tensor, count: int) -> Tensor:
    if not is_inexact(value.dtype):
        return value.clone()
    if mean is None:
        return value.to(compute_dtype(value.dtype), copy=True)
    if mean.shape != value.shape:
        raise OneBasinError(
            f"average_checkpoints: tensor {name!r} is {tuple(mean.shape)} in the first checkpoint "
            f"but {tuple(value.shape)} in number {count}; pass checkpoints of one run"
        )
    return mean.add_(value.to(mean.device, mean.dtype) - mean, alpha=1 / count)
