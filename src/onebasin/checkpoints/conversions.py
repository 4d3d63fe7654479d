"""Checkpoints whose files name and cut tensors otherwise than the module does.

Libraries rename tensors and fuse them (many experts into one stack) between their files and
their modules. Here such a file looks as the module wants it, still lazily, and what is
written goes back to the names and the cut of the file.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from onebasin.checkpoints.reading import Checkpoint
from onebasin.checkpoints.tensor_info import TensorInfo

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Conversion:
    """Some tensors of a file, and the tensors of the module that they become.

    Laws: `convert` returns the tensors called `names`; `revert(convert(x))` equals `x`;
    both work on meta tensors too.

    Args:
        stored: Names in the file.
        names: Names in the module.
        convert: From the file's tensors to the module's.
        revert: Back.
    """

    stored: tuple[str, ...]
    names: tuple[str, ...]
    convert: Callable[[Tensors], Tensors]
    revert: Callable[[Tensors], Tensors]


def rename(stored: str, name: str) -> Conversion:
    """Make the conversion that only renames one tensor."""
    return Conversion((stored,), (name,), lambda t: {name: t[stored]}, lambda t: {stored: t[name]})


def on_meta(infos: Mapping[str, TensorInfo]) -> Tensors:
    """Make tensors without values of the given shapes and dtypes."""
    return {
        name: torch.empty(info.shape, dtype=info.dtype, device="meta")
        for name, info in infos.items()
    }


@dataclass(frozen=True)
class ConvertedSource:
    """A checkpoint seen through conversions; it is what a `Checkpoint` reads from.

    Args:
        checkpoint: As stored.
        conversions: Each name of the file is in at most one of them.
    """

    checkpoint: Checkpoint
    conversions: Sequence[Conversion]
    by_name: Mapping[str, Conversion] = field(init=False, repr=False)
    infos: Mapping[str, TensorInfo] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Learn the names and shapes by converting tensors without values."""
        infos: dict[str, TensorInfo] = {}
        for conversion in self.conversions:
            stored = on_meta({n: self.checkpoint.metadata(n) for n in conversion.stored})
            converted = conversion.convert(stored)
            infos.update({n: TensorInfo.of(converted[n]) for n in conversion.names})
        by_name = {name: conv for conv in self.conversions for name in conv.names}
        object.__setattr__(self, "infos", infos)
        object.__setattr__(self, "by_name", by_name)

    @property
    def path(self) -> Path:
        """The path of the checkpoint."""
        return self.checkpoint.path

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of the checkpoint."""
        return self.checkpoint.files

    def names(self) -> tuple[str, ...]:
        """List the module's names."""
        return tuple(self.infos)

    def info(self, name: str) -> TensorInfo:
        """Describe a tensor without reading it."""
        return self.infos[name]

    def read(self, name: str) -> Tensor:
        """Read all that a tensor is made of, and make it."""
        conversion = self.by_name[name]
        return conversion.convert({n: self.checkpoint[n] for n in conversion.stored})[name]

    def close(self) -> None:
        """Close the checkpoint."""
        self.checkpoint.close()


class ConvertedCheckpoint(Checkpoint):
    """A checkpoint with the names of a module, which are written back as they were stored.

    Args:
        checkpoint: As stored.
        conversions: Each name of the file is in at most one of them.
    """

    def __init__(self, checkpoint: Checkpoint, conversions: Sequence[Conversion]) -> None:
        source = ConvertedSource(checkpoint, conversions)
        super().__init__(checkpoint.path, source, source.names())
        self.notes = checkpoint.notes
        self._by_name = source.by_name

    def as_stored(self, pairs: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        """Give tensors the names and the cut of the file, as soon as all parts are there.

        Args:
            pairs: Names and tensors as the module has them, in any order.

        Yields:
            Names and tensors as the file has them; names unknown here are passed on.
        """
        waiting: dict[int, Tensors] = {}
        for name, tensor in pairs:
            conversion = self._by_name.get(name)
            if conversion is None:
                yield name, tensor
                continue
            parts = waiting.setdefault(id(conversion), {})
            parts[name] = tensor
            del tensor  # kept here, it would live on while the next one is made
            if len(parts) == len(conversion.names):
                yield from _drain(conversion.revert(waiting.pop(id(conversion))))
                del parts
        assert not waiting, "parts of a fused tensor were never given"


def _drain(tensors: Tensors) -> Iterator[tuple[str, Tensor]]:
    for name in list(tensors):
        yield name, tensors.pop(name)
