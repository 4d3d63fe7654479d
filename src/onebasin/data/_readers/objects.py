"""Data of Python objects: loaders, torch datasets, arrays, and callables that return them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils import _pytree as pytree

from onebasin._checks import described
from onebasin._text import one_line, some_names
from onebasin.checkpoints._sources.callables import find_callable, importable_folder
from onebasin.data._example_splits import AnySplit, LoaderSplit
from onebasin.data._normalization import MeanAndStd
from onebasin.data._read_options import ReadOptions
from onebasin.data._readers.arrays import data_of_arrays, data_of_splits
from onebasin.data._sources import SPLIT_NAMES
from onebasin.data.data import Data
from onebasin.errors import ArgumentError, OneBasinError


def read_callable(spec: str, options: ReadOptions) -> Data:
    """Return the data of a callable, or of another object with an import path.

    Args:
        spec: `package.module:callable`; the working folder is importable.
        options: only `normalize` has an effect, on arrays.

    Raises:
        OneBasinError: the callable cannot be imported, fails, or returns something else.
    """
    options.check_unused("a callable", "image_size", "label_column", "tokenizer", "context")
    value = find_callable(spec)
    if callable(value):
        try:
            with importable_folder():
                value = value()
        except OneBasinError:
            raise
        # The code of users may raise anything.
        except Exception as error:
            raise ArgumentError(
                f"calling {spec} failed ({one_line(error)}); correct the callable, which "
                "takes no arguments"
            ) from error
    return data_of(spec, value, options.normalization)


BATCH_SIZE = 256
MAX_ITERATOR_BYTES = 4 << 30
"""Largest size of the batches of an iterator, which can be read only once."""
FORMS = (
    "a DataLoader, a list of batches, a torch Dataset, arrays (inputs, labels), a dict of arrays, "
    "or a (train, test) pair of these"
)


def data_of(name: str, value: Any, normalization: MeanAndStd | None = None) -> Data:
    """Return a Python object as data.

    Args:
        name: name for messages and reports.
        value: a `Data` or `Dataset` of onebasin, or one of `FORMS`.
        normalization: normalization of arrays; a loader normalizes its batches itself.

    Raises:
        OneBasinError: the object has another type.
    """
    if isinstance(value, Data):
        return value
    train, test = _pair(name, value)
    sides = {"train": train} if test is None else {"train": train, "test": test}
    if all(map(_is_arrays, sides.values())):
        if isinstance(train, Mapping):
            arrays = {f"{key}_{s}": v for s, side in sides.items() for key, v in side.items()}
            return data_of_arrays(name, arrays if test is not None else train, normalization)
        return data_of_splits(
            name, {split: _inputs_and_labels(name, side) for split, side in sides.items()},
            normalization,
        )  # fmt: skip
    if normalization is not None:
        raise ArgumentError(
            f"normalize= has no effect on the batches of {name}; normalize them in the loader"
        )
    splits = {split: _loader(name, side) for split, side in sides.items()}
    return _with_labels(name, splits["train"], splits.get("test"))


def _with_labels(name: str, train: AnySplit, test: AnySplit | None) -> Data:
    task = "classification" if train.has_labels else None
    return Data(name, train, test, task)


def _pair(name: str, value: Any) -> tuple[Any, Any]:
    """Return the two splits of a pair, or the value and None."""
    if isinstance(value, Mapping) and any(key in value for key in SPLIT_NAMES["train"]):
        known = [key for names in SPLIT_NAMES.values() for key in names]
        unknown = [str(key) for key in value if key not in known]
        if unknown:
            raise ArgumentError(
                f"{name} has the keys {some_names(map(str, value))}; give train and test "
                f"only, without {unknown[0]!r}"
            )
        train, test = (
            next((value[key] for key in names if key in value), None)
            for names in SPLIT_NAMES.values()
        )
        return train, test
    if not isinstance(value, tuple) or len(value) != 2 or _is_array(value[0]):
        return value, None
    first, second = value[0], value[1]
    if second is None or (isinstance(first, Mapping | tuple) and _is_array(second)):
        return (first, None) if second is None else (value, None)
    return first, second


def _is_array(value: Any) -> bool:
    return isinstance(value, Tensor | np.ndarray)


def _is_arrays(value: Any) -> bool:
    """Return whether a value is an array, or a tuple or mapping of arrays."""
    if isinstance(value, Mapping):
        return bool(value) and all(map(_is_array, value.values()))
    if isinstance(value, tuple):
        return bool(value) and all(_is_array(part) or _is_arrays(part) for part in value)
    return _is_array(value)


def _inputs_and_labels(name: str, value: Any) -> tuple[Any, Any]:
    """Return the inputs and the labels (or None) of arrays."""
    if isinstance(value, Mapping):
        labels = next((key for key in ("labels", "label", "y") if key in value), None)
        return {k: v for k, v in value.items() if k != labels}, value.get(labels)
    if not isinstance(value, tuple):
        return value, None
    if len(value) > 2:
        raise ArgumentError(
            f"{name} is a tuple of {len(value)} arrays; give (inputs, labels), where inputs "
            "may be a tuple of arrays"
        )
    inputs, labels = value if len(value) == 2 else (*value, None)
    return inputs, labels


def _loader(name: str, value: Any) -> LoaderSplit:
    """Return a loader as a split; torch datasets get a DataLoader."""
    from torch.utils.data import DataLoader, Dataset

    _check_lists(name, value)
    if _is_arrays(value):
        split = data_of_splits(name, {"train": _inputs_and_labels(name, value)}).train
        return LoaderSplit(split.batches(), name)
    is_plain = isinstance(value, list | tuple | str | bytes | Mapping | DataLoader)
    is_map = hasattr(value, "__getitem__") and hasattr(value, "__len__")
    if is_map and not len(value):
        raise ArgumentError(f"{name} has no examples; give at least one")
    if isinstance(value, Dataset) or (is_map and not is_plain):
        return LoaderSplit(DataLoader(value, batch_size=BATCH_SIZE), name)
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise ArgumentError(f"{name} is {described(value)}; give {FORMS}")
    return LoaderSplit(_read_all(name, value) if isinstance(value, Iterator) else value, name)


def _check_lists(name: str, value: Any) -> None:
    """Check that the labels of an array of inputs are an array, too."""
    if isinstance(value, tuple) and len(value) == 2 and _is_array(value[0]):
        labels = value[1]
        if isinstance(labels, list) and labels and isinstance(labels[0], int | float | str):
            raise ArgumentError(
                f"the labels of {name} are a list; pass a tensor or an array, such as "
                "torch.tensor(labels)"
            )


def _read_all(name: str, batches: Iterator[Any]) -> list[Any]:
    """Return the batches of an iterator as a list, up to a size."""
    batch_list, size = [], 0
    try:
        for batch in batches:
            batch_list.append(batch)
            leaves = pytree.tree_leaves(batch)
            size += sum(leaf.nbytes for leaf in leaves if _is_array(leaf))
            if size > MAX_ITERATOR_BYTES:
                raise ArgumentError(
                    f"{name} is an iterator of more than {MAX_ITERATOR_BYTES >> 30} GB, "
                    "which can be read only once; give a DataLoader"
                )
    except OneBasinError:
        raise
    # The code of users may raise anything.
    except Exception as error:
        raise ArgumentError(
            f"reading a batch of {name} failed ({one_line(error)}); correct the loader"
        ) from error
    return batch_list
