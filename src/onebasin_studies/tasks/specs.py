"""Specifications: what JSON values in the arguments of tasks stand for.

Owns how a task names its data and its network, and what is made of these names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from onebasin.data.catalogue import load_dataset
from onebasin.data.dataset import Dataset
from onebasin.errors import OneBasinError
from onebasin.networks.catalogue import build_network
from onebasin.symmetry import Symmetry, infer_symmetry
from onebasin_studies.runtime.task import Task

Spec = str | Mapping[str, Any]


def data_of(spec: Spec) -> Dataset:
    """Load the data that a task names.

    Args:
        spec: the name of a dataset, or a mapping with its "name" and options of
            `load_dataset`.

    Raises:
        OneBasinError: when there is no such data.
    """
    name, options = _parts(spec, "data")
    return load_dataset(name, **options)


def check_data(tasks: Sequence[Task]) -> None:
    """Check that the data of tasks can be loaded here, so that they do not fail one by one.

    Args:
        tasks: whose argument "data", if they have one, is a spec.

    Raises:
        OneBasinError: naming the first data that are missing, and the remedy.
    """
    specs: dict[str, Spec] = {}
    for task in tasks:
        spec = task.arguments.get("data")
        if isinstance(spec, str | Mapping):
            specs.setdefault(_parts(spec, "data")[0], spec)
    for spec in specs.values():
        data_of(spec)


def network_of(spec: Spec, data: Dataset) -> nn.Module:
    """Build the network that a task names, fitted to its data; its weights do not matter.

    Args:
        spec: the name of a network, or a mapping with its "name" and its arguments, such as
            `{"name": "mlp", "width": 64}`.
        data: decides the shape of inputs and the number of classes.

    Raises:
        OneBasinError: when there is no such network, or it does not fit the data.
    """
    name, options = _parts(spec, "network")
    shape = tuple(data.train_inputs.shape[1:])
    with torch.random.fork_rng(devices=[]):
        return build_network(name, input_shape=shape, num_classes=data.num_classes, **options)


def symmetry_of(network: nn.Module, data: Dataset) -> Symmetry:
    """Trace a network on two examples of its data."""
    return infer_symmetry(network.eval(), (data.train_inputs[:2],))


def _parts(spec: Spec, what: str) -> tuple[str, dict[str, Any]]:
    if isinstance(spec, str):
        return spec, {}
    if "name" not in spec:
        raise OneBasinError(f"{what}: {dict(spec)} has no name; give one as 'name'")
    return spec["name"], {key: value for key, value in spec.items() if key != "name"}
