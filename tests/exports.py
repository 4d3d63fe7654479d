"""Graphs of equal models are exported once: an export takes most of the time of a small test."""

from __future__ import annotations

import functools
import hashlib
import io
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from onebasin.symmetry._inference import inference

STEPS = ("export_model", "graphs_at_other_shapes")
"""The slow steps of inference, which are functions of a model and its inputs alone."""

KEPT = 500
"""Results to keep at most; a graph takes up to a megabyte."""


class ContentPickler(pickle.Pickler):
    """Pickles modules so that equal ones give equal bytes, with the values of all tensors."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=5)
        self.storages: dict[int, int] = {}

    def persistent_id(self, obj: Any) -> Any:
        if not isinstance(obj, Tensor):
            return None
        storage = obj.untyped_storage()._cdata
        number = self.storages.setdefault(storage, len(self.storages))
        meta = str(type(obj)), str(obj.dtype), str(obj.device), obj.requires_grad
        place = number, obj.storage_offset(), tuple(obj.shape), obj.stride()
        return (*meta, *place, None if obj.is_meta else _digest(obj))


def _digest(tensor: Tensor) -> bytes:
    values = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return hashlib.sha256(values.numpy()).digest()


def content_of(*values: Any) -> bytes | None:
    """Return a digest of models and their inputs, or None where one cannot be pickled.

    Classes and functions count by their names, so those that a test defines have none.
    """
    file = io.BytesIO()
    try:
        ContentPickler(file).dump(values)
    except (pickle.PicklingError, AttributeError, TypeError, RuntimeError, NotImplementedError):
        return None
    return hashlib.sha256(file.getvalue()).digest()


def computed_once(step: Callable[..., Any], results: dict[bytes, Any]) -> Callable[..., Any]:
    """Return a step of inference that takes the result for an equal model and equal inputs."""

    @functools.wraps(step)
    def compute(*arguments: Any) -> Any:
        key = content_of(step.__name__, torch.get_default_dtype(), arguments)
        if key is None:
            return step(*arguments)
        if key not in results:
            if len(results) >= KEPT:
                results.clear()
            results[key] = step(*arguments)
        return results[key]

    return compute


@contextmanager
def exports_shared(results: dict[bytes, Any]) -> Iterator[None]:
    """Export equal models once while the block runs."""
    with pytest.MonkeyPatch.context() as patch:
        for name in STEPS:
            patch.setattr(inference, name, computed_once(getattr(inference, name), results))
        yield
