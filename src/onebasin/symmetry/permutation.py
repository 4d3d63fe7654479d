"""Permutations: elements of a symmetry that can be applied to parameters.

Owns `Permutation`: an index tensor per group, composition and inverse, and its safetensors
file. `onebasin.symmetry._apply` applies the indices to single tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from os import PathLike

import torch
from torch import Tensor

from onebasin._checks import check_mapping, check_tensor, checks_arguments
from onebasin._random import generator_for
from onebasin.errors import ArgumentError, OneBasinError, public
from onebasin.symmetry._apply import IndexApplier, SharedResults
from onebasin.symmetry._buffer_values import check_buffer_values
from onebasin.symmetry._display import permutation_text
from onebasin.symmetry._element_files import PERMUTATION, read_tensors, write_tensors
from onebasin.symmetry._nesting import broadcast_index
from onebasin.symmetry.symmetry import Symmetry

FORMAT = PERMUTATION


@dataclass(frozen=True, eq=False)
class Permutation:
    """One element of a symmetry: `new[i] = old[index[i]]`.

    For a nested group, `index[i_outer]` orders the units inside *new* outer position
    `i_outer`: `new[o, d] = old[index_o[o], index_d[o, d]]`.

    Laws: `(p @ q).apply(x)` equals `p.apply(q.apply(x))`; `p.inverse() @ p` and
    `p @ p.inverse()` are the identity.

    Args:
        symmetry: the symmetry it is an element of.
        symmetry: the symmetry that contains this permutation.
            `(*outer_shape, size)` whose rows are permutations of `range(size)`.

    Raises:
        OneBasinError: when the indices do not fit the symmetry.

    Example:
        >>> from onebasin.symmetry.layouts import Fixed, Units
        >>> from onebasin.symmetry.symmetry import Group, Symmetry
        >>> layouts = {"up": (Units("h", 3), Fixed(1)), "down": (Fixed(1), Units("h", 3))}
        >>> symmetry = Symmetry({"h": Group("h", 3)}, layouts)
        >>> p = Permutation(symmetry, {"h": torch.tensor([2, 0, 1])})
        >>> moved = p.apply({"up": torch.tensor([[0], [1], [2]]), "down": torch.zeros(1, 3)})
        >>> moved["up"].flatten().tolist()
        [2, 0, 1]
    """

    symmetry: Symmetry
    indices: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        """Check the indices against the symmetry."""
        _check_names(self.symmetry, self.indices)
        for name, index in self.indices.items():
            _check_index(self.symmetry, name, index)

    def __repr__(self) -> str:
        return permutation_text(self)

    @classmethod
    def identity(cls, symmetry: Symmetry) -> Permutation:
        """Return the identity permutation."""
        return cls(symmetry, {name: _unmoved(symmetry, name) for name in symmetry.groups})

    @classmethod
    def random(cls, symmetry: Symmetry, *, seed: int = 0) -> Permutation:
        """Return a uniformly random permutation; each group has its own random stream."""
        indices = {}
        for name, group in symmetry.groups.items():
            shape = (*symmetry.outer_shape(name), group.size)
            generator = generator_for(seed, name)
            keys = torch.rand(shape, generator=generator, dtype=torch.float64)
            indices[name] = keys.argsort(dim=-1)
        return cls(symmetry, indices)

    @checks_arguments
    def apply(self, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the permuted parameters and buffers, under the given names.

        The input is not modified, and no result shares memory with it. Names that share one
        tensor in the input share one tensor in the output. One name of a tied tensor suffices.

        Args:
            params: every tensor of the symmetry by name; dtypes and devices are preserved.

        Raises:
            OneBasinError: when a name is missing or unexpected, or a shape is wrong.
        """
        check_tensors(self.symmetry, params)
        return apply_to_all(self.symmetry, params, self.apply_tensor)

    @public
    def apply_tensor(self, name: str, tensor: Tensor) -> Tensor:
        """Return one permuted tensor, for callers that process a model tensor by tensor.

        Args:
            name: the tensor's name in the symmetry.
            tensor: its values, in the symmetry's shape.

        Raises:
            OneBasinError: when the symmetry has no tensor of this name or shape.
        """
        if name not in self.symmetry.layouts:
            raise ArgumentError(f"unknown tensor {name!r}; remove it")
        _check_shape(self.symmetry, name, tensor)
        return self._applier.apply_to_tensor(name, tensor)

    @cached_property
    def _applier(self) -> IndexApplier:
        return IndexApplier(self.symmetry, self.indices)

    def inverse(self) -> Permutation:
        """Return the inverse permutation."""
        inverses: dict[str, Tensor] = {}
        for name in _outer_first(self.symmetry):
            index = self.indices[name]
            rows = index[old_outers(self.symmetry, inverses, name)]
            inverses[name] = rows.argsort(dim=-1)
        return Permutation(self.symmetry, {name: inverses[name] for name in self.indices})

    def __matmul__(self, other: Permutation) -> Permutation:
        """Return the composition that applies `other` first, then this permutation."""
        if not isinstance(other, Permutation):
            return NotImplemented
        if other.symmetry.fingerprint != self.symmetry.fingerprint:
            raise OneBasinError(
                "p @ q: the permutations belong to different symmetries; infer both symmetries"
                " from the same model"
            )
        indices = {}
        for name, index in self.indices.items():
            rows = other.indices[name][old_outers(self.symmetry, self.indices, name)]
            indices[name] = rows.gather(-1, index)
        return Permutation(self.symmetry, indices)

    def equals(self, other: Permutation) -> bool:
        """Return whether both are the same element of the same symmetry."""
        return self.symmetry.fingerprint == other.symmetry.fingerprint and all(
            torch.equal(index, other.indices[name]) for name, index in self.indices.items()
        )

    @property
    def num_moved(self) -> dict[str, int]:
        """Number of units that each group moves, over all outer positions."""
        return {
            name: int((index != torch.arange(index.shape[-1])).sum())
            for name, index in self.indices.items()
        }

    def save(self, path: str | PathLike[str]) -> None:
        """Write the indices and the symmetry's fingerprint to a safetensors file.

        Raises:
            OneBasinError: when the file cannot be written; no partial file remains.
        """
        write_tensors(path, self.indices, FORMAT, self.symmetry.fingerprint)

    @classmethod
    def load(cls, path: str | PathLike[str], symmetry: Symmetry) -> Permutation:
        """Read a permutation from a file written by `save`.

        Raises:
            OneBasinError: when the file is missing, damaged, not a permutation file, or
                belongs to another symmetry.
        """
        indices, fingerprint = read_tensors(path, FORMAT, "Permutation")
        if fingerprint != symmetry.fingerprint:
            raise OneBasinError(
                f"{path}: belongs to another symmetry; load it with the symmetry that it was"
                " saved for"
            )
        return cls(symmetry, {name: indices[name] for name in symmetry.groups if name in indices})


