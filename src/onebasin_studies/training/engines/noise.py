"""Per-network random numbers for operators such as dropout.

PyTorch's operators use one generator per process. Here a dispatch mode intercepts them and draws
the numbers of each network from its own generator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from onebasin.errors import ArgumentError

aten = torch.ops.aten
_FILLS: dict[Any, Callable[..., Tensor]] = {
    aten.rand: aten.uniform_.default,
    aten.rand_like: aten.uniform_.default,
    aten.randn: aten.normal_.default,
    aten.randn_like: aten.normal_.default,
}


class Noise(TorchDispatchMode):
    """A mode in which random operators use the generators of the networks.

    Args:
        generators: one generator per network. With several, the first dimension of every operand
            must be the network, as under `vmap`.
    """

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.generators = list(generators)

    def row(self, row: int) -> Noise:
        """Return the noise of one network."""
        return Noise([self.generators[row]])

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run an operator; random ones use the generators of the networks."""
        kwargs = dict(kwargs or {})
        if not is_random(func):
            return func(*args, **kwargs)
        packet = func.overloadpacket
        if packet is aten.native_dropout:
            return self._dropout(*args)
        if packet in _FILLS:
            return self._fill(_FILLS[packet], self._empty(packet, args, kwargs))
        if any(argument.name == "generator" for argument in func._schema.arguments):
            return self._call(func, args, kwargs)
        raise ArgumentError(
            f"the network calls {func}, which cannot draw separate random numbers for each "
            "network; use torch.nn.functional.dropout or an operator with a generator argument"
        )

    def _empty(self, packet: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        kwargs.pop("generator", None)
        if packet in (aten.rand_like, aten.randn_like):
            return torch.empty_like(*args, **kwargs)
        return torch.empty(*args, **kwargs)

    def _fill(self, fill: Callable[..., Tensor], tensor: Tensor, *numbers: float) -> Tensor:
        for part, generator in self._parts(tensor):
            fill(part, *numbers, generator=generator)
        return tensor

    def _dropout(self, x: Tensor, share: float, is_training: bool | None) -> Any:
        if is_training is False:
            return x.clone(), torch.ones_like(x, dtype=torch.bool)
        mask = self._fill(aten.bernoulli_.float, torch.empty_like(x), 1 - share)
        scale = 0.0 if share == 1 else 1 / (1 - share)
        return x * mask * scale, mask.bool()

    def _call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call an operator that takes a generator on each network's slice of its arguments."""
        kwargs.pop("generator", None)
        if len(self.generators) == 1:
            return func(*args, generator=self.generators[0], **kwargs)
        number = len(self.generators)
        results = []
        for row, generator in enumerate(self.generators):
            mine = [
                value[row] if isinstance(value, Tensor) and len(value) == number else value
                for value in args
            ]
            results.append(func(*mine, generator=generator, **kwargs))
        if func._schema.is_mutable:
            return args[0]
        return torch.stack(results)

    def _parts(self, tensor: Tensor) -> list[tuple[Tensor, torch.Generator]]:
        if len(self.generators) == 1:
            return [(tensor, self.generators[0])]
        assert len(tensor) == len(self.generators), "the first dimension is the networks"
        return list(zip(tensor, self.generators, strict=True))


class Record(TorchDispatchMode):
    """A mode that records the names of called operators and whether any of them is random."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.draws = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run and record an operator."""
        self.names.add(str(func.overloadpacket))
        self.draws |= is_random(func)
        return func(*args, **(kwargs or {}))


def is_random(func: Any) -> bool:
    """Return whether an operator uses a random generator."""
    return torch.Tag.nondeterministic_seeded in func.tags
