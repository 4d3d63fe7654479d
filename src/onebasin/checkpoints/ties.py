"""Tensors that a module holds under several names, and files that keep only one of them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from onebasin._checks import named_tensors
from onebasin.checkpoints.lazy import LazyMapping
from onebasin.checkpoints.tensor_info import TensorInfo, describe
from onebasin.symmetry import _ties as ties


def tied_names(module: nn.Module) -> tuple[tuple[str, ...], ...]:
    """Return the names of each tensor that a module holds under several names.

    Args:
        module: any module, on any device, meta included.

    Returns:
        A tuple of names for each tied tensor.
    """
    state = dict(named_tensors(module))
    names: defaultdict[str, list[str]] = defaultdict(list)
    aliases = ties.tied_names(state)
    for name in state:
        names[aliases.get(name, name)].append(name)
    return tuple(tuple(group) for group in names.values() if len(group) > 1)


class TiedView(LazyMapping):
    """A mapping that has all names of tied tensors.

    Files of transformers have one name of a tied tensor, files of torch.save have all. This
    view has all names for both. Outputs have only the stored names, because the writer takes
    its names from the checkpoint.

    Args:
        params: the stored tensors.
        ties: groups of names of one tensor, from `tied_names`.
    """

    def __init__(self, params: Mapping[str, Tensor], ties: Sequence[Sequence[str]]) -> None:
        self._params = params
        self._stored: dict[str, str] = {name: name for name in params}
        for group in ties:
            present = next((name for name in group if name in params), None)
            if present is not None:
                self._stored.update({name: present for name in group if name not in params})
        super().__init__(self._stored)

    @property
    def path(self) -> Path | None:
        """The path of the underlying checkpoint, if it is one."""
        return getattr(self._params, "path", None)

    def metadata(self, name: str) -> TensorInfo:
        """Return the shape and dtype of a tensor, without reading it if its source can do so."""
        return describe(self._params, self._stored[name])

    def __getitem__(self, name: str) -> Tensor:
        return self._params[self._stored[name]]
