"""Tensors that a file may lack: tied tensors and optional buffers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from onebasin._checks import named_tensors
from onebasin.checkpoints._lazy import LazyMapping, TensorInfo, describe
from onebasin.symmetry import _modules as ties


def saved_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return the parameters and persistent buffers of a module under all their names."""
    state = module.state_dict()
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


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


_COUNTER = "num_batches_tracked"


def optional_names(module: nn.Module) -> frozenset[str]:
    """Return the names that a checkpoint of a module may lack.

    These are the buffers that the module does not save, and the counters of BatchNorm layers,
    which PyTorch before 0.4.1 did not have. `load_state_dict` accepts both.

    Args:
        module: the architecture, on any device.
    """
    saved = module.state_dict()
    return frozenset(
        name
        for name, _ in module.named_buffers(remove_duplicate=False)
        if name not in saved or name.rpartition(".")[2] == _COUNTER
    )


class CompletedView(LazyMapping):
    """A checkpoint with some tensors from other mappings.

    Args:
        sources: mapping that holds each tensor, by name.
        path: the path of the checkpoint, for messages.
    """

    def __init__(
        self, sources: Mapping[str, Mapping[str, Tensor]], path: Path | None = None
    ) -> None:
        super().__init__(sources)
        self._sources = sources
        self.path = path

    def metadata(self, name: str) -> TensorInfo:
        """Return the shape and dtype of a tensor, without reading it if its source can do so."""
        return describe(self._sources[name], name)

    def __getitem__(self, name: str) -> Tensor:
        return self._sources[name][name]


def completed(
    params_list: Sequence[Mapping[str, Tensor]], module: nn.Module
) -> tuple[CompletedView, ...]:
    """Return checkpoints of one module, all with the buffers that the module saves.

    A counter that a checkpoint lacks is read from the first checkpoint that has it, otherwise from
    the module. Buffers that the module does not save are left out.

    Args:
        params_list: the checkpoints.
        module: the architecture, on any device, meta included.
    """
    saved, buffers = module.state_dict(), _optional_buffers(module)
    unsaved = buffers.keys() - saved.keys()
    missing = {
        name: next((params for params in params_list if name in params), buffers)
        for name in saved
        if name in buffers
    }
    return tuple(
        CompletedView(
            {
                **{name: params for name in params if name not in unsaved},
                **{name: source for name, source in missing.items() if name not in params},
            },
            getattr(params, "path", None),
        )
        for params in params_list
    )


def with_unsaved(
    params: Mapping[str, Tensor], checkpoint: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    """Return tensors of a module together with those that only the checkpoint has.

    Args:
        params: tensors of the module.
        checkpoint: the checkpoint whose names the output has.
    """
    return CompletedView({name: params if name in params else checkpoint for name in checkpoint})


def _optional_buffers(module: nn.Module) -> dict[str, Tensor]:
    """Return the optional buffers of a module; on meta, counters are zero as in a new module."""
    optional = optional_names(module)
    return {
        name: torch.zeros_like(buffer, device="cpu") if buffer.is_meta else buffer.detach()
        for name, buffer in module.named_buffers(remove_duplicate=False)
        if name in optional
    }
