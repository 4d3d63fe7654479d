"""Negative controls: a group undone on one of its tensors must change the output.

Without them a proof could pass because the outputs do not depend on the parameters it
moved, or because nothing moved.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from torch import Tensor

from onebasin.symmetry.agreement import disagreement
from onebasin.symmetry.draws import draw_cycles, restrict
from onebasin.symmetry.specimen import Specimen
from onebasin.symmetry.symmetry import Symmetry

VISIBLE = 1e-8
TENSORS_TRIED = 4


@dataclass(frozen=True)
class Control:
    """What was seen when a group was undone on one tensor.

    Args:
        tensor: the tensor.
        change: the relative change of the output.
    """

    tensor: str
    change: float


def control_groups(
    specimen: Specimen, symmetry: Symmetry, reference: list[Tensor], *, limit: int, seed: int
) -> Iterator[tuple[str, Control]]:
    """Yield each group controlled with the largest change seen on the way to a visible one.

    Groups of one unit and groups on a single tensor have no control: undoing them there is
    undoing them altogether.

    Args:
        specimen: the model.
        symmetry: what is claimed of it.
        reference: its outputs with nothing moved.
        limit: number of groups to control, spread evenly over the model.
        seed: of the permutation.
    """
    permutation = draw_cycles(symmetry, seed=seed)
    moved = specimen.moved(permutation)
    tensors_of = _tensors_to_try(symmetry)
    names = list(tensors_of)
    count = min(limit, len(names))
    for name in [names[i * len(names) // count] for i in range(count)]:
        others = [group for group in symmetry.groups if group != name]
        partial = restrict(permutation, others)
        best = Control("", 0.0)
        for tensor in tensors_of[name][:TENSORS_TRIED]:
            undone = partial.apply_tensor(tensor, specimen.generic(tensor))
            found = specimen.run({**moved, specimen.name_of(tensor): undone})
            best = max(best, Control(tensor, disagreement(reference, found)), key=_change)
            if best.change > VISIBLE:
                break
        yield name, best


def _change(control: Control) -> float:
    return control.change


def _tensors_to_try(symmetry: Symmetry) -> dict[str, list[str]]:
    """For each group that can be controlled its tensors, the largest first."""
    return {
        name: sorted(tensors, key=lambda tensor: -prod(symmetry.shapes[tensor]))
        for name, tensors in symmetry.carriers.items()
        if symmetry.groups[name].size > 1 and len(tensors) > 1
    }
