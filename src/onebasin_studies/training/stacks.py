"""Stacks: initialized networks of one architecture with stacked tensors."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from onebasin._checks import described
from onebasin._random import seeded
from onebasin.errors import ArgumentError

Network = nn.Module | Callable[[], nn.Module]
"""An architecture: a module to reinitialize, or a function that builds one."""

# Modules use the global generator, which two threads must not seed at the same time.
_DRAWING = threading.Lock()


def initialized(network: Network, seed: int) -> nn.Module:
    """Return a network with newly drawn weights from its modules' own initializers.

    Args:
        network: the architecture; a module is copied, a function is called. The random state of
            torch is not changed.
        seed: random seed of the weights.

    Raises:
        OneBasinError: if a module with parameters has no `reset_parameters`, or the network is
            neither a module nor a function that builds one.
    """
    with _DRAWING, seeded(seed):
        if not isinstance(network, nn.Module):
            return _built(network)
        fresh = copy.deepcopy(network)
        for name, module in fresh.named_modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
            elif next(module.parameters(recurse=False), None) is not None:
                raise ArgumentError(
                    f"module {name or type(module).__name__!r} has parameters but no "
                    "reset_parameters(); define one, or pass a function that builds the network"
                )
    return fresh


def _built(network: Any) -> nn.Module:
    if not callable(network):
        raise ArgumentError(
            f"network is {described(network)}; pass a module or a function that builds "
            "one, such as MLP(width=16)"
        )
    module: Any = network()
    if not isinstance(module, nn.Module):
        raise ArgumentError(
            f"the network function returned {described(module)}; it must return a torch.nn.Module"
        )
    return module


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
        tensors = {**self.params, **self.fixed, **self.buffers}
        return {name: tensor.detach() for name, tensor in tensors.items()}

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
    names = {id(tensor): name for name, tensor in listed}
    state = module.state_dict(keep_vars=True)
    return {name: names[id(tensor)] for name, tensor in state.items()}
