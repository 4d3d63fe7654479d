"""Bundles: several networks in one result."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from onebasin.errors import OneBasinError
from onebasin_studies.runtime.task import Result


def bundle(networks: Mapping[int, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the tensors of several networks under `NUMBER/NAME`."""
    return {
        f"{number}/{name}": tensor
        for number, params in networks.items()
        for name, tensor in params.items()
    }


def select_network(*, networks: Result, number: int) -> Result:
    """Return one network of a result that holds several; see `bundle`.

    Args:
        networks: the result.
        number: number of the network.

    Returns:
        The parameters of the network.

    Raises:
        OneBasinError: if the number does not exist; the message lists the existing ones.
    """
    prefix = f"{number}/"
    names = [name for name in networks.tensors if name.startswith(prefix)]
    if not names:
        known = sorted({int(name.partition("/")[0]) for name in networks.tensors})
        raise OneBasinError(f"select_network: unknown network {number}; known are {known}")
    return Result((), {name.removeprefix(prefix): networks.tensors[name] for name in names})
