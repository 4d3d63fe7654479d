"""Negative controls: a group undone on one of its tensors must change the output.

Without them a verification could pass because the outputs do not depend on the parameters
it moved, or because nothing moved.
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
from onebasin.symmetry._apply import Mover
from onebasin.symmetry._verification.agreement import typical_size
from onebasin.symmetry._verification.draws import random_cycles
from onebasin.symmetry._verification.trial import Trial
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry

VISIBLE = 1e-8
FIRST_ORDER_VISIBLE = 1e-6
"""The least relative change that counts: of outputs, and of a derivative with its rounding."""

MOST_CONTROL_RUNS = 64
TENSORS_TRIED = 2


@dataclass(frozen=True)
class Control:
    """What was seen when a group was undone on one tensor.

    Args:
        tensor: the tensor.
        change: the relative change of the outputs, to first order where a derivative shows it.
    """

    tensor: str
    change: float


class Undone:
    """The values of single tensors when one group moves there and nowhere else.

    A group on one tensor only moves there in half of the entries.

    Args:
        symmetry: what is claimed.
        seed: of the permutation.
    """

    def __init__(self, symmetry: Symmetry, seed: int) -> None:
        """Draw a permutation that moves every group."""
        self.symmetry, self._seed = symmetry, seed
        self._indices = random_cycles(symmetry, seed=seed).indices
        self._movers: dict[str, Mover] = {}

    def values(self, group: str, tensor: str, generic: Tensor) -> Tensor:
        """Return the changed values of a tensor."""
        if group not in self._movers:
            self._movers[group] = Mover(self.symmetry, {group: self._indices[group]})
        moved = self._movers[group].move(tensor, generic)
        if len(self.symmetry.tensors_of[group]) > 1:
            return moved
        generator = generator_for(self._seed, f"half of {tensor}")
        half = torch.rand(generic.shape, generator=generator, dtype=torch.float32) < 0.5
        return torch.where(half.to(generic.device), moved, generic)


def control_groups(
    trials: Sequence[Trial], symmetry: Symmetry, *, groups: Collection[str], seed: int
) -> dict[str, Control]:
    """Return the groups whose control changes the outputs, with the change that was seen.

    Derivatives show all groups of a trial in one pass, whatever the depth of the model.
    Forward passes, of a limited number, follow for what no derivative shows.

    Args:
        trials: where to look, one after the other.
        symmetry: what is claimed of the model.
        groups: the groups to control.
        seed: of the permutation.
    """
    undone = Undone(symmetry, seed)
    controls: dict[str, Control] = {}
    left = set(groups)
    for trial in trials:
        if left:
            controls |= _by_derivatives(trial, undone, left)
            left -= set(controls)
    controls |= _by_forward_passes(trials[0], undone, [name for name in groups if name in left])
    return {name: controls[name] for name in symmetry.groups if name in controls}


def _by_derivatives(trial: Trial, undone: Undone, groups: set[str]) -> dict[str, Control]:
    """Return the groups that the gradient of a random function of the outputs shows."""
    specimen, shown = trial.specimen, dict[str, Control]()
    least = max(FIRST_ORDER_VISIBLE, 10 * trial.tolerance)
    carried: dict[str, list[tuple[str, str]]] = {}
    for group in undone.symmetry.groups:
        for tensor in undone.symmetry.tensors_of[group] if group in groups else ():
            carried.setdefault(specimen.name_of(tensor), []).append((group, tensor))

    def receive(name: str, gradient: Tensor) -> None:
        generic = specimen.generic(name)
        for group, tensor in carried[name]:
            if group not in shown:
                step = undone.values(group, tensor, generic) - generic
                change = float((gradient.conj() * step.to(gradient)).sum().abs())
                if change > least:
                    shown[group] = Control(tensor, change)

    # A model that cannot be differentiated shows nothing here: forward passes decide.
    with suppress(OneBasinError):
        _differentiate(trial, undone.symmetry, carried, receive)
    return shown


def _differentiate(
    trial: Trial,
    symmetry: Symmetry,
    names: Collection[str],
    receive: Callable[[str, Tensor], None],
) -> None:
    """Pass on the gradient of each tensor as soon as it is there, and forget it."""
    tensors = trial.specimen.moved(Permutation.identity(symmetry))
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

    trial.specimen.differentiate(tensors, backward)


def _forwarder(name: str, receive: Callable[[str, Tensor], None]) -> Callable[[Tensor], None]:
    def forward(leaf: Tensor) -> None:
        gradient, leaf.grad = leaf.grad, None
        if gradient is not None:
            with torch.no_grad():
                receive(name, gradient.to_dense() if gradient.is_sparse else gradient)

    return forward


def _random_weights(trial: Trial) -> Iterator[Tensor | None]:
    """Yield weights for the relative changes of each output tensor; None if it does not count."""
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
    """Whether a user's autograd function, whose gradient may be wrong, is in the graph."""
    waiting: list[Any] = [output.grad_fn for output in outputs]
    seen = set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if isinstance(node, BackwardCFunction):
            return True
        waiting += [previous for previous, _ in node.next_functions]
    return False


def _by_forward_passes(trial: Trial, undone: Undone, groups: Sequence[str]) -> dict[str, Control]:
    """Return the groups whose control changes the outputs of at most `MOST_CONTROL_RUNS` runs."""
    specimen, shown, runs = trial.specimen, dict[str, Control](), 0
    still = Permutation.identity(undone.symmetry)
    for group in groups:
        for tensor in _largest_first(undone.symmetry, group)[:TENSORS_TRIED]:
            if runs == MOST_CONTROL_RUNS:
                return shown
            runs += 1
            name = specimen.name_of(tensor)
            changed = undone.values(group, tensor, specimen.generic(name))
            changes = trial.differences_at({**specimen.moved(still), name: changed})
            change = trial.visible(changes, VISIBLE)
            if change:
                shown[group] = Control(tensor, change)
                break
    return shown


def _largest_first(symmetry: Symmetry, group: str) -> list[str]:
    return sorted(symmetry.tensors_of[group], key=lambda tensor: -prod(symmetry.shapes[tensor]))
