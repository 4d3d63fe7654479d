"""Points between networks in parameter space, and beyond them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import fsum, isfinite
from typing import Any, TypeAlias

import torch
from torch import Tensor

from onebasin._checks import check_mapping, check_tensor, described
from onebasin._dtypes import all_finite, common_dtype, compute_dtype, is_inexact, round_to
from onebasin._text import counted
from onebasin.errors import ArgumentError, OneBasinError

# A point: the weights of the networks by their numbers. Their sum is 1.
Weights: TypeAlias = Mapping[int, float]


def point_between(
    params_a: Mapping[str, Tensor], params_b: Mapping[str, Tensor], alpha: float
) -> dict[str, Tensor]:
    r"""Return the point \(\alpha\theta_A + (1-\alpha)\theta_B\).

    Floating-point tensors are interpolated in float32 or better and have the dtype of A. Integer
    and boolean ones are those of A. Entries that are equal in A and B do not change, and the
    endpoints are exactly A and B.

    Args:
        params_a: parameters and buffers of A.
        params_b: parameters and buffers of B, with the same names and shapes.
        alpha: weight of A, in [0, 1].

    Returns:
        A new mapping with the names of A.

    Raises:
        OneBasinError: a tensor is missing or has another shape.
    """
    check_same_names(params_a, params_b)
    weights = [alpha, 1 - alpha]
    return {name: _mean(name, [params_a[name], params_b[name]], weights) for name in params_a}


def _check_shape(name: str, a: Tensor, b: Tensor) -> None:
    check_tensor(f"tensor {name!r} of params_a", a)
    check_tensor(f"tensor {name!r} of params_b", b)
    if a.shape != b.shape:
        raise OneBasinError(
            f"parameters: tensor {name!r} is {tuple(a.shape)} in params_a but {tuple(b.shape)} in "
            "params_b; both must be the same architecture"
        )


def point_at(networks: Sequence[Mapping[str, Tensor]], weights: Weights) -> Mapping[str, Tensor]:
    r"""Return the point \(\sum_i w_i\theta_i\) of the space that networks span.

    Tensors are treated as in `point_between`; weights may be negative. For a single network with
    weight 1, the network itself is returned without a copy.

    Args:
        networks: parameters and buffers of each network, with the same names and shapes.
        weights: weights of the networks by their numbers; they sum to 1.

    Returns:
        A mapping with the names of the first network in `weights`.

    Raises:
        OneBasinError: a tensor is missing or has another shape.

    Example:
        >>> corners = [{"w": torch.tensor([value])} for value in (0.0, 1.0, 4.0)]
        >>> point_at(corners, {0: 0.5, 1: -0.5, 2: 1.0})["w"]
        tensor([3.5000])
    """
    inner = {i: weight for i, weight in weights.items() if weight}
    first, *others = inner
    if not others:
        return networks[first]
    if len(others) == 1 and 0 < inner[first] < 1:
        return point_between(networks[first], networks[others[0]], inner[first])
    for other in others:
        check_same_names(networks[first], networks[other])
    return {
        name: _mean(name, [networks[i][name] for i in inner], list(inner.values()))
        for name in networks[first]
    }


def _mean(name: str, tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    for tensor in tensors[1:]:
        _check_shape(name, tensors[0], tensor)
    return mean_of(f"tensor {name!r} of the point", tensors, weights)


def mean_of(place: str, tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Return the weighted mean of tensors: the one of largest weight plus differences.

    Entries that are equal in all tensors do not change, including infinite ones. All others are
    finite if the tensors are.

    Args:
        place: public function and tensor, for messages.
        tensors: tensors of one shape. Floating-point and complex ones are averaged in
            `compute_dtype`. The mean has the dtype and device of the first. An integer or boolean
            first tensor is returned as a copy.
        weights: one weight for each tensor; their sum is 1.

    Returns:
        A new tensor.

    Raises:
        OneBasinError: the mean overflows the first dtype, or real and complex tensors are mixed.
    """
    first = tensors[0].detach()
    if not is_inexact(first.dtype):
        return first.clone()
    dtypes = [tensor.dtype for tensor in tensors]
    dtype = compute_dtype(*dtypes)
    if dtype.is_complex and not all(each.is_complex for each in dtypes):
        raise OneBasinError(
            f"{place} is real in some networks and complex in others; convert them to one dtype"
        )
    mean = _sum_of_differences(tensors, weights, dtype)
    if not all_finite(mean):
        mean = _without_overflow(mean, tensors, weights)
    return round_to(place, mean, first.dtype)


