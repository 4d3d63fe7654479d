"""Job: what all groups of networks of one call of `train` share."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from onebasin.data.dataset import Dataset
from onebasin.data.examples import Examples
from onebasin.errors import OneBasinError, check_choice
from onebasin.graph.batches import device_of
from onebasin_studies.training.augmenting import Augment, augment_name
from onebasin_studies.training.compatibility import check_trainable, needs_two, takes_single
from onebasin_studies.training.engines import Choice, EngineName, choose
from onebasin_studies.training.fingerprints import (
    data_fingerprint,
    network_fingerprint,
    weights_fingerprint,
)
from onebasin_studies.training.gathering import on_device
from onebasin_studies.training.initialization import Network, initialized
from onebasin_studies.training.recipe import Recipe
from onebasin_studies.training.testing import TestSet


@dataclass(frozen=True, eq=False)
class Job:
    """What is trained, on what and how.

    Args:
        network: the architecture, on the CPU.
        source: what new networks are made from.
        recipe: how to train.
        choice: how the network is run.
        device: where.
        examples: training inputs as they are kept, on the device.
        labels: training labels on the device, `(n,)`.
        data: the dataset.
        augment: changes a batch of inputs at random, or None.
        tests: whether networks are tested after every epoch.
    """

    network: nn.Module
    source: Network
    recipe: Recipe
    choice: Choice
    device: torch.device
    examples: Examples
    labels: Tensor
    data: Dataset
    augment: Augment | None
    tests: bool

    @property
    def batch_sizes(self) -> list[int]:
        """Examples in each step of an epoch."""
        whole, rest = divmod(len(self.labels), self.recipe.batch_size)
        # Normalization over a batch knows nothing about a single example.
        is_left_out = rest == 1 and whole > 0
        return [self.recipe.batch_size] * whole + [rest] * (rest > 0 and not is_left_out)

    def copy_of_network(self) -> nn.Module:
        """Return the network for one thread alone, on the device, in training mode."""
        return copy.deepcopy(self.network).to(self.device).train()

    def test_set(self) -> TestSet | None:
        """Return the test set for one thread alone, where networks are tested."""
        if not self.tests:
            return None
        labels = self.data.test_labels.to(self.device)
        return TestSet(self.copy_of_network(), self.data.test_examples, labels)


def build_job(
    network: Network,
    data: Dataset,
    recipe: Recipe,
    *,
    device: torch.device | str | None,
    engine: EngineName | None,
    augment: Augment | None,
    tests: bool,
) -> Job:
    """Return a job, with how its network is run found out.

    Args:
        network: the architecture, or a function that builds one.
        data: what to train on.
        recipe: how to train.
        device: where; where the network is without it.
        engine: what runs the networks; the quickest that works without it.
        augment: changes a batch of inputs at random, or None.
        tests: whether networks are tested after every epoch.

    Raises:
        OneBasinError: when the device is not there, the network is none or does not fit the data.
    """
    if engine is not None:
        check_choice("train", "engine", engine, EngineName)
    is_module = isinstance(network, nn.Module)
    module = network if is_module else initialized(network, 0)
    check_trainable("train", module)
    where = _device(device, module)
    module = copy.deepcopy(module).cpu()
    precision = recipe.precision
    is_half = precision == "bfloat16" or (precision == "auto" and where.type == "cuda")
    choice = choose(
        module, data, batch_size=recipe.batch_size, device=where, is_half=is_half, engine=engine
    )
    examples, labels = on_device(data.train_examples, where), data.train_labels.to(where)
    source = module if is_module else network
    job = Job(module, source, recipe, choice, where, examples, labels, data, augment, tests)
    if min(job.batch_sizes) == 1:
        example = data.train_examples[:1].to(where)
        if not takes_single(job.copy_of_network(), example):
            raise needs_two("train", recipe.batch_size, data)
    return job


def describe(
    job: Job, seeds: Sequence[int], *, spawn_epoch: int | None, trunk_seed: int
) -> dict[str, Any]:
    """Return everything that decides what comes out, as JSON values."""
    recipe = dataclasses.asdict(job.recipe)
    return {
        **recipe,
        "seeds": list(seeds),
        "network": network_fingerprint(job.network),
        "initialization": weights_fingerprint(initialized(job.source, 0)),
        "data": data_fingerprint(job.data),
        "engine": job.choice.engine,
        "augment": None if job.augment is None else augment_name(job.augment),
        "tests": job.tests,
        "spawn_epoch": spawn_epoch,
        "trunk_seed": trunk_seed if spawn_epoch is not None else None,
    }


def _device(device: torch.device | str | None, module: nn.Module) -> torch.device:
    if device is None:
        return device_of(module)
    try:
        where = torch.device(device)
        torch.empty(0, device=where)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise OneBasinError(
            f"train: device {str(device)!r} is not there ({type(error).__name__}); choose "
            "another, such as cpu"
        ) from error
    return where
