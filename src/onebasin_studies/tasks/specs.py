"""Specs: JSON values that name the dataset and the architecture of a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from onebasin.data.dataset import Dataset
from onebasin.data.datasets import load_dataset
from onebasin.errors import OneBasinError
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
