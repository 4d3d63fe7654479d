"""Data in enough batches to hold some out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from onebasin.errors import OneBasinError
from onebasin.evaluation._refit.held_out import HELD_OUT
from onebasin.graph.batches import (
    Batches,
    as_reiterable,
    inputs_of,
    is_empty,
    output_of,
    run_model,
    shuffled,
)
from onebasin.graph.binding import FunctionalModel


def in_pieces(data: Iterable[Any], model: nn.Module, number: int = HELD_OUT) -> Iterable[Any]:
    """Return data in enough batches to hold some out, with examples of `Batches` shuffled.

    Args:
        data: batches that can be read again.
        model: the architecture; batches are only divided if its outputs are those of the parts.
        number: number of batches that are enough.
    """
    if isinstance(data, Batches):
        size = min(data.batch_size, max(2, ceil(len(data.inputs) / number)))
        return shuffled(replace(data, batch_size=size))
    if len(list(islice(as_reiterable(data), number))) == number:
        return data
    pieces = (
        each for batch in data if not is_empty(batch) for each in _pieces(batch, model, number)
    )
    return [(piece, None) for piece in pieces]


def _pieces(batch: Any, model: nn.Module, number: int) -> Iterator[Any]:
    """Yield the inputs of a batch in parts of its examples; whole if it is small."""
    inputs = inputs_of(batch)
    leaves, structure = pytree.tree_flatten(inputs)
    sizes = {len(leaf) for leaf in leaves if isinstance(leaf, Tensor) and leaf.dim()}
    if len(sizes) != 1 or min(sizes) < 2 * number:
        yield inputs
        return
    parts = (
        leaf.tensor_split(number) if isinstance(leaf, Tensor) and leaf.dim() else [leaf] * number
        for leaf in leaves
    )
    pieces = [pytree.tree_unflatten(part, structure) for part in zip(*parts, strict=True)]
    yield from pieces if _is_divisible(model, inputs, pieces) else [inputs]


def _is_divisible(model: nn.Module, whole: Any, parts: Sequence[Any]) -> bool:
    """Return whether the outputs of the parts of a batch are those of the whole batch.

    They are not if an input without a batch dimension, such as a table, has the batch's length.
    """
    network = FunctionalModel(model, model.state_dict())
    try:
        with torch.no_grad():
            expected, *outputs = (output_of(run_model(network, each)) for each in (whole, *parts))
            together = torch.cat(outputs)
    except (OneBasinError, RuntimeError, IndexError, ValueError, TypeError):
        return False
    tolerance = 1e-3 * float(expected.double().abs().max())
    return together.shape == expected.shape and torch.allclose(
        together, expected, rtol=0, atol=tolerance
    )
