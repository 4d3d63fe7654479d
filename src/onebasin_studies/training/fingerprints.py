"""Fingerprints: what tells one training from another, so that no folder mixes two."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor, nn

from onebasin.data.dataset import Dataset
from onebasin.data.examples import Examples, Pixels

MOST_BYTES = 2**26
"""Of the inputs of a split that are hashed: all of MNIST, a third of CIFAR-10."""
MOST_ENTRIES = 2**16


def network_fingerprint(network: nn.Module) -> str:
    """Return a hash of an architecture: how it prints, and what its tensors are like."""
    trained = {name for name, param in network.named_parameters() if param.requires_grad}
    specs = [
        f"{name} {tuple(tensor.shape)} {tensor.dtype} {name in trained}"
        for name, tensor in network.state_dict().items()
    ]
    return _hash("\n".join([str(network), *specs]).encode())


def weights_fingerprint(network: nn.Module) -> str:
    """Return a hash of the values of a network, such as those that a seed gives.

    Values that differ by rounding, as on another machine, have the same one, but for the rare
    digit that stands on the edge.
    """
    rows = [f"{name} {_summary(tensor)}" for name, tensor in network.state_dict().items()]
    return _hash("\n".join(rows).encode())


def data_fingerprint(data: Dataset) -> dict[str, Any]:
    """Return name and sizes of a dataset, and hashes of its labels and of inputs all over it."""
    return {
        "name": data.name,
        "classes": data.num_classes,
        "train": list(data.train_examples.shape),
        "test": list(data.test_examples.shape),
        "train_hash": _split_hash(data.train_examples, data.train_labels),
        "test_hash": _split_hash(data.test_examples, data.test_labels),
    }


def _split_hash(examples: Examples, labels: Tensor) -> str:
    raw = examples if isinstance(examples, Tensor) else examples.raw
    kept = f"{type(examples).__name__} {raw.dtype}"
    if isinstance(examples, Pixels):
        kept += f" {examples.mean} {examples.deviation}"
    size = raw[:1].numel() * raw.element_size() * len(raw)
    sample = raw[:: max(1, -(-size // MOST_BYTES))]
    return _hash(kept.encode(), _bytes(labels), _bytes(sample))


def _summary(tensor: Tensor) -> str:
    """Return the length of a tensor, and how much of it lies along a wave, in a few digits."""
    flat = tensor.detach().cpu().flatten()
    flat = flat[:: max(1, -(-len(flat) // MOST_ENTRIES))].double()
    norm = float(flat.norm())
    along = float(flat @ torch.arange(len(flat), dtype=torch.float64).cos())
    # Plus 0.0, because -0.0 prints with its sign.
    return f"{norm:.3e} {round(along / norm, 3) + 0.0 if norm else 0.0}"


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def _hash(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:16]
