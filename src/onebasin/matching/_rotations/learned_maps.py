"""Maps of a symmetry as functions of parameters that an optimizer can train."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from onebasin.matching._assignment.linear import assign_many
from onebasin.symmetry._random_elements import with_ones
from onebasin.symmetry._transforming import TensorTransformer
from onebasin.symmetry.actions import Axis, GroupAction
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry
from onebasin.symmetry.transformation import Transformation


class LearnedMaps:
    """Maps near the identity: orthogonal and linear maps, permutations and scales.

    An orthogonal map is the exponential of a skew-symmetric matrix. A permutation is the best
    assignment of a matrix; its gradient passes straight through to the matrix. Groups in which
    others are nested are not permuted.

    Args:
        symmetry: the symmetry of a balanced network.
        mixing: the groups whose units are mixed.

    Attributes:
        free: the trained values, float32, by group and kind.
    """

    def __init__(self, symmetry: Symmetry, mixing: Iterable[str]) -> None:
        self.symmetry, self.mixing = symmetry, set(mixing)
        self.actions: dict[str, GroupAction] = {}
        self.free: dict[tuple[str, str], Tensor] = {}
        outers = {outer for group in symmetry.groups.values() for outer in group.nested_in}
        for name in symmetry.groups:
            action = symmetry.actions.get(name)
            shape = (*symmetry.outer_shape(name), symmetry.size_of(name))
            if name in self.mixing and action is not None:
                self._add_mixing(name, action, shape)
                continue
            scales = () if action is None else action.scales
            if scales:
                self._add(name, "scales", torch.zeros(len(scales), *shape))
            if name not in outers and symmetry.size_of(name) > 1:
                self._add(name, "order", torch.eye(shape[-1]).expand(*shape, shape[-1]).clone())
            offsets = None if action is None else action.offsets
            self.actions[name] = GroupAction(
                "permutation", _axes(symmetry, name), scales, offsets=offsets
            )

    def _add_mixing(self, name: str, action: GroupAction, shape: tuple[int, ...]) -> None:
        size = shape[-1]
        variances = action.variances
        if action.symmetry_class == "general linear":
            self._add(name, "linear", torch.zeros(*shape, size))
        else:
            size -= action.symmetry_class == "orthogonal with ones"
            self._add(name, "skew", torch.zeros(*shape[:-1], size, size))
            variances = dict.fromkeys(variances, 1)
        self.actions[name] = replace(action, variances=variances, gains=(), offsets=None)

    def _add(self, name: str, kind: str, values: Tensor) -> None:
        self.free[name, kind] = values.requires_grad_()

    def maps(self) -> dict[str, Tensor]:
        """Return the map of each group."""
        found = {}
        for (name, kind), values in self.free.items():
            if kind == "linear":
                found[name] = values + torch.eye(values.shape[-1])
            elif kind == "skew":
                inner = torch.linalg.matrix_exp(values - values.mT)
                keeps_ones = inner.shape[-1] < self.symmetry.size_of(name)
                found[name] = with_ones(inner) if keeps_ones else inner
            elif kind == "order":
                found[name] = _permutations(values) + values - values.detach()
        return found

    def scales(self) -> dict[str, Tensor]:
        """Return the scales of each group."""
        return {n: values.exp() for (n, kind), values in self.free.items() if kind == "scales"}

    def apply(self, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the floating-point tensors of a balanced network after the maps."""
        transformer = TensorTransformer(
            self.symmetry, self.maps(), self.scales(), {}, {}, self.actions
        )
        return {name: transformer.apply(name, tensor) for name, tensor in params.items()}

    @torch.no_grad()
    def element(self) -> Transformation:
        """Return the maps as a transformation."""
        indices = dict(Permutation.identity(self.symmetry).indices)
        maps = {}
        for name, values in self.maps().items():
            if name in self.mixing:
                maps[name] = values.double()
            else:
                indices[name] = values.argmax(-1)
        scales = {name: values.double() for name, values in self.scales().items()}
        return Transformation(self.symmetry, Permutation(self.symmetry, indices), maps, scales)


def _axes(symmetry: Symmetry, group: str) -> dict[Axis, int]:
    """Return every axis of a group, with variance one."""
    return {
        Axis(tensor, number, axis): 1
        for tensor in symmetry.tensors_of[group]
        for number, block in enumerate(symmetry.blocks[tensor])
        for axis in block.groups_at(group)
    }


def _permutations(values: Tensor) -> Tensor:
    """Return the permutation matrices with the largest inner products with matrices."""
    best = values.detach().argmax(-1)
    size = values.shape[-1]
    if not torch.equal(best.sort(-1).values, torch.arange(size).expand(best.shape)):
        best = assign_many(values.detach().reshape(-1, size, size)).reshape(best.shape)
    return torch.nn.functional.one_hot(best, size).to(values.dtype)
