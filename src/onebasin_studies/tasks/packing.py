"""Several networks in one result: put in under numbers, and taken out as a task."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from onebasin.errors import OneBasinError
from onebasin_studies.runtime.task import Result


def pack(networks: Mapping[int, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the tensors of several networks under `NUMBER/NAME`."""
    return {
        f"{number}/{name}": tensor
        for number, params in networks.items()
        for name, tensor in params.items()
    }


def take_network(*, networks: Result, number: int) -> Result:
    """Take out one network of a result that holds several, see `pack`.

    Args:
        networks: the result.
        number: which one.

    Returns:
        Its parameters.

    Raises:
        OneBasinError: when there is none of that number; those that are there are listed.
    """
    prefix = f"{number}/"
    names = [name for name in networks.tensors if name.startswith(prefix)]
    if not names:
        known = sorted({int(name.partition("/")[0]) for name in networks.tensors})
        raise OneBasinError(f"take_network: there is no network {number}; there are {known}")
    return Result((), {name.removeprefix(prefix): networks.tensors[name] for name in names})
