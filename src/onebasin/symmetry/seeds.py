"""Seeds: one generator per name, so that no draw depends on the order of a mapping."""

from __future__ import annotations

import hashlib

import torch


def generator_for(seed: int, name: str) -> torch.Generator:
    """Return a CPU generator whose stream depends on the seed and the name only."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def spawned(seed: int, name: str) -> int:
    """Return a seed of its own for a part of what a seed is for, such as one of its starts."""
    return generator_for(seed, name).initial_seed()
