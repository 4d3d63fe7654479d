"""Application of linear maps and scales to single tensors, block by block."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from onebasin._dtypes import compute_dtype
from onebasin.errors import ArgumentError
from onebasin.symmetry._nesting import broadcast_index, outer_axes
from onebasin.symmetry.actions import Axis, GroupAction
from onebasin.symmetry.symmetry import Symmetry


@dataclass(frozen=True)
class _Step:
    """One factor of the action at one axis.

    Args:
        axis: the axis.
        group: name of the group.
        values: scale of each unit, or the map, for each unit of the outer groups.
        is_map: whether `values` is a map.
    """

    axis: int
    group: str
    values: Tensor
    is_map: bool


@dataclass
class TensorTransformer:
    """Applies maps and scales to tensors whose units are permuted already.

    Args:
        symmetry: groups, layouts and actions.
        maps: map of each group whose units are mixed, `(*outer, n, n)` in float64.
        scales: scales of each group, `(number, *outer, n)` in float64.
        signs: signs of each group, `(number, *outer, n)` in float64.
        gains: values of the gains of each group whose units are mixed, `(number, *outer, n)`
            in float64.
        actions: actions of the groups that act; those of the symmetry by default.
    """

    symmetry: Symmetry
    maps: Mapping[str, Tensor]
    scales: Mapping[str, Tensor]
    signs: Mapping[str, Tensor]
    gains: Mapping[str, Tensor]
    actions: Mapping[str, GroupAction] | None = None
    _steps: dict[str, dict[int, list[_Step]]] = field(init=False)
    _offsets: dict[str, float] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Compute the factors of every axis."""
        self._steps = defaultdict(lambda: defaultdict(list))
        actions = self.symmetry.actions if self.actions is None else self.actions
        for name, action in actions.items():
            for axis, step in self._of_group(name, action):
                self._steps[axis.tensor][axis.block].append(step)
            for axis, offset in (action.offsets or {}).items():
                self._offsets[axis.tensor] = offset

    def apply(self, name: str, tensor: Tensor) -> Tensor:
        """Return the transformed values of a tensor in its dtype."""
        if name not in self._steps:
            return tensor
        offset = self._offsets.get(name, 0.0)
        source = tensor.to(compute_dtype(tensor.dtype)).contiguous()
        source = source + offset if offset else source
        result = source.clone()
        shape = tuple(tensor.shape)
        for number, steps in self._steps[name].items():
            block = self.symmetry.blocks[name][number]
            values = block.view(source)
            outers = outer_axes(block, self.symmetry.nesting, shape)
            for step in steps:
                values = _applied(values, step, outers[step.axis])
            block.view(result).copy_(values)
        if offset:
            result -= offset
        return self._rounded(name, result, tensor.dtype)

    @staticmethod
    def _rounded(name: str, result: Tensor, dtype: torch.dtype) -> Tensor:
        rounded = result.to(dtype)
        if not bool(torch.isfinite(rounded).all()):
            raise ArgumentError(
                f"tensor {name!r} overflows in {dtype} after the transformation; pass its values"
                " in float32"
            )
        return rounded

    def _of_group(self, name: str, action: GroupAction) -> Iterator[tuple[Axis, _Step]]:
        """Yield the factors of a group, in the order in which they act."""
        if action.mixes:
            yield from self._mixing(name, action)
            return
        if name in self.maps:
            for axis in action.variances:
                yield axis, _Step(axis.axis, name, self.maps[name], True)
        for values, exponents in (
            (self.scales.get(name), action.scales),
            (self.signs.get(name), action.signs),
        ):
            for number, powers in enumerate(exponents if values is not None else ()):
                assert values is not None
                for axis, power in powers.items():
                    yield axis, _Step(axis.axis, name, values[number] ** power, False)

    def _mixing(self, name: str, action: GroupAction) -> Iterator[tuple[Axis, _Step]]:
        """Fold gains, mix units, and multiply by the new gains."""
        matrix, gains, scales = (each.get(name) for each in (self.maps, self.gains, self.scales))
        for number, gain in enumerate(action.gains):
            scale = None if scales is None else scales[number]
            for axis, power in gain.exponents.items():
                if matrix is None:
                    if scale is not None:
                        yield axis, _Step(axis.axis, name, scale**power, False)
                elif axis != gain.axis:
                    assert gains is not None
                    yield axis, _Step(axis.axis, name, gains[number] ** -power, False)
        if matrix is None:
            return
        dual = torch.linalg.inv(matrix).mT if -1 in action.variances.values() else matrix
        for axis, variance in action.variances.items():
            yield axis, _Step(axis.axis, name, matrix if variance > 0 else dual, True)
        for number, gain in enumerate(action.gains):
            scale = None if scales is None else scales[number]
            for axis, power in gain.exponents.items():
                assert gains is not None
                own = gains[number] if scale is None else gains[number] * scale
                if axis != gain.axis:
                    yield axis, _Step(axis.axis, name, own**power, False)
                elif scale is not None:
                    yield axis, _Step(axis.axis, name, scale, False)


def _applied(view: Tensor, step: _Step, outers: tuple[int, ...]) -> Tensor:
    """Return a block with one factor applied."""
    rank, axis = view.dim(), step.axis
    values = step.values.to(view.device, view.dtype)
    if not step.is_map:
        return view * broadcast_index(values, (*outers, axis), rank)
    others = [each for each in range(rank) if each not in (*outers, axis)]
    order = [*outers, *others, axis]
    ordered = view.permute(order)
    rows = ordered.reshape(*values.shape[:-2], -1, values.shape[-1]) @ values.mT
    return rows.view(ordered.shape).permute([order.index(each) for each in range(rank)])
