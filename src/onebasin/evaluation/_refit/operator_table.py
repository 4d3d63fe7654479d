"""The operators that can be refit: their arguments, and their regressions."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import torch

from onebasin.evaluation._refit.operators import (
    Batched,
    Convolution,
    Dense,
    Embedding,
    Operator,
    Scale,
)

DENSE = {
    "linear": ("input", "weight", "bias", False),
    "addmm": ("mat1", "mat2", "self", True),
    "matmul": ("self", "other", None, True),
    "mm": ("self", "mat2", None, True),
}
"""Arguments of the rows, the weight and the bias, and whether the weight is `(in, out)`."""

CONVOLUTIONS = {
    "conv1d": 1, "conv2d": 2, "conv3d": 3,
    "conv_transpose1d": 1, "conv_transpose2d": 2, "conv_transpose3d": 3,
}  # fmt: skip
"""Number of dimensions of each kind of convolution."""

BATCHED = {"bmm": ("self", "mat2", None), "baddbmm": ("batch1", "batch2", "self")}
"""Arguments of the rows, the weights and the biases of batches of products."""

UNSUPPORTED = {
    "einsum", "bilinear", "mv", "dot", "lstm", "gru", "rnn_tanh", "rnn_relu",
}  # fmt: skip
"""Operators that multiply by parameters and are not refit."""

NORMS = {"layer_norm", "rms_norm", "group_norm", "instance_norm", "batch_norm"}
"""Norms with a scale for each unit."""


def num_inputs_of(operator: str, shape: torch.Size, given: Mapping[str, Any]) -> int:
    """Return the number of inputs of each output of a layer."""
    if operator in DENSE:
        return shape[0] if DENSE[operator][3] else shape[1]
    if operator in BATCHED:
        return shape[1]
    if operator not in CONVOLUTIONS:
        return 1
    channels = shape[0] // given["groups"] if "transpose" in operator else shape[1]
    return channels * prod(shape[2:])


def tensor_arguments(operator: str) -> tuple[str, str, str | None] | None:
    """Return the names of the arguments with the features, the weight and the bias."""
    if operator in DENSE:
        source, weight, bias, _ = DENSE[operator]
        return source, weight, bias
    if operator in CONVOLUTIONS or operator in NORMS:
        return "input", "weight", "bias"
    if operator in BATCHED:
        return BATCHED[operator]
    if operator == "embedding":
        return "indices", "weight", None
    return None


def regression_of(name: str, given: Mapping[str, Any]) -> Operator:
    """Return the regression of a layer.

    Args:
        name: operator of its node.
        given: arguments of the node by name.
    """
    if name in DENSE:
        source, _, _, is_transposed = DENSE[name]
        return Dense(source, is_transposed)
    if name in CONVOLUTIONS:
        kernel = tuple(given["weight"].shape[2:])
        return Convolution(kernel, int(given["groups"]), "transpose" in name)
    if name in BATCHED:
        return Batched(BATCHED[name][0])
    if name == "embedding":
        return Embedding()
    if name in ("layer_norm", "rms_norm"):
        dims = len(given["normalized_shape"])
        return Scale("input", tuple(range(-dims, 0)))
    return Scale("input", (1,))
