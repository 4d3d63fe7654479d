"""Means of networks, in memory or tensor by tensor."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from onebasin._checks import check_mapping, checks_arguments, described, state_of
from onebasin._dtypes import all_finite, compute_dtype, is_inexact, round_to
from onebasin._text import counted
from onebasin.checkpoints._lazy import LazyMapping, TensorInfo, describe
from onebasin.checkpoints.validation import check_same_architecture
from onebasin.errors import ArgumentError, OneBasinWarning, public
from onebasin.evaluation._paths import check_same_names, mean_of, normalize_weights
from onebasin.graph._normalization import is_variance
from onebasin.merging._rules import rules_for
from onebasin.symmetry._modules import memory_of


@checks_arguments
def average(
    params_list: Sequence[Mapping[str, Tensor]], weights: Sequence[int | float] | None = None
) -> dict[str, Tensor]:
    r"""Return the weighted mean \(\sum_i w_i \theta_i / \sum_i w_i\) of two or more networks.

    Means are computed in float32 or better and have the dtype and device of the first
    network's tensor. The mean of equal networks equals them exactly. Names that share one tensor
    in every network share one in the result.

    Not every tensor is averaged:

    - Integers and booleans must be equal in all networks. Counters (one entry, such as
      `num_batches_tracked`) are those of the first.
    - Masks of pruned tensors (`weight_mask` with `weight_orig`) stay 0 or 1. The mean keeps
      every entry that one of the networks keeps, and averages `weight_orig * weight_mask`.
    - Scales with different zero points are those of the first, and so are the zero points.
    - With negative weights, a `running_var` is never lower than the lowest of the networks,
      since variances are positive.

    A Python warning is issued when masks or zero points differ.

    Args:
        params_list: parameters and buffers (state dicts) of networks of one architecture,
            aligned to the first; they are not changed.
        weights: one number for each network, negative ones allowed; divided by their sum.
            Equal by default.

    Returns:
        A new mapping with the names of the first, without memory shared with the input.

    Raises:
        OneBasinError: there are fewer than two networks, or their names or shapes differ; the
            weights are invalid; integers or the scales of 8-bit weights differ; a tensor has
            NaN or infinite entries, or its mean overflows the dtype of the first network.

    Example:
        >>> import torch
        >>> average([{"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([3.0, 6.0])}])
        {'w': tensor([2., 4.])}
    """
    average = LazyAverage(params_list, weights)
    warn_of(average.notes)
    merged: dict[str, Tensor] = {}
    # Keep all tensors alive, so that their memory addresses stay unique.
    means: dict[tuple[object, ...], list[tuple[list[Tensor], list[Tensor], Tensor]]] = {}
    for name in params_list[0]:
        sources, tensors = average.sources(name), average.tensors(name)
        known = means.setdefault(tuple(map(memory_of, sources)), [])
        mean = next((each for _, others, each in known if _are_equal(tensors, others)), None)
        if mean is None:
            mean = average.mean(name, tensors)
            known.append((sources, tensors, mean))
        merged[name] = mean
    return merged


class LazyAverage(LazyMapping):
    """The weighted mean of networks, computed at each access.

    One tensor of each network is loaded at a time, so lazy mappings may exceed the memory. Results
    are not cached.

    Args:
        params_list: as for `average`; checked at once, without reading tensors if the mappings
            can describe them.
        weights: as for `average`.

    Raises:
        OneBasinError: as for `average`.

    Example:
        >>> import torch
        >>> LazyAverage([{"w": torch.zeros(1)}, {"w": torch.ones(1)}], [1, 3])["w"]
        tensor([0.7500])
    """

    def __init__(
        self,
        params_list: Sequence[Mapping[str, Tensor]],
        weights: Sequence[int | float] | None = None,
    ) -> None:
        """Check the networks and weights; no mean is computed."""
        self._weights = _check(params_list, weights)
        self._rules = rules_for(params_list)
        self._sources, self._params_list = params_list, self._rules.networks
        super().__init__(self._params_list[0])

    @property
    def notes(self) -> tuple[str, ...]:
        """One sentence for each tensor that is not a plain average."""
        return self._rules.notes

    def metadata(self, name: str) -> TensorInfo:
        """Return the shape and dtype of a tensor, which are those of the first network."""
        return describe(self._params_list[0], name)

    def __getitem__(self, name: str) -> Tensor:
        """Return the mean of a tensor."""
        return self.mean(name, self.tensors(name))

    def sources(self, name: str) -> list[Tensor]:
        """Return a tensor of every network, before masks are applied."""
        return [params[name] for params in self._sources]

    def tensors(self, name: str) -> list[Tensor]:
        """Return a tensor of every network, after masks are applied."""
        return [params[name] for params in self._params_list]

    def mean(self, name: str, tensors: Sequence[Tensor]) -> Tensor:
        """Return the mean of a tensor from its values in every network."""
        if name in self._rules.kept:
            return tensors[0].detach().clone()
        return _mean(name, tensors, self._weights)


@checks_arguments
def average_tensors(
    params_list: Sequence[Mapping[str, Tensor]], weights: Sequence[int | float] | None = None
) -> Iterator[tuple[str, Tensor]]:
    """Yield the names and tensors of `average` one by one, for lazy mappings and large models.

    The arguments are checked before the first tensor is requested. A tied tensor is yielded
    under each of its names.

    Args:
        params_list: as for `average`.
        weights: as for `average`.

    Raises:
        OneBasinError: as for `average`.

    Example:
        >>> import torch
        >>> dict(average_tensors([{"w": torch.zeros(1)}, {"w": torch.ones(1)}], [1, 3]))
        {'w': tensor([0.7500])}
    """
    average = LazyAverage(params_list, weights)
    warn_of(average.notes)
    return iter(average.items())


def warn_of(notes: Sequence[str]) -> None:
    """Issue a warning for each note of an average."""
    for note in notes:
        warnings.warn(note, OneBasinWarning, stacklevel=3)


def _check(
    params_list: Sequence[Mapping[str, Tensor]], weights: Sequence[int | float] | None
) -> list[float]:
    """Check that the networks can be averaged, and return weights with a sum of 1."""
    if len(params_list) < 2:
        raise ArgumentError(f"{counted(len(params_list), 'network')} given; pass at least two")
    if not params_list[0]:
        raise ArgumentError("params_list[0] has no tensors; pass a state dict with some")
    for params in params_list[1:]:
        check_same_architecture(params_list[0], params)
    return normalize_weights(weights, len(params_list))


def _mean(name: str, tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    mean = mean_of(f"the mean of tensor {name!r}", tensors, weights)
    if not all_finite(mean):
        _check_finite(name, mean, tensors)
    if min(weights) < 0 and is_variance(name) and mean.is_floating_point():
        dtype = compute_dtype(mean.dtype)
        lowest = torch.stack([t.detach().to(mean.device, dtype) for t in tensors]).amin(0)
        mean = torch.maximum(mean.to(dtype), lowest).to(mean.dtype)
    return mean


def _check_finite(name: str, mean: Tensor, tensors: Sequence[Tensor]) -> None:
    """Check that non-finite entries of a mean are equal in all networks."""
    dtype = compute_dtype(*(tensor.dtype for tensor in tensors))
    wide = [tensor.detach().to(mean.device, dtype) for tensor in tensors]
    # NaN differs from itself; infinite entries of masks are equal in all networks.
    same = torch.stack([tensor == wide[0] for tensor in wide]).all(0)
    broken = ~torch.isfinite(mean.to(dtype)) & ~same
    for number, tensor in enumerate(wide):
        if bool((broken & ~torch.isfinite(tensor)).any()):
            raise ArgumentError(
                f"tensor {name!r} of params_list[{number}] has NaN or infinite entries; "
                "use a checkpoint from before training diverged"
            )


def _are_equal(tensors: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    """Return whether tensors are pairwise equal, or share memory."""
    return all(
        memory_of(a) == memory_of(b) or torch.equal(a, b)
        for a, b in zip(tensors, others, strict=True)
    )


@public
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
        check_mapping(checkpoint, f"checkpoint {count}")
        if count == 1:
            dtypes = {name: checkpoint[name].dtype for name in checkpoint}
        else:
            check_same_names(mean, checkpoint)
        for name in dtypes:
            mean[name] = _step(name, mean.get(name), checkpoint[name].detach(), count)
    if not count:
        raise ArgumentError("checkpoints is empty; pass at least one")
    return {
        name: round_to(f"the mean of tensor {name!r}", tensor, dtypes[name])
        for name, tensor in mean.items()
    }


def _iterated(checkpoints: Any) -> Iterable[Any]:
    if isinstance(checkpoints, Mapping | str) or not isinstance(checkpoints, Iterable):
        raise ArgumentError(f"checkpoints is {described(checkpoints)}; pass a list of state dicts")
    return checkpoints


def _step(name: str, mean: Tensor | None, value: Tensor, count: int) -> Tensor:
    if not is_inexact(value.dtype):
        return value.clone()
    if mean is None:
        return value.to(compute_dtype(value.dtype), copy=True)
    if mean.shape != value.shape:
        raise ArgumentError(
            f"tensor {name!r} is {tuple(mean.shape)} in the first checkpoint "
            f"but {tuple(value.shape)} in number {count}; pass checkpoints of one run"
        )
    return mean.add_(value.to(mean.device, mean.dtype) - mean, alpha=1 / count)
