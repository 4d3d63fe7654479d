"""Fingerprints that distinguish trainings, so that a folder never mixes two of them."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor, nn

from onebasin.data.dataset import Dataset
from onebasin.data.examples import Examples, Pixels

MOST_BYTES = 2**26
"""Maximum number of hashed input bytes per split: all of MNIST, a third of CIFAR-10."""
MOST_ENTRIES = 2**16


def network_fingerprint(network: nn.Module) -> str:
    """Return a hash of an architecture: its `repr` and the shapes and dtypes of its tensors."""
    trained = {name for name, param in network.named_parameters() if param.requires_grad}
    specs = [
        f"{name} {tuple(tensor.shape)} {tensor.dtype} {name in trained}"
        for name, tensor in network.state_dict().items()
    ]
    return _hash("\n".join([str(network), *specs]).encode())


def weights_fingerprint(network: nn.Module) -> str:
    """Return a hash of the values of a network, such as those of a seed.

    Values that differ only by rounding, as between machines, almost always give the same hash.
    """
    rows = [f"{name} {_summary(tensor)}" for name, tensor in network.state_dict().items()]
    return _hash("\n".join(rows).encode())


def data_fingerprint(data: Dataset) -> dict[str, Any]:
    """Return the name and sizes of a dataset with hashes of its labels and of sampled inputs."""
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
        kept += f" {examples.mean} {examples.std}"
    size = raw[:1].nbytes * len(raw)
    sample = raw[:: max(1, -(-size // MOST_BYTES))]
    return _hash(kept.encode(), _bytes(labels), _bytes(sample))


def _summary(tensor: Tensor) -> str:
    """Return the length of a tensor and its projection on a wave, rounded to a few digits."""
    flat = tensor.detach().cpu().flatten()
    flat = flat[:: max(1, -(-len(flat) // MOST_ENTRIES))].double()
    norm = float(flat.norm())
    along = float(flat @ torch.arange(len(flat), dtype=torch.float64).cos())
    # Adding 0.0 turns -0.0 into 0.0, which prints without a sign.
    return f"{norm:.3e} {round(along / norm, 3) + 0.0 if norm else 0.0}"


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def _hash(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:16]
