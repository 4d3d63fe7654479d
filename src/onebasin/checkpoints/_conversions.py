"""Checkpoints whose files have other names or shapes of tensors than the module.

Libraries rename tensors and stack them (many experts into one tensor) between files and modules.
The view converts tensors lazily when they are read. Outputs are converted back to the names and
shapes of the file.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from onebasin.checkpoints._lazy import TensorInfo
from onebasin.checkpoints.checkpoint import Checkpoint

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Conversion:
    """A reversible map from tensors of a file to tensors of the module.

    Laws: `convert` returns the tensors called `names`; `revert(convert(x))` equals `x`;
    both work on meta tensors too.

    Args:
        stored: names of the tensors in the file.
        names: names of the tensors in the module.
        convert: function from the tensors of the file to those of the module.
        revert: the inverse function.
    """

    stored: tuple[str, ...]
    names: tuple[str, ...]
    convert: Callable[[Tensors], Tensors]
    revert: Callable[[Tensors], Tensors]


def rename(stored: str, name: str) -> Conversion:
    """Return the conversion that renames one tensor."""
    return Conversion((stored,), (name,), lambda t: {name: t[stored]}, lambda t: {stored: t[name]})


def on_meta(infos: Mapping[str, TensorInfo]) -> Tensors:
    """Return meta tensors of the given shapes and dtypes."""
    return {
        name: torch.empty(info.shape, dtype=info.dtype, device="meta")
        for name, info in infos.items()
    }


@dataclass(frozen=True)
class ConvertedSource:
    """The source of a `Checkpoint` whose tensors are converted when they are read.

    Args:
        checkpoint: the stored checkpoint.
        conversions: each name of the file is in at most one of them.
    """

    checkpoint: Checkpoint
    conversions: Sequence[Conversion]
    by_name: Mapping[str, Conversion] = field(init=False, repr=False)
    infos: Mapping[str, TensorInfo] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Determine names and shapes by converting meta tensors."""
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
        """Return the names of the module."""
        return tuple(self.infos)

    def info(self, name: str) -> TensorInfo:
        """Return the shape and dtype of a tensor without reading it."""
        return self.infos[name]

    def read(self, name: str) -> Tensor:
        """Read the stored tensors of a conversion, and return the converted one."""
        conversion = self.by_name[name]
        return conversion.convert({n: self.checkpoint[n] for n in conversion.stored})[name]

    def close(self) -> None:
        """Close the checkpoint."""
        self.checkpoint.close()


class ConvertedCheckpoint(Checkpoint):
    """A checkpoint with the names of a module, written under the names of the file.

    Args:
        checkpoint: the stored checkpoint.
        conversions: each name of the file is in at most one of them.
    """

    def __init__(self, checkpoint: Checkpoint, conversions: Sequence[Conversion]) -> None:
        source = ConvertedSource(checkpoint, conversions)
        super().__init__(checkpoint.path, source, source.names())
        self.notes = checkpoint.notes
        self._by_name = source.by_name

    def as_stored(self, pairs: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        """Yield tensors with the names and shapes of the file, once all their parts are known.

        Args:
            pairs: names and tensors of the module, in any order.

        Yields:
            Names and tensors of the file; unknown names are passed through.
        """
        waiting: dict[int, Tensors] = {}
        for name, tensor in pairs:
            conversion = self._by_name.get(name)
            if conversion is None:
                yield name, tensor
                continue
            parts = waiting.setdefault(id(conversion), {})
            parts[name] = tensor
            del tensor  # frees its memory before the next tensor is computed
            if len(parts) == len(conversion.names):
                yield from _drain(conversion.revert(waiting.pop(id(conversion))))
                del parts
        assert not waiting, "parts of a fused tensor were never given"


def _drain(tensors: Tensors) -> Iterator[tuple[str, Tensor]]:
    for name in list(tensors):
        yield name, tensors.pop(name)
