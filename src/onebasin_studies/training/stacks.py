"""Stacks: networks of one architecture with their tensors stacked along a first dimension."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from onebasin_studies.training.initialization import Network, initialized

Tensors = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class Stack:
    """Stacked networks: row i of every tensor belongs to network i.

    Args:
        params: trainable parameters by name, `(n, ...)`; tied parameters appear under their first
            name. Each has a `.grad` of its shape, which engines write to.
        fixed: frozen parameters, `(n, ...)`.
        buffers: buffers by name, `(n, ...)`.
        names: every name of `state_dict` with the name of its tensor above.
    """

    params: Tensors
    fixed: Tensors
    buffers: Tensors
    names: Mapping[str, str]

    def __len__(self) -> int:
        """Return the number of networks."""
        return len(next(iter(self.params.values())))

    @classmethod
    def of(cls, modules: Sequence[nn.Module], device: torch.device) -> Stack:
        """Return modules of one architecture as a stack, copied to a device."""
        first = modules[0]
        trained = {name for name, param in first.named_parameters() if param.requires_grad}
        params = _stacked([dict(module.named_parameters()) for module in modules], device)
        buffers = _stacked([dict(module.named_buffers()) for module in modules], device)
        return cls(
            _with_gradients({name: params[name] for name in params if name in trained}),
            {name: params[name] for name in params if name not in trained},
            buffers,
            _canonical_names(first),
        )

    @classmethod
    def initialized(cls, network: Network, seeds: Iterable[int], device: torch.device) -> Stack:
        """Return a stack of newly initialized networks, one per seed."""
        return cls.of([initialized(network, seed) for seed in seeds], device)

    def select(self, rows: Sequence[int]) -> Stack:
        """Return copies of some networks; a row may be repeated."""
        index = torch.tensor(rows, dtype=torch.int64)
        return self._map(lambda tensor: tensor.detach()[index.to(tensor.device)])

    def network(self, row: int) -> Tensors:
        """Return a copy of one network on the CPU, under all names of its `state_dict`."""
        tensors = self.tensors()
        # Copied even on the CPU, because training updates the stack in place.
        return {
            name: tensors[held][row].to("cpu", copy=True, memory_format=torch.contiguous_format)
            for name, held in self.names.items()
        }

    def tensors(self) -> Tensors:
        """Return all tensors by name, detached and not copied."""
        held = {**self.params, **self.fixed, **self.buffers}
        return {name: tensor.detach() for name, tensor in held.items()}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> Stack:
        """Return a stack of the same architecture with other tensors, such as saved ones."""

        def read(mine: Tensors) -> Tensors:
            return {name: tensors[name].to(tensor.device) for name, tensor in mine.items()}

        params = _with_gradients(read(self.params))
        return Stack(params, read(self.fixed), read(self.buffers), self.names)

    def _map(self, function: Callable[[Tensor], Tensor]) -> Stack:
        params, fixed, buffers = (
            {name: function(tensor) for name, tensor in tensors.items()}
            for tensors in (self.params, self.fixed, self.buffers)
        )
        return Stack(_with_gradients(params), fixed, buffers, self.names)


def _stacked(tensors: Sequence[Mapping[str, Tensor]], device: torch.device) -> Tensors:
    return {
        name: torch.stack([each[name].detach() for each in tensors]).to(device)
        for name in tensors[0]
    }


def _with_gradients(params: Tensors) -> Tensors:
    for tensor in params.values():
        tensor.requires_grad_()
        tensor.grad = torch.zeros_like(tensor)
    return params


def _canonical_names(module: nn.Module) -> dict[str, str]:
    """Return the name in `named_parameters` for each name of the state_dict."""
    listed = [*module.named_parameters(), *module.named_buffers()]
    held = {id(tensor): name for name, tensor in listed}
    state = module.state_dict(keep_vars=True)
    return {name: held[id(tensor)] for name, tensor in state.items()}
