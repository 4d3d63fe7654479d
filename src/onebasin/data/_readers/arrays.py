"""Data of arrays by name or position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from onebasin._checks import LABEL_KEYS
from onebasin._text import counted, some_names
from onebasin.data._decoding import MAX_CLASSES
from onebasin.data._example_splits import ArraySplit
from onebasin.data._normalization import NONE, MeanAndStd, describe
from onebasin.data._sources import SPLIT_NAMES
from onebasin.data.data import Data
from onebasin.data.examples import Fields, Pixels
from onebasin.errors import ArgumentError
from onebasin.graph.batches import Inputs

INPUTS = ("x", "inputs", "images", "image", "data", "features", "arr_0")
LABELS = ("y", "labels", "label", "targets", "target", "classes", "arr_1")


def data_of_arrays(
    name: str, arrays: Mapping[str, Any], normalization: MeanAndStd | None = None
) -> Data:
    """Return data of arrays by name, such as `x` and `y`, or `x_train`, `y_train` and so on.

    Without names of training arrays, arrays without a split are the training examples.

    Args:
        name: name for messages and reports.
        arrays: arrays or tensors by name. Without a name of inputs, all but `labels` are
            keyword arguments of the model.
        normalization: normalization of images; None keeps floating-point values and scales
            bytes to 0 to 1.

    Raises:
        OneBasinError: names or shapes do not fit together.
    """
    splits = {}
    for split, words in SPLIT_NAMES.items():
        named = {_stem(key, words): value for key, value in arrays.items() if _has(key, words)}
        if named:
            splits[split] = named
    if "train" not in splits:
        words = [word for names in SPLIT_NAMES.values() for word in names]
        train = {key: value for key, value in arrays.items() if not _has(key, words)}
        if not train:
            raise ArgumentError(
                f"{name} has {some_names(arrays)}, but no training examples; pass "
                "x and y, or x_train and y_train"
            )
        splits = {"train": train, **splits}
    return data_of_splits(
        name, {split: _pick(name, named) for split, named in splits.items()}, normalization
    )


def data_of_splits(
    name: str,
    splits: Mapping[str, tuple[Any, Any]],
    normalization: MeanAndStd | None = None,
) -> Data:
    """Return data of `(inputs, labels)` for "train" and, if there is one, "test".

    Args:
        name: name for messages and reports.
        splits: inputs are an array, or a tuple or mapping of arrays; labels may be None.
        normalization: see `data_of_arrays`.
    """
    labels = {split: given for split, (_, given) in splits.items() if given is not None}
    classes, class_names = classes_of(name, labels)
    parts = {
        split: ArraySplit(to_inputs(name, inputs, normalization), classes.get(split))
        for split, (inputs, _) in splits.items()
    }
    train, normalization_text = (
        parts["train"],
        train_normalization(parts["train"].inputs, normalization),
    )
    flat = [labels for labels in classes.values() if labels.ndim == 1]
    number = len(class_names) or (1 + max(int(labels.max()) for labels in flat) if flat else None)
    task = "classification" if train.has_labels else None
    return Data(name, train, parts.get("test"), task, number, normalization_text, class_names)


def train_normalization(inputs: Inputs, given: MeanAndStd | None) -> str | None:
    """Return the normalization of arrays in words."""
    if isinstance(inputs, Pixels):
        return describe(inputs.mean, inputs.std)
    return None if given is None else describe(*given)


def to_inputs(name: str, given: Any, normalization: MeanAndStd | None) -> Inputs:
    """Return the inputs of a model.

    Args:
        name: name of the data, for messages.
        given: an array, or a tuple or mapping of arrays.
        normalization: see `data_of_arrays`.
    """
    if isinstance(given, Mapping):
        return Fields({key: to_tensor(name, value) for key, value in given.items()})
    if isinstance(given, tuple | list):
        return Fields(tuple(to_tensor(name, value) for value in given))
    tensor = to_tensor(name, given)
    if tensor.dtype == torch.uint8 and tensor.ndim in (3, 4):
        pixels, (mean, std) = _channels_first(tensor), normalization or NONE
        channels = pixels.shape[1]
        mean, std = (v if len(v) == channels else v * channels for v in (mean, std))
        return Pixels(pixels, mean, std)
    if normalization is None:
        return tensor.float() if tensor.dtype == torch.uint8 else tensor
    return _normalized(name, tensor, normalization)


def to_tensor(name: str, value: Any) -> Tensor:
    """Return an array as a tensor; float64 becomes float32 when a model is run.

    Raises:
        OneBasinError: the array does not hold numbers, or is a scalar.
    """
    if not isinstance(value, Tensor):
        array = np.asarray(value)
        if array.dtype.kind not in "biuf":
            raise ArgumentError(f"{name} has an array of {array.dtype}; inputs must be numbers")
        if array.dtype.kind == "u" and array.dtype.itemsize > 1:
            array = array.astype(np.int64)
        native = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="), copy=False))
        value = torch.as_tensor(native if native.flags.writeable else native.copy())
    if not value.ndim:
        raise ArgumentError(f"{name} has a single number; give one row for each example")
    if value.is_floating_point() and not bool(torch.isfinite(value).all()):
        raise ArgumentError(f"{name} has NaN or Inf among its inputs; remove these rows")
    return value.detach()


def _pick(name: str, arrays: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return the inputs and labels among arrays by name."""
    lower = {key.lower(): key for key in arrays}
    label = next((lower[word] for word in LABELS if word in lower), None)
    inputs = next((lower[word] for word in INPUTS if word in lower), None)
    given_labels = None if label is None else arrays[label]
    if inputs is not None and len(arrays) - (label is not None) == 1:
        return arrays[inputs], given_labels
    rest = {key: value for key, value in arrays.items() if key != label}
    if len(rest) == 1 and label is not None and label not in LABEL_KEYS:
        return next(iter(rest.values())), given_labels
    if not rest:
        raise ArgumentError(
            f"{name} has {some_names(arrays)}, but no inputs; name them x or images"
        )
    return rest, given_labels


