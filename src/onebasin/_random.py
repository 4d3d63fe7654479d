"""Random numbers, and the global random states of PyTorch, NumPy and Python.

A generator depends on a seed and a name only: not on the order of a mapping, on other networks,
or on an earlier draw.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor, nn

from onebasin._checks import named_tensors
from onebasin.errors import ArgumentError, check_whole, listed

LEAST_SEED, MOST_SEED = -(2**63), 2**64 - 1
"""Range of seeds of torch."""


def generator_for(seed: int, name: str) -> torch.Generator:
    """Return a CPU generator whose stream depends on the seed and the name only."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def derive_seed(seed: int, name: str) -> int:
    """Return a separate seed for a named part of the work, such as a restart."""
    return generator_for(seed, name).initial_seed()


def check_seed(seed: Any, name: str = "seed") -> int:
    """Return a seed as a Python integer.

    Args:
        seed: the argument.
        name: name of the argument.

    Raises:
        OneBasinError: the seed is not an integer in the range of torch.
    """
    return check_whole(name, seed, least=LEAST_SEED, most=MOST_SEED)


def check_seeds(seeds: Any) -> list[int]:
    """Return seeds as a list of Python integers.

    Args:
        seeds: the argument.

    Raises:
        OneBasinError: the argument is not a list, is empty, or has a repeated or invalid
            seed.
    """
    numbers = [check_seed(seed, "a seed") for seed in listed("seeds", seeds)]
    if not numbers:
        raise ArgumentError("seeds is empty; pass at least one")
    if len(set(numbers)) < len(numbers):
        raise ArgumentError(f"seeds {numbers} are not distinct; pass each once")
    return numbers


def wrapped(number: int) -> int:
    """Return a number in the range of seeds of torch, modulo 2⁶⁴ if needed."""
    return number if LEAST_SEED <= number <= MOST_SEED else number % 2**64


@contextmanager
def forked() -> Iterator[None]:
    """Restore the global generators of torch at the end of a block."""
    in_use = torch.cuda.is_initialized()
    with torch.random.fork_rng(devices=range(torch.cuda.device_count()) if in_use else []):
        yield


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global generators of torch in a block, and restore them at its end."""
    with forked():
        torch.manual_seed(seed)
        yield


def generator_of(
    seed: int, purpose: str, epoch: int, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Return the generator of a network for one purpose in one epoch.

    Args:
        seed: random seed of the network.
        purpose: name of the use.
        epoch: index of the epoch, from 0.
        device: device of the generator.
    """
    return torch.Generator(device).manual_seed(derive_seed(seed, f"{purpose}:{epoch}"))


def order_of(seed: int, epoch: int, num_examples: int) -> Int64[Tensor, " {num_examples}"]:
    """Return the order of the examples of a network in an epoch."""
    return torch.randperm(num_examples, generator=generator_of(seed, "order", epoch))


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
