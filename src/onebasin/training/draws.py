"""Draws: every random choice of training, from generators of a seed and an epoch alone.

No generator lives longer than an epoch. So what a network draws depends neither on the
networks beside it nor on where a training that was killed goes on.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def generator_of(
    seed: int, purpose: str, epoch: int, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Return the generator of a network for one purpose in one epoch.

    Args:
        seed: of the network.
        purpose: what is drawn.
        epoch: from 0.
        device: where the numbers are drawn.
    """
    digest = hashlib.sha256(f"{seed}:{purpose}:{epoch}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:7], "big"))


def order_of(seed: int, epoch: int, num_examples: int) -> Tensor:
    """Return the order in which a network meets the examples in an epoch, int64 `(n,)`."""
    return torch.randperm(num_examples, generator=generator_of(seed, "order", epoch))
