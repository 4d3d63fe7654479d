"""Specs: descriptions of data and networks as JSON values, and what tasks build from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from onebasin.data.dataset import Dataset
from onebasin.data.datasets import load_dataset
from onebasin.errors import OneBasinError
from onebasin.evaluation.evaluator import Evaluator, evaluator
from onebasin.graph.batches import Batches
from onebasin.networks.catalogue import build_network
from onebasin.symmetry import Symmetry, infer_symmetry
from onebasin_studies.runtime.task import Task

Spec = str | Mapping[str, Any]


def data_of(spec: Spec) -> Dataset:
    """Load the dataset of a spec.

    Args:
        spec: the name of a dataset, or a mapping with its "name" and options of `load_dataset`.

    Raises:
        OneBasinError: if the dataset does not exist.
    """
    name, options = _parts(spec, "data")
    return load_dataset(name, **options)


def check_data(tasks: Sequence[Task]) -> None:
    """Check that the datasets of tasks can be loaded on this machine, before any task runs.

    Args:
        tasks: tasks, some of which have an argument "data" with a spec.

    Raises:
        OneBasinError: if a dataset is missing; the message names the remedy.
    """
    specs: dict[str, Spec] = {}
    for task in tasks:
        spec = task.arguments.get("data")
        if isinstance(spec, str | Mapping):
            specs.setdefault(_parts(spec, "data")[0], spec)
    for spec in specs.values():
        data_of(spec)


def network_of(spec: Spec, data: Dataset) -> nn.Module:
    """Build the network of a spec for its data, with arbitrary weights.

    Args:
        spec: the name of a network, or a mapping with its "name" and its arguments, such as
            `{"name": "mlp", "width": 64}`.
        data: the dataset, which determines the input shape and the number of classes.

    Raises:
        OneBasinError: if the network does not exist or does not fit the data.
    """
    name, options = _parts(spec, "network")
    shape = tuple(data.train_inputs.shape[1:])
    with torch.random.fork_rng(devices=[]):
        return build_network(name, input_shape=shape, num_classes=data.num_classes, **options)


def symmetry_of(network: nn.Module, data: Dataset) -> Symmetry:
    """Infer the symmetry of a network from two examples of its data."""
    return infer_symmetry(network.eval(), (data.train_inputs[:2],))


def _parts(spec: Spec, what: str) -> tuple[str, dict[str, Any]]:
    if isinstance(spec, str):
        return spec, {}
    if "name" not in spec:
        raise OneBasinError(f"{what}: {dict(spec)} has no name; give one as 'name'")
    return spec["name"], {key: value for key, value in spec.items() if key != "name"}


SPLITS = ("train", "test")


def evaluator_of(data: Dataset, split: str) -> Evaluator:
    """Return the evaluator of networks on one split.

    Args:
        data: the dataset.
        split: "train" or "test".

    Raises:
        OneBasinError: if the split is unknown.
    """
    return evaluator(*_examples(data, split))


def batches_of(data: Dataset, split: str = "train", *, batch_size: int = 500) -> Batches:
    """Return the batches of one split.

    Args:
        data: the dataset.
        split: "train" or "test".
        batch_size: examples per batch.

    Raises:
        OneBasinError: if the split is unknown.
    """
    return Batches(*_examples(data, split), batch_size=batch_size)


def _examples(data: Dataset, split: str) -> tuple[Tensor, Tensor]:
    if split not in SPLITS:
        raise OneBasinError(f"task: split is {split!r}; it must be train or test")
    if split == "train":
        return data.train_inputs, data.train_labels
    return data.test_inputs, data.test_labels
