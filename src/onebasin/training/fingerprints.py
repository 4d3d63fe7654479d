"""Fingerprints: what tells one training from another, so that no folder mixes two."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor, nn

from onebasin.training.datasets.dataset import Dataset

SAMPLE = 256


def network_fingerprint(network: nn.Module) -> str:
    """Return a hash of an architecture: how it prints, and its tensors' shapes and dtypes."""
    specs = [
        f"{name} {tuple(tensor.shape)} {tensor.dtype}"
        for name, tensor in network.state_dict().items()
    ]
    return _hash("\n".join([str(network), *specs]).encode())


def data_fingerprint(data: Dataset) -> dict[str, Any]:
    """Return name and sizes of a dataset, and a hash of its labels and some of its inputs."""
    return {
        "name": data.name,
        "train": list(data.train_examples.shape),
        "test": list(data.test_examples.shape),
        "hash": _hash(*map(_bytes, (data.train_labels, data.train_examples[:SAMPLE]))),
    }


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def _hash(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:16]