def _unmoved(symmetry: Symmetry, name: str) -> Tensor:
    size = symmetry.size_of(name)
    outer = symmetry.outer_shape(name) if name in symmetry.groups else ()
    return torch.arange(size).expand(*outer, size).contiguous()


def _outer_first(symmetry: Symmetry) -> list[str]:
    return sorted(symmetry.groups, key=lambda name: len(symmetry.groups[name].nested_in))


def old_outers(symmetry: Symmetry, indices: Mapping[str, Tensor], name: str) -> tuple[Tensor, ...]:
    """Return the old position along each outer group, for every new outer position."""
    nested_in = symmetry.groups[name].nested_in
    positions = []
    for axis, outer in enumerate(nested_in):
        own = symmetry.groups[outer].nested_in if outer in symmetry.groups else ()
        index = indices[outer] if outer in symmetry.groups else _unmoved(symmetry, outer)
        axes = (*(nested_in.index(each) for each in own), axis)
        positions.append(broadcast_index(index, axes, len(nested_in)))
    return tuple(positions)


def _check_names(symmetry: Symmetry, indices: Mapping[str, Tensor]) -> None:
    for name in symmetry.groups:
        if name not in indices:
            raise OneBasinError(f"Permutation: missing index for {name!r}; pass one per group")
    for name in indices:
        if name not in symmetry.groups:
            raise OneBasinError(f"Permutation: unknown group {name!r}; remove it")


def _check_index(symmetry: Symmetry, name: str, index: Tensor) -> None:
    shape = (*symmetry.outer_shape(name), symmetry.size_of(name))
    if index.dtype != torch.int64 or index.device.type != "cpu":
        raise OneBasinError(
            f"Permutation: invalid index for group {name!r} (got {index.dtype} on"
            f" {index.device}); pass an int64 tensor on the CPU"
        )
    if tuple(index.shape) != shape:
        raise OneBasinError(
            f"Permutation: invalid index for group {name!r} (got shape {tuple(index.shape)});"
            f" expected shape {shape}"
        )
    if not torch.equal(index.sort(dim=-1).values, _unmoved(symmetry, name)):
        raise OneBasinError(
            f"Permutation: invalid index for group {name!r}; each row must be a permutation of"
            f" 0..{shape[-1] - 1}"
        )


def apply_to_all(
    symmetry: Symmetry,
    params: Mapping[str, Tensor],
    apply_tensor: Callable[[str, Tensor], Tensor],
) -> dict[str, Tensor]:
    """Return all tensors of a network after a function of each; tied tensors stay tied.

    Args:
        symmetry: the symmetry of the network.
        params: every tensor of the symmetry by name.
        apply_tensor: the function, given the name and the values.
    """
    shared = SharedResults()
    moved = {}
    for name in params:
        tensor = params[name]
        check_tensor(f"tensor {name!r}", tensor)
        layouts = symmetry.layouts.get(name)
        known = shared.find(tensor, layouts)
        moved[name] = apply_tensor(name, tensor) if known is None else known
        shared.keep(tensor, layouts, moved[name])
        del tensor  # free this tensor before a lazy mapping loads the next one
    return moved


def check_tensors(symmetry: Symmetry, params: Mapping[str, Tensor]) -> None:
    """Check the names of a network's tensors, and the buffers that the symmetry depends on.

    Raises:
        OneBasinError: a name is missing or unexpected, or a buffer differs.
    """
    check_mapping(params, "params")
    for name in params:
        if name not in symmetry.layouts:
            raise ArgumentError(f"unknown tensor {name!r}; remove it")
    present = set(params)
    for names in symmetry.tied:
        if present.intersection(names):
            present.update(names)
    for name in symmetry.layouts:
        if name not in present:
            raise ArgumentError(
                f"missing tensor {name!r}; pass every parameter and buffer of the model"
            )
    check_buffer_values("params", symmetry.buffer_values, params)


def _check_shape(symmetry: Symmetry, name: str, tensor: Tensor) -> None:
    check_tensor(f"tensor {name!r}", tensor)
    if tuple(tensor.shape) != symmetry.shapes[name]:
        raise ArgumentError(
            f"wrong shape for tensor {name!r} (got {tuple(tensor.shape)}, expected"
            f" {symmetry.shapes[name]}); pass parameters of the same model"
        )
