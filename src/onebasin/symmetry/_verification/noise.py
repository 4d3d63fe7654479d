"""Random operators, such as dropout, and their replacement by constants."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

DROPOUT = "native_dropout"
BERNOULLI = ("bernoulli", "bernoulli_")
RANDOM = frozenset(
    {DROPOUT, *BERNOULLI}
    | {"rand", "randn", "rand_like", "randn_like", "normal", "normal_", "uniform", "uniform_"}
    | {"exponential", "exponential_", "log_normal", "log_normal_", "cauchy", "cauchy_"}
)


def is_random(func: Any) -> bool:
    """Return whether an ATen operator draws independent noise for every entry."""
    return func._schema.name.removeprefix("aten::") in RANDOM


def without_noise(func: Any, result: Any, args: tuple[Any, ...]) -> Any:
    """Return the result of a random operator with the same value in every entry.

    Reordering independent noise preserves its distribution, so a symmetry must also hold for
    equal values. Random events are replaced by their probabilities.

    Args:
        func: the operator.
        result: its result; overwritten for in-place operators.
        args: its positional arguments.
    """
    name = func._schema.name.removeprefix("aten::")
    if name == DROPOUT:
        return args[0].clone(), torch.ones_like(result[1])
    if name in BERNOULLI:
        parameters = args if name == "bernoulli" and len(args) == 1 else args[1:]
        return _filled(result, parameters[0] if parameters else 0.5)
    parameters = [arg for arg in args if isinstance(arg, Tensor) and arg is not result]
    if name == "normal" and parameters:
        return _filled(result, parameters[0])
    return _filled(result, result.double().mean()) if result.is_floating_point() else result


def _filled(result: Tensor, value: Tensor | float) -> Tensor:
    return result.copy_(value) if isinstance(value, Tensor) else result.fill_(value)
