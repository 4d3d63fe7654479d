"""Global random states that a model's forward pass may draw from."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn


@contextmanager
def random_state_kept(model: nn.Module) -> Iterator[None]:
    """Restore the random states of PyTorch, NumPy and Python at the end of a block.

    Args:
        model: the model that runs in the block; the generators of its devices are restored.
    """
    tensors = [*model.parameters(), *model.buffers()]
    cuda = sorted({tensor.device.index for tensor in tensors if tensor.device.type == "cuda"})
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices=cuda):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
