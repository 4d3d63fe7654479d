"""Transformations: elements of a symmetry that reorder, scale and mix units.

Owns `Transformation`: a permutation, a linear map for each group whose units are mixed, scales and
signs; composition, inverse, and its safetensors file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from os import PathLike

import torch
from torch import Tensor

from onebasin._checks import check_tensor, checks_arguments
from onebasin.errors import ArgumentError, OneBasinError
from onebasin.symmetry._element_files import (
    KINDS,
    is_permutation_file,
    read_transformation,
    write_transformation,
)
from onebasin.symmetry._nesting import outer_axes
from onebasin.symmetry._random_elements import random_element
from onebasin.symmetry._transforming import TensorTransformer
from onebasin.symmetry.actions import Axis, Gain
from onebasin.symmetry.permutation import Permutation, apply_to_all, check_tensors, old_outers
from onebasin.symmetry.symmetry import Symmetry

SMALLEST_GAIN = 1e-6
"""Smallest gain that can be folded, as a fraction of the largest gain of its tensor."""

Parts = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Transformation:
    """One element of a symmetry with classes beyond permutations.

    Units are permuted first, then mixed and scaled. While units are mixed, gains of
    normalizations are folded into other tensors; afterwards they are restored, multiplied by the
    scales of the group.

    Laws: `(s @ t).apply(x)` equals `s.apply(t.apply(x))`, and `t.inverse() @ t` is the identity,
    up to rounding.

    Args:
        symmetry: the symmetry that contains this transformation.
        permutation: order of the units; the identity for groups in `maps`.
        maps: map of each group whose units are mixed: float64, `(*outer, n, n)`.
        scales: scales of groups: float64, `(number of scales, *outer, n)`; positive unless the
            units of the group are mixed.
        signs: signs of groups: float64, `(number of signs, *outer, n)`, with entries 1 and -1.

    Raises:
        OneBasinError: a tensor does not fit the class of its group.
    """

    symmetry: Symmetry
    permutation: Permutation
    maps: Parts = field(default_factory=dict)
    scales: Parts = field(default_factory=dict)
    signs: Parts = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the tensors against the symmetry."""
        _check(self)

    @classmethod
    def identity(cls, symmetry: Symmetry) -> Transformation:
        """Return the identity."""
        return cls(symmetry, Permutation.identity(symmetry))

    @property
    def only_permutes(self) -> bool:
        """Whether units are only permuted."""
        return not (self.maps or self.scales or self.signs)

    @classmethod
    def random(cls, symmetry: Symmetry, *, seed: int = 0) -> Transformation:
        """Return a random, well-conditioned transformation.

        Orthogonal maps are uniformly distributed. The logarithms of scales and singular values
        are uniformly distributed between -0.5 and 0.5.
        """
        return cls(symmetry, *random_element(symmetry, seed))

    @checks_arguments
    def apply(self, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the transformed parameters and buffers, under the given names.

        The input is not modified. Values are computed in float32, or in float64 if the tensor
        has that dtype, and rounded to the dtype of the tensor.

        Args:
            params: every tensor of the symmetry by name.

        Raises:
            OneBasinError: a name is missing or unexpected, a shape is wrong, a gain is zero, or
                a result is too large for its dtype.
        """
        check_tensors(self.symmetry, params)
        return apply_to_all(self.symmetry, params, self.applier(params))

    def applier(self, params: Mapping[str, Tensor]) -> Callable[[str, Tensor], Tensor]:
        """Return a function that transforms one tensor of a network, given its name and values.

        For networks that do not fit into memory: only gains are read.

        Args:
            params: every tensor of the symmetry by name.

        Raises:
            OneBasinError: a gain is zero.
        """
        gains = {
            name: torch.stack([self._gain(name, each, params) for each in action.gains])
            for name, action in self.symmetry.actions.items()
            if name in self.maps and action.gains
        }
        transformer = TensorTransformer(self.symmetry, self.maps, self.scales, self.signs, gains)

        def transform(name: str, tensor: Tensor) -> Tensor:
            moved = self.permutation.apply_tensor(name, tensor)
            return transformer.apply(self.symmetry.first_names.get(name, name), moved)

        return transform

    def _gain(self, group: str, gain: Gain, params: Mapping[str, Tensor]) -> Tensor:
        """Return a gain after the permutation."""
        moved = self.permutation.apply_tensor(gain.axis.tensor, params[gain.axis.tensor])
        values = units_of(self.symmetry, gain.axis, moved)[..., 0].double() + gain.offset
        if not gains_are_safe(values):
            raise ArgumentError(
                f"tensor {gain.axis.tensor!r} has a gain that is zero or almost zero, so the units "
                f"of group {group!r} cannot be mixed; pass classes='permutation'"
            )
        return values

    def inverse(self) -> Transformation:
        """Return the inverse transformation."""
        permutation = self.permutation.inverse()
        reordered = _Reordered(self.symmetry, permutation)
        return Transformation(
            self.symmetry,
            permutation,
            {name: torch.linalg.inv(reordered.outer(name, m)) for name, m in self.maps.items()},
            {name: 1 / reordered.units(name, s) for name, s in self.scales.items()},
            {name: reordered.units(name, s) for name, s in self.signs.items()},
        )

    def __matmul__(self, other: Transformation) -> Transformation:
        """Return the composition that applies `other` first, then this transformation."""
        if not isinstance(other, Transformation):
            return NotImplemented
        reordered = _Reordered(self.symmetry, self.permutation)
        maps = {name: reordered.outer(name, value) for name, value in other.maps.items()}
        for name, own in self.maps.items():
            maps[name] = own @ maps[name] if name in maps else own
        return Transformation(
            self.symmetry,
            self.permutation @ other.permutation,
            maps,
            _multiplied(self.scales, other.scales, reordered),
            _multiplied(self.signs, other.signs, reordered),
        )

    def save(self, path: str | PathLike[str]) -> None:
        """Write all parts, and the symmetry's fingerprint, to a safetensors file.

        Raises:
            OneBasinError: the file cannot be written; no partial file remains.
        """
        values = (self.permutation.indices, self.maps, self.scales, self.signs)
        parts = {kind: dict(each) for kind, each in zip(KINDS, values, strict=True)}
        write_transformation(path, self.symmetry, parts)

    @classmethod
    def load(cls, path: str | PathLike[str], symmetry: Symmetry) -> Transformation:
        """Read a transformation from a file written by `save`, or by `Permutation.save`.

        Raises:
            OneBasinError: the file is missing, damaged, not a transformation file, or belongs to
                another symmetry or other classes of groups.
        """
        if is_permutation_file(path):
            return cls(symmetry, Permutation.load(path, symmetry))
        parts = read_transformation(path, symmetry)
        try:
            permutation = Permutation(symmetry, parts["permutation"])
            return cls(symmetry, permutation, parts["maps"], parts["scales"], parts["signs"])
        except OneBasinError as error:
            raise OneBasinError(f"{path}: {error}") from error


def gains_are_safe(values: Tensor) -> bool:
    """Return whether no gain is zero or almost zero."""
    size = values.abs()
    return bool((size > SMALLEST_GAIN * size.max()).all())


def units_of(symmetry: Symmetry, axis: Axis, tensor: Tensor) -> Tensor:
    """Return the values of each unit along an axis of a tensor, `(*outer, n, values)`."""
    block = symmetry.blocks[axis.tensor][axis.block]
    view = block.view(tensor.contiguous())
    outers = outer_axes(block, symmetry.nesting, tuple(tensor.shape))[axis.axis]
    order = [*outers, axis.axis]
    rest = [each for each in range(view.dim()) if each not in order]
    return view.permute([*order, *rest]).reshape([*(view.shape[each] for each in order), -1])


class _Reordered:
    """Parts of another transformation, arranged by the new positions of a permutation."""

    def __init__(self, symmetry: Symmetry, permutation: Permutation) -> None:
        self.symmetry, self.permutation = symmetry, permutation

    def outer(self, name: str, values: Tensor) -> Tensor:
        """Return maps arranged by the new outer positions."""
        positions = old_outers(self.symmetry, self.permutation.indices, name)
        return values[positions] if positions else values

    def units(self, name: str, values: Tensor) -> Tensor:
        """Return scales arranged by the new outer positions and the new order of the units."""
        index = self.permutation.indices[name]
        return torch.stack([self.outer(name, each).gather(-1, index) for each in values])


def _multiplied(own: Parts, other: Parts, reordered: _Reordered) -> dict[str, Tensor]:
    values = {name: reordered.units(name, each) for name, each in other.items()}
    for name, each in own.items():
        values[name] = each * values[name] if name in values else each
    return values


def _check(transformation: Transformation) -> None:
    symmetry = transformation.symmetry
    for kind in ("maps", "scales", "signs"):
        for name, values in getattr(transformation, kind).items():
            check_tensor(f"{kind} of group {name!r}", values)
            shape = _shape_of(symmetry, kind, name)
            if tuple(values.shape) != shape:
                raise OneBasinError(
                    f"invalid {kind} of group {name!r} (got shape {tuple(values.shape)}); "
                    f"expected shape {shape}"
                )


def _shape_of(symmetry: Symmetry, kind: str, name: str) -> tuple[int, ...]:
    """Return the shape of the maps, scales or signs of a group.

    Raises:
        OneBasinError: the group has none.
    """
    if name not in symmetry.groups:
        raise OneBasinError(f"{kind} of unknown group {name!r}; remove them")
    action = symmetry.actions.get(name)
    size, outer = symmetry.size_of(name), symmetry.outer_shape(name)
    number = {"scales": len(action.scales), "signs": len(action.signs)}.get(kind) if action else 0
    if action is None or (kind == "maps" and not action.mixes) or number == 0:
        raise OneBasinError(
            f"group {name!r} admits no {kind}, because its class is "
            f"{symmetry.groups[name].symmetry_class!r}; remove them"
        )
    return (*outer, size, size) if number is None else (number, *outer, size)