def _sum_of_differences(
    tensors: Sequence[Tensor], weights: Sequence[float], dtype: torch.dtype
) -> Tensor:
    if sorted(weight for weight in weights if weight) == [0.5, 0.5]:
        a, b = (each.detach() for each, weight in zip(tensors, weights, strict=True) if weight)
        device = tensors[0].device
        return a.to(device, dtype, copy=True).add_(b.to(device, dtype)).mul_(0.5)
    heaviest = max(range(len(weights)), key=lambda i: abs(weights[i]))
    base = tensors[heaviest].detach().to(tensors[0].device, dtype)
    mean = base.clone()
    for i, (tensor, weight) in enumerate(zip(tensors, weights, strict=True)):
        if i != heaviest and weight:
            mean.add_(tensor.detach().to(base.device, dtype) - base, alpha=weight)
    return mean


def _without_overflow(mean: Tensor, tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Return the mean with non-finite entries recomputed as a plain weighted sum."""
    double = common_dtype(mean.dtype, torch.float64)
    values = [tensor.detach().to(mean.device, double) for tensor in tensors]
    used = [(value, weight) for value, weight in zip(values, weights, strict=True) if weight]
    total = sum((value * weight for value, weight in used), start=torch.zeros_like(values[0]))
    total = torch.where(torch.isfinite(mean), mean.to(double), total)
    base = used[0][0]
    same = torch.stack([value == base for value, _ in used]).all(0)
    return torch.where(same, base, total)


def same_point(params_a: Mapping[str, Tensor], params_b: Mapping[str, Tensor]) -> bool:
    """Return whether all tensors of two networks are equal; stops at the first difference."""
    check_same_names(params_a, params_b)
    return all(_equal(name, params_a[name], params_b[name]) for name in params_a)


def _equal(name: str, a: Tensor, b: Tensor) -> bool:
    check_tensor(f"tensor {name!r} of params_a", a)
    check_tensor(f"tensor {name!r} of params_b", b)
    return a.shape == b.shape and a.dtype == b.dtype and torch.equal(a, b.to(a.device))


def check_same_names(params_a: Mapping[str, Tensor], params_b: Mapping[str, Tensor]) -> None:
    """Check that two networks have the same tensor names.

    Raises:
        OneBasinError: an argument is not a mapping, or a tensor is in only one of them.
    """
    check_mapping(params_a, "params_a")
    check_mapping(params_b, "params_b")
    for name in (*params_a, *params_b):
        if (name in params_a) != (name in params_b):
            here, there = ("a", "b") if name in params_a else ("b", "a")
            raise OneBasinError(
                f"parameters: tensor {name!r} is in params_{here} but not in params_{there}; "
                "both must be the same architecture"
            )


def normalize_weights(weights: Sequence[int | float] | None, num_networks: int) -> list[float]:
    """Return weights divided by their sum, one for each network.

    Args:
        weights: one number for each network; None for equal weights.
        num_networks: number of networks.

    Raises:
        OneBasinError: the number of weights is wrong, one is not finite, or their sum is 0.

    Example:
        >>> normalize_weights([1, 3], 2)
        [0.25, 0.75]
    """
    weights = [1.0] * num_networks if weights is None else _numbers(weights)
    listed = ", ".join(f"{weight:g}" for weight in weights)
    if len(weights) != num_networks:
        raise ArgumentError(
            f"{counted(len(weights), 'weight')} ({listed}) for {num_networks} networks; "
            "pass one for each"
        )
    total = fsum(weights) if all(map(isfinite, weights)) else 0.0
    if total == 0:
        raise ArgumentError(
            f"the weights are {listed}, but they must be finite with a sum other than 0; "
            "pass others, such as weights=[0.7, 0.3]"
        )
    return [weight / total for weight in weights]


def _numbers(weights: Any) -> list[float]:
    """Return weights as Python floats; numbers of NumPy and PyTorch are accepted."""
    try:
        if isinstance(weights, Mapping | str):
            raise TypeError
        return [float(weight) for weight in weights]
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            f"weights is {described(weights)}; pass one number for each network"
        ) from error