def _has(key: str, words: Sequence[str]) -> bool:
    return any(part in words for part in key.lower().replace(".", "_").split("_"))


def _stem(key: str, words: tuple[str, ...]) -> str:
    """Return the name of an array without its split: `x_train` and `train_x` are `x`."""
    parts = key.lower().replace(".", "_").split("_")
    return "_".join(part for part in parts if part not in words) or "x"


def classes_of(
    name: str, labels: Mapping[str, Any]
) -> tuple[dict[str, Int64[Tensor, ...]], tuple[str, ...]]:
    """Return labels as classes from 0; texts are numbered in alphabetical order.

    Args:
        name: name of the data, for messages.
        labels: arrays or tensors of the splits that have labels.

    Returns:
        The classes of each split, and the names of the classes if labels are texts.

    Raises:
        OneBasinError: labels are neither texts nor integers from 0.
    """
    arrays = {split: _plain(value) for split, value in labels.items()}
    if any(array.dtype.kind in "US" for array in arrays.values()):
        names = sorted({str(label) for array in arrays.values() for label in array.tolist()})
        numbers = {label: number for number, label in enumerate(names)}
        picked = {
            split: torch.tensor([numbers[str(label)] for label in array.tolist()])
            for split, array in arrays.items()
        }
        return picked, tuple(names)
    return {split: _numbered(name, array) for split, array in arrays.items()}, ()


def _plain(value: Any) -> np.ndarray:
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)


def _numbered(name: str, array: np.ndarray) -> Int64[Tensor, ...]:
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 2 and array.dtype.kind in "biuf" and _is_one_hot(array):
        array = array.argmax(1)
    whole = array.dtype.kind in "biu" or (
        array.dtype.kind == "f"
        and array.ndim == 1
        and bool(np.all(np.isfinite(array) & (array == np.floor(array))))
    )
    if not array.ndim or not whole:
        raise ArgumentError(
            f"the labels of {name} are {array.dtype} {array.shape}; give classes (whole "
            "numbers from 0)"
        )
    if array.size and array.max() >= MAX_CLASSES:
        raise ArgumentError(
            f"a label of {name} is {array.max()}; classes must be below {MAX_CLASSES}, so "
            "choose other labels"
        )
    classes = torch.as_tensor(array.astype(np.int64))
    if array.size and array.ndim == 1 and int(classes.min()) < 0:
        raise ArgumentError(f"a label of {name} is {int(classes.min())}; classes begin at 0")
    return classes


def _is_one_hot(array: np.ndarray) -> bool:
    return bool(np.isin(array, (0, 1)).all()) and bool((array.sum(1) == 1).all())


def _channels_first(images: Tensor) -> Tensor:
    """Return images `(n, channels, height, width)`."""
    if images.ndim == 3:
        return images.unsqueeze(1)
    is_last = images.shape[-1] in (1, 3) and images.shape[1] not in (1, 3)
    return images.permute(0, 3, 1, 2) if is_last else images


def _normalized(name: str, tensor: Tensor, normalization: MeanAndStd) -> Tensor:
    mean, std = (torch.tensor(values) for values in normalization)
    channels = tensor.shape[1] if tensor.ndim > 1 else 1
    if not tensor.is_floating_point() or len(mean) not in (1, channels):
        raise ArgumentError(
            f"normalize= has {counted(len(mean), 'channel')}, but the inputs of {name} are "
            f"{tuple(tensor.shape)} {tensor.dtype}; give one mean and std for each channel of "
            "images"
        )
    shape = (-1,) + (1,) * max(0, tensor.ndim - 2)
    return (tensor - mean.view(shape)) / std.view(shape)
