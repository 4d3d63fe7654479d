"""Buffer values that a symmetry depends on.

An integer buffer that is used as an index determines which units interact. A symmetry
inferred with its values holds only for checkpoints with the same values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

from onebasin._checks import check_tensor
from onebasin.errors import ArgumentError


def digest(values: Tensor) -> str:
    """Return the SHA-256 of the shape and the values of an integer tensor.

    Example:
        >>> digest(torch.tensor([1, 2])) == digest(torch.tensor([1, 2], dtype=torch.int32))
        True
    """
    content = values.detach().to("cpu", torch.int64).contiguous().numpy().tobytes()
    return hashlib.sha256(f"{tuple(values.shape)}".encode() + content).hexdigest()


def check_buffer_values(
    place: str, expected: Mapping[str, str], params: Mapping[str, Tensor]
) -> None:
    """Check that parameters have the buffer values that a symmetry depends on.

    Args:
        place: name of the checked argument, for the message.
        expected: digests by the names of buffers, from `Symmetry.buffer_values`.
        params: tensors by name; missing ones and those on the meta device are not checked.

    Raises:
        OneBasinError: naming the first buffer that is not a tensor or has different values.
    """
    for name, wanted in expected.items():
        if name not in params:
            continue
        check_tensor(f"{place}: buffer {name!r}", params[name])
        if not params[name].is_meta and digest(params[name]) != wanted:
            raise ArgumentError(
                f"{place}: buffer {name!r} differs from the model whose symmetry was inferred, and"
                " the symmetry depends on it; use networks with equal buffers, or infer the"
                " symmetry with these values"
            )
