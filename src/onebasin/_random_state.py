"""Global random states that a model's forward pass may draw from."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from onebasin._modules import named_tensors


@contextmanager
def random_state_kept(model: nn.Module) -> Iterator[None]:
    """Restore the random states of PyTorch, NumPy and Python at the end of a block.

    Args:
        model: the model that runs in the block; the generators of its devices are restored.
    """
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices=cuda_devices(model)):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


def cuda_devices(model: nn.Module) -> list[int]:
    """Return the indices of the CUDA devices that hold parameters or buffers of a model."""
    devices = {tensor.device for _, tensor in named_tensors(model, all_names=False)}
    return sorted(device.index for device in devices if device.type == "cuda")
