"""Negative controls: a group undone on one of its tensors must change the output.

Without them a proof could pass because the outputs do not depend on the parameters it
moved, or because nothing moved.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import inf, prod

import torch
from torch import Tensor

from onebasin.symmetry.movement import Mover
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.proving.agreement import disagreement
from onebasin.symmetry.proving.draws import draw_cycles
from onebasin.symmetry.proving.specimen import Specimen
from onebasin.symmetry.symmetry import Symmetry

VISIBLE = 1e-8
CLEAR = 1e-3
QUICK = torch.float32
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
        reference: its outputs in float64 with nothing moved.
        limit: number of groups to control, spread evenly over the model.
        seed: of the permutation.
    """
    tensors_of = _tensors_to_try(symmetry)
    names = list(tensors_of)
    count = min(limit, len(names))
    if not count:
        return
    bench = _Bench(specimen, draw_cycles(symmetry, seed=seed), reference)
    for name in [names[i * len(names) // count] for i in range(count)]:
        best = Control("", 0.0)
        for tensor in tensors_of[name][:TENSORS_TRIED]:
            best = max(best, Control(tensor, bench.change(name, tensor)), key=_change)
            if best.change > VISIBLE:
                break
        yield name, best


def _change(control: Control) -> float:
    return control.change


class _Bench:
    """Undoes one group on one tensor at a time.

    A change is usually so large that float32, which is many times faster, shows it beyond
    doubt: a hundred times its own rounding, measured on this very model. Where it does not,
    float64 decides.
    """

    def __init__(
        self, specimen: Specimen, permutation: Permutation, reference: list[Tensor]
    ) -> None:
        self._specimen, self._permutation, self._reference = specimen, permutation, reference
        still = Permutation.identity(permutation.symmetry)
        self._quick_reference = specimen.run(specimen.moved(still, QUICK), QUICK)
        self._quick = specimen.moved(permutation, QUICK)
        rounding = disagreement(self._quick_reference, specimen.run(self._quick, QUICK))
        self._beyond_doubt = max(CLEAR, 100 * rounding)

    @cached_property
    def _exact(self) -> dict[str, Tensor]:
        return self._specimen.moved(self._permutation)

    def change(self, group: str, tensor: str) -> float:
        """Return the change of the output when a group is undone on one tensor."""
        others = {name: i for name, i in self._permutation.indices.items() if name != group}
        partial = Mover(self._permutation.symmetry, others)
        values = partial.move(tensor, self._specimen.generic(tensor))
        undone = {self._specimen.name_of(tensor): values}
        if self._beyond_doubt < 1:
            found = self._specimen.run({**self._quick, **undone}, QUICK)
            change = disagreement(self._quick_reference, found)
            if self._beyond_doubt < change < inf:
                return change
        return disagreement(self._reference, self._specimen.run({**self._exact, **undone}))


def _tensors_to_try(symmetry: Symmetry) -> dict[str, list[str]]:
    """For each group that can be controlled its tensors, the largest first."""
    return {
        name: sorted(tensors, key=lambda tensor: -prod(symmetry.shapes[tensor]))
        for name, tensors in symmetry.carriers.items()
        if symmetry.groups[name].size > 1 and len(tensors) > 1
    }
