"""Reading and validation of the stored files of a training.

Errors name the file, so that the user can delete it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

from safetensors import SafetensorError, safe_open
from torch import Tensor

from onebasin._text import one_line
from onebasin.errors import OneBasinError
from onebasin_studies.training.engines import EngineName
from onebasin_studies.training.trained import EpochRow, Status, TrainedNetwork, rows_from_json

Metadata = dict[str, str]
Shapes = Mapping[str, tuple[int, ...]]


def read_header(file: Path) -> Metadata:
    """Return the metadata of a file without reading its tensors.

    Raises:
        OneBasinError: if the file cannot be read.
    """
    with reading(file), safe_open(file, framework="pt") as opened:
        return opened.metadata() or {}


def read_tensors(file: Path) -> tuple[dict[str, Tensor], Metadata]:
    """Return the tensors and the metadata of a file.

    Raises:
        OneBasinError: if the file cannot be read.
    """
    with reading(file), safe_open(file, framework="pt") as opened:
        tensors = {key: opened.get_tensor(key) for key in opened.keys()}
        return tensors, opened.metadata() or {}


def read_trained(
    file: Path, history: Path, seed: int, like: Mapping[str, Tensor]
) -> TrainedNetwork:
    """Return a finished network.

    Args:
        file: the file of its tensors.
        history: a file with one JSON line per epoch.
        seed: expected seed of the network.
        like: tensors with the expected names, shapes and dtypes.

    Raises:
        OneBasinError: if a file cannot be read, or has unexpected contents.
    """
    tensors, metadata = read_tensors(file)
    with reading(file):
        status: Any = metadata["status"]
        engine: Any = metadata["engine"]
        reason = metadata["reason"]
        _expect(status in get_args(Status), f"its status is {status!r}")
        _expect(engine in get_args(EngineName), f"its engine is {engine!r}")
        epochs = int(metadata["epochs"])
        _expect(metadata["seed"] == str(seed), f"its seed is {metadata['seed']}")
        check_tensors(tensors, {name: tuple(each.shape) for name, each in like.items()})
        for name, tensor in like.items():
            _expect(tensors[name].dtype == tensor.dtype, f"{name!r} is {tensors[name].dtype}")
    with reading(history):
        lines = history.read_text("utf-8").splitlines()
        rows = checked_rows([json.loads(line) for line in lines], seed, epochs)
    return TrainedNetwork(seed, tensors, rows, status, engine, reason)


def checked_rows(rows: Any, seed: int, epochs: int) -> tuple[EpochRow, ...]:
    """Return the validated history of a network, one row per epoch; call it inside `reading`."""
    are_rows = isinstance(rows, list) and all(isinstance(row, dict) for row in rows)
    _expect(are_rows, "its history has no rows")
    history = rows_from_json(rows)
    numbers = [(row.seed, row.epoch) for row in history]
    expected = [(seed, epoch) for epoch in range(1, epochs + 1)]
    _expect(numbers == expected, f"it has no {epochs} epochs of seed {seed}")
    return history


def check_tensors(tensors: Mapping[str, Tensor], shapes: Shapes) -> None:
    """Check the names and shapes of tensors; call it inside `reading`."""
    for name in [*shapes, *(name for name in tensors if name not in shapes)]:
        _expect(name in tensors, f"tensor {name!r} is missing")
        _expect(name in shapes, f"tensor {name!r} is not of the network")
        shape, expected = tuple(tensors[name].shape), shapes[name]
        _expect(shape == expected, f"tensor {name!r} is {shape}, not {expected}")


@contextmanager
def reading(file: Path) -> Iterator[None]:
    """Convert errors in a block into errors that name the file."""
    try:
        yield
    except OneBasinError:
        raise
    except KeyError as error:
        raise _broken(file, f"its metadata or rows have no {error}") from error
    except _Unexpected as error:
        raise _broken(file, str(error)) from error
    except (
        SafetensorError,
        OSError,
        ValueError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        raise _broken(file, one_line(error)) from error


class _Unexpected(Exception):
    """Raised for contents that `train` never writes."""


def _expect(is_met: bool, otherwise: str) -> None:
    if not is_met:
        raise _Unexpected(otherwise)


def _broken(file: Path, why: str) -> OneBasinError:
    return OneBasinError(f"{file}: cannot be read ({why}); delete it to train that part again")
