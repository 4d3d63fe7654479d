"""Values of buffers that a symmetry depends on.

A buffer of whole numbers that is used as an index decides which units meet. A symmetry that
was inferred with its values holds only for checkpoints that have the same values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

from onebasin._checks import check_tensor
from onebasin.errors import OneBasinError


def digest(values: Tensor) -> str:
    """Return the SHA-256 of the shape and the values of a tensor of whole numbers.

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
        place: the call and what the parameters are, for the message.
        expected: digests by the names of buffers, from `Symmetry.buffer_values`.
        params: tensors by name; missing ones and those on the meta device are not checked.

    Raises:
        OneBasinError: naming the first buffer that is not a tensor or has other values.
    """
    for name, wanted in expected.items():
        if name not in params:
            continue
        check_tensor(f"{place}: buffer {name!r}", params[name])
        if not params[name].is_meta and digest(params[name]) != wanted:
            raise OneBasinError(
                f"{place}: buffer {name!r} has other values than in the model that was traced, and"
                " the symmetry depends on them; use networks with the same buffer, and trace the"
                " model with its values"
            )
