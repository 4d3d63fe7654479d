"""Negative controls: leaving a group unpermuted on one of its tensors must change the output.

Without controls, a verification could pass because the outputs do not depend on the permuted
parameters, or because nothing was permuted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import prod, sqrt
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction

from onebasin._random import generator_for
from onebasin.errors import OneBasinError
from onebasin.symmetry._apply import IndexApplier
from onebasin.symmetry._verification.randomize import random_cyclic_permutation
from onebasin.symmetry._verification.trial import Trial, typical_size
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry

VISIBLE = 1e-8
FIRST_ORDER_VISIBLE = 1e-6
"""Minimum relative change of the outputs, and of a derivative including its rounding."""

MAX_CONTROL_RUNS = 64
TENSORS_TRIED = 2


@dataclass(frozen=True)
class Control:
    """The observed effect of one group's permutation on a single tensor.

    Args:
        tensor: name of the tensor.
        change: the relative change of the outputs; first order if a derivative showed it.
    """

    tensor: str
    change: float


class PartialPermutation:
    """Values of single tensors when one group is permuted on that tensor only.

    If a group has a single tensor, only half of its entries are permuted.

    Args:
        symmetry: the tested symmetry.
        seed: random seed for the permutation.
    """

    def __init__(self, symmetry: Symmetry, seed: int) -> None:
        """Draw a permutation that moves every group."""
        self.symmetry, self._seed = symmetry, seed
        self._indices = random_cyclic_permutation(symmetry, seed=seed).indices
        self._appliers: dict[str, IndexApplier] = {}

    def values(self, group: str, tensor: str, param: Tensor) -> Tensor:
        """Return the changed values of a tensor."""
        moved = self.moved(group, tensor, param)
        if len(self.symmetry.tensors_of[group]) > 1:
            return moved
        generator = generator_for(self._seed, f"half of {tensor}")
        half = torch.rand(param.shape, generator=generator, dtype=torch.float32) < 0.5
        return torch.where(half.to(param.device), moved, param)

    def moved(self, group: str, tensor: str, param: Tensor) -> Tensor:
        """Return a tensor on which a group is permuted."""
        if group not in self._appliers:
            self._appliers[group] = IndexApplier(self.symmetry, {group: self._indices[group]})
        return self._appliers[group].apply_to_tensor(tensor, param)


def control_groups(
    trials: Sequence[Trial], partial: PartialPermutation, *, groups: Collection[str]
) -> dict[str, Control]:
    """Return the groups whose control changes the outputs, with the observed change.

    Derivatives test all groups of a trial in one pass, independent of the model's depth.
    A limited number of forward passes follows for the remaining groups.

    Args:
        trials: the trials to use, in order.
        partial: the change of single tensors.
        groups: the groups to control.
    """
    controls: dict[str, Control] = {}
    left = set(groups)
    for trial in trials:
        if left:
            controls |= _by_derivatives(trial, partial, left)
            left -= set(controls)
    controls |= _by_forward_passes(trials[0], partial, [name for name in groups if name in left])
    return {name: controls[name] for name in partial.symmetry.groups if name in controls}


def _by_derivatives(
    trial: Trial, partial: PartialPermutation, groups: set[str]
) -> dict[str, Control]:
    """Return the groups whose permutation changes a random function of the outputs."""
    probe, controls = trial.probe, dict[str, Control]()
    least = max(FIRST_ORDER_VISIBLE, 10 * trial.tolerance)
    tensor_groups: dict[str, list[tuple[str, str]]] = {}
    for group in partial.symmetry.groups:
        for tensor in partial.symmetry.tensors_of[group] if group in groups else ():
            tensor_groups.setdefault(probe.name_of(tensor), []).append((group, tensor))

    def receive(name: str, gradient: Tensor) -> None:
        values = probe.randomized_param(name)
        for group, tensor in tensor_groups[name]:
            if group not in controls:
                step = partial.values(group, tensor, values) - values
                change = float((gradient.conj() * step.to(gradient)).sum().abs())
                if change > least:
                    controls[group] = Control(tensor, change)

    # If the model is not differentiable, forward passes are used instead.
    with suppress(OneBasinError):
        _differentiate(trial, partial.symmetry, tensor_groups, receive)
    return controls


def _differentiate(
    trial: Trial,
    symmetry: Symmetry,
    names: Collection[str],
    receive: Callable[[str, Tensor], None],
) -> None:
    """Pass on the gradient of each tensor when it is available, then free it."""
    tensors = trial.probe.permuted(Permutation.identity(symmetry))
    for name in set(names).difference(symmetry.buffers):
        if tensors[name].is_floating_point() or tensors[name].is_complex():
            leaf = tensors[name].detach().requires_grad_()
            leaf.register_post_accumulate_grad_hook(_forwarder(name, receive))
            tensors[name] = leaf

    def backward(outputs: list[Tensor]) -> None:
        chosen = [
            (output, weights)
            for output, weights in zip(outputs, _random_weights(trial), strict=True)
            if output.requires_grad and weights is not None
        ]
        if chosen and not _has_custom_gradients([output for output, _ in chosen]):
            counted, weights = zip(*chosen, strict=True)
            torch.autograd.backward(counted, weights)

    trial.probe.differentiate(tensors, backward)


def _forwarder(name: str, receive: Callable[[str, Tensor], None]) -> Callable[[Tensor], None]:
    def forward(leaf: Tensor) -> None:
        gradient, leaf.grad = leaf.grad, None
        if gradient is not None:
            with torch.no_grad():
                receive(name, gradient.to_dense() if gradient.is_sparse else gradient)

    return forward


def _random_weights(trial: Trial) -> Iterator[Tensor | None]:
    """Yield random weights for the changes of each output tensor; None if not informative."""
    total = sum(tensor.numel() for tensor in trial.reference)
    for i, (output, counts) in enumerate(zip(trial.reference, trial.informative, strict=True)):
        if not counts or not (output.is_floating_point() or output.is_complex()):
            yield None
            continue
        sizes = output.abs()
        noise = torch.randn(output.shape, generator=generator_for(i, "weights"))
        weights = noise.to(sizes) / sizes.clamp(min=typical_size(output)) / sqrt(total)
        yield weights.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0).to(output.dtype)


def _has_custom_gradients(outputs: Sequence[Tensor]) -> bool:
    """Whether the graph contains a custom autograd function, whose gradient may be wrong."""
    pending: list[Any] = [output.grad_fn for output in outputs]
    seen = set()
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if isinstance(node, BackwardCFunction):
            return True
        pending += [previous for previous, _ in node.next_functions]
    return False


def _by_forward_passes(
    trial: Trial, partial: PartialPermutation, groups: Sequence[str]
) -> dict[str, Control]:
    """Return the groups whose control changes the outputs in at most `MAX_CONTROL_RUNS` runs."""
    probe, controls, runs = trial.probe, dict[str, Control](), 0
    identity = Permutation.identity(partial.symmetry)
    for group in groups:
        for tensor in _largest_first(partial.symmetry, group)[:TENSORS_TRIED]:
            if runs == MAX_CONTROL_RUNS:
                return controls
            runs += 1
            name = probe.name_of(tensor)
            changed = partial.values(group, tensor, probe.randomized_param(name))
            changes = trial.differences_at({**probe.permuted(identity), name: changed})
            change = trial.visible(changes, VISIBLE)
            if change:
                controls[group] = Control(tensor, change)
                break
    return controls


def _largest_first(symmetry: Symmetry, group: str) -> list[str]:
    return sorted(symmetry.tensors_of[group], key=lambda tensor: -prod(symmetry.shapes[tensor]))
