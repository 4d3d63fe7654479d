"""Permutations: the elements of a symmetry, and what they do to parameters.

Owns `Permutation`: an index tensor per group, the group laws, and its safetensors file.
How an index reaches the entries of one tensor is `onebasin.symmetry._apply`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from os import PathLike

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from onebasin._atomic import atomic_path
from onebasin._checks import check_mapping, check_tensor, checks_arguments
from onebasin._files import check_regular_file
from onebasin._random import generator_for
from onebasin.errors import OneBasinError
from onebasin.symmetry._apply import Mover, SharedResults
from onebasin.symmetry._buffer_values import check_buffer_values
from onebasin.symmetry._display import permutation_text
from onebasin.symmetry._nesting import spread
from onebasin.symmetry.symmetry import Symmetry

FORMAT = "onebasin-permutation-1"


@dataclass(frozen=True, eq=False)
class Permutation:
    """One element of a symmetry: `new[i] = old[index[i]]`.

    For a nested group, `index[i_outer]` orders the units inside *new* outer position
    `i_outer`: `new[o, d] = old[index_o[o], index_d[o, d]]`.

    Laws: `(p @ q).apply(x)` equals `p.apply(q.apply(x))`; `p.inverse() @ p` and
    `p @ p.inverse()` are the identity.

    Args:
        symmetry: the symmetry it is an element of.
        indices: for each movable group an int64 tensor on the CPU of shape
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
        """Return the permutation that moves nothing."""
        return cls(symmetry, {name: _unmoved(symmetry, name) for name in symmetry.groups})

    @classmethod
    def random(cls, symmetry: Symmetry, *, seed: int = 0) -> Permutation:
        """Return a uniformly random permutation; a group's draw depends on its name only."""
        indices = {}
        for name, group in symmetry.groups.items():
            shape = (*symmetry.outer_shape(name), group.size)
            generator = generator_for(seed, name)
            keys = torch.rand(shape, generator=generator, dtype=torch.float64)
            indices[name] = keys.argsort(dim=-1)
        return cls(symmetry, indices)

    @checks_arguments
    def apply(self, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the moved parameters and buffers, under the names given.

        The input is untouched and nothing returned shares memory with it. Names that share
        one tensor in the input share one in the output. Of a tie, one name suffices.

        Args:
            params: every tensor of the symmetry by name; dtypes and devices are kept.

        Raises:
            OneBasinError: when names are missing or unexpected, or a shape is another one.
        """
        _check_tensors(self.symmetry, params)
        shared = SharedResults()
        moved = {}
        for name in params:
            tensor = params[name]
            check_tensor(f"apply: tensor {name!r}", tensor)
            layouts = self.symmetry.layouts.get(name)
            known = shared.find(tensor, layouts)
            moved[name] = self.apply_tensor(name, tensor) if known is None else known
            shared.keep(tensor, layouts, moved[name])
            del tensor  # a lazy mapping's next tensor must not find this one still in memory
        return moved

    def apply_tensor(self, name: str, tensor: Tensor) -> Tensor:
        """Return one tensor moved, for callers that stream a model tensor by tensor.

        Args:
            name: the tensor's name in the symmetry.
            tensor: its values, in the symmetry's shape.

        Raises:
            OneBasinError: when the symmetry has no such name or another shape.
        """
        if name not in self.symmetry.layouts:
            raise OneBasinError(f"apply: the symmetry has no tensor {name!r}; leave it out")
        _check_shape(self.symmetry, name, tensor)
        return self._mover.move(name, tensor)

    @cached_property
    def _mover(self) -> Mover:
        return Mover(self.symmetry, self.indices)

    def inverse(self) -> Permutation:
        """Return the permutation that undoes this one."""
        inverses: dict[str, Tensor] = {}
        for name in _outer_first(self.symmetry):
            index = self.indices[name]
            rows = index[_old_outers(self.symmetry, inverses, name)]
            inverses[name] = rows.argsort(dim=-1)
        return Permutation(self.symmetry, {name: inverses[name] for name in self.indices})

    def __matmul__(self, other: Permutation) -> Permutation:
        """Return the permutation that applies `other` first and this one after it."""
        if not isinstance(other, Permutation):
            return NotImplemented
        if other.symmetry.fingerprint != self.symmetry.fingerprint:
            raise OneBasinError(
                "p @ q: the two permutations belong to different symmetries; trace both models"
                " the same way"
            )
        indices = {}
        for name, index in self.indices.items():
            rows = other.indices[name][_old_outers(self.symmetry, self.indices, name)]
            indices[name] = rows.gather(-1, index)
        return Permutation(self.symmetry, indices)

    def equals(self, other: Permutation) -> bool:
        """Return whether both are the same element of the same symmetry."""
        return self.symmetry.fingerprint == other.symmetry.fingerprint and all(
            torch.equal(index, other.indices[name]) for name, index in self.indices.items()
        )

    @property
    def num_moved(self) -> dict[str, int]:
        """For each group the number of units, over all outer positions, not at their old place."""
        return {
            name: int((index != torch.arange(index.shape[-1])).sum())
            for name, index in self.indices.items()
        }

    def save(self, path: str | PathLike[str]) -> None:
        """Write the indices and the symmetry's fingerprint to a safetensors file.

        Raises:
            OneBasinError: when the file cannot be written; nothing half-written is left.
        """
        # One entry only: the file format writes several in no fixed order.
        metadata = {FORMAT: self.symmetry.fingerprint}
        indices = {name: index.contiguous() for name, index in self.indices.items()}
        with atomic_path(path) as temporary:
            # Written like any file: safetensors itself lets only its owner read what it writes.
            temporary.write_bytes(save(indices, metadata=metadata))

    @classmethod
    def load(cls, path: str | PathLike[str], symmetry: Symmetry) -> Permutation:
        """Read a permutation that `save` wrote.

        Raises:
            OneBasinError: when the file is missing, damaged, no permutation, or was written
                for another symmetry.
        """
        check_regular_file(path)
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                indices = {name: file.get_tensor(name) for name in file.keys()}
        except (OSError, SafetensorError) as error:
            raise OneBasinError(f"{path}: not a readable safetensors file ({error})") from error
        if FORMAT not in metadata:
            raise OneBasinError(f"{path}: not a permutation file; write it with Permutation.save")
        if metadata[FORMAT] != symmetry.fingerprint:
            raise OneBasinError(
                f"{path}: was written for another symmetry; load it with the symmetry of the"
                " model it was made for"
            )
        return cls(symmetry, {name: indices[name] for name in symmetry.groups if name in indices})


def _unmoved(symmetry: Symmetry, name: str) -> Tensor:
    size = symmetry.size_of(name)
    outer = symmetry.outer_shape(name) if name in symmetry.groups else ()
    return torch.arange(size).expand(*outer, size).contiguous()


def _outer_first(symmetry: Symmetry) -> list[str]:
    return sorted(symmetry.groups, key=lambda name: len(symmetry.groups[name].nested_in))


def _old_outers(symmetry: Symmetry, indices: Mapping[str, Tensor], name: str) -> tuple[Tensor, ...]:
    """For every new outer position of a group, the old position along each outer."""
    nested_in = symmetry.groups[name].nested_in
    positions = []
    for axis, outer in enumerate(nested_in):
        own = symmetry.groups[outer].nested_in if outer in symmetry.groups else ()
        index = indices[outer] if outer in symmetry.groups else _unmoved(symmetry, outer)
        axes = (*(nested_in.index(each) for each in own), axis)
        positions.append(spread(index, axes, len(nested_in)))
    return tuple(positions)


def _check_names(symmetry: Symmetry, indices: Mapping[str, Tensor]) -> None:
    for name in symmetry.groups:
        if name not in indices:
            raise OneBasinError(f"Permutation: group {name!r} has no index; give one per group")
    for name in indices:
        if name not in symmetry.groups:
            raise OneBasinError(f"Permutation: the symmetry has no group {name!r}; leave it out")


def _check_index(symmetry: Symmetry, name: str, index: Tensor) -> None:
    shape = (*symmetry.outer_shape(name), symmetry.size_of(name))
    if index.dtype != torch.int64 or index.device.type != "cpu":
        raise OneBasinError(
            f"Permutation: the index of group {name!r} is {index.dtype} on {index.device}, not"
            " int64 on the cpu"
        )
    if tuple(index.shape) != shape:
        raise OneBasinError(
            f"Permutation: the index of group {name!r} is {tuple(index.shape)}, not {shape}"
        )
    if not torch.equal(index.sort(dim=-1).values, _unmoved(symmetry, name)):
        raise OneBasinError(
            f"Permutation: the index of group {name!r} does not hold each of 0..{shape[-1] - 1}"
            " once per row"
        )


def _check_tensors(symmetry: Symmetry, params: Mapping[str, Tensor]) -> None:
    check_mapping("apply", params, "params")
    for name in params:
        if name not in symmetry.layouts:
            raise OneBasinError(f"apply: the symmetry has no tensor {name!r}; leave it out")
    present = set(params)
    for names in symmetry.tied:
        if present.intersection(names):
            present.update(names)
    for name in symmetry.layouts:
        if name not in present:
            raise OneBasinError(
                f"apply: tensor {name!r} is missing; give every parameter and buffer of the model"
            )
    check_buffer_values("apply: params", symmetry.buffer_values, params)


def _check_shape(symmetry: Symmetry, name: str, tensor: Tensor) -> None:
    check_tensor(f"apply: tensor {name!r}", tensor)
    if tuple(tensor.shape) != symmetry.shapes[name]:
        raise OneBasinError(
            f"apply: tensor {name!r} is {tuple(tensor.shape)} but the symmetry expects"
            f" {symmetry.shapes[name]}; use parameters of the model that was traced"
        )
