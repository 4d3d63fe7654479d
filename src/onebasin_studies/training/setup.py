"""Training setup: the inputs that all groups of one training share, and their fingerprints."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from onebasin.data.dataset import Dataset
from onebasin.data.examples import Examples, Pixels
from onebasin.errors import ArgumentError, check_choice
from onebasin.graph.batches import device_of
from onebasin_studies.training.augmentation import Augment, augment_name
from onebasin_studies.training.batch_loader import on_device
from onebasin_studies.training.compatibility import check_trainable, needs_two, takes_single
from onebasin_studies.training.engines import Backend, EngineName, choose_backend
from onebasin_studies.training.recipe import Recipe
from onebasin_studies.training.stacks import Network, initialized
from onebasin_studies.training.testing import TestSet

MOST_BYTES = 2**26
"""Maximum number of hashed input bytes per split: all of MNIST, a third of CIFAR-10."""
MOST_ENTRIES = 2**16


@dataclass(frozen=True, eq=False)
class TrainingSetup:
    """The network, the data and the hyperparameters of a training.

    Args:
        network: the architecture, on the CPU.
        source: the architecture that new networks are initialized from.
        recipe: the hyperparameters.
        backend: the engine of the network.
        device: the device of the training.
        examples: stored training inputs, on the device.
        labels: training labels on the device, `(n,)`.
        data: the dataset.
        augment: random augmentation of a batch, or None.
        evaluate: whether to evaluate networks on the test set after every epoch.
    """

    network: nn.Module
    source: Network
    recipe: Recipe
    backend: Backend
    device: torch.device
    examples: Examples
    labels: Tensor
    data: Dataset
    augment: Augment | None
    evaluate: bool

    @property
    def batch_sizes(self) -> list[int]:
        """Number of examples in each step of an epoch."""
        whole, rest = divmod(len(self.labels), self.recipe.batch_size)
        # Batch normalization needs at least two examples.
        is_left_out = rest == 1 and whole > 0
        return [self.recipe.batch_size] * whole + [rest] * (rest > 0 and not is_left_out)

    def copy_of_network(self) -> nn.Module:
        """Return a copy of the network for one thread, on the device, in training mode."""
        return copy.deepcopy(self.network).to(self.device).train()

    def test_set(self) -> TestSet | None:
        """Return the test set for one thread, or None if networks are not evaluated."""
        if not self.evaluate:
            return None
        labels = self.data.test_labels.to(self.device)
        return TestSet(self.copy_of_network(), self.data.test_examples, labels)


def build_setup(
    network: Network,
    data: Dataset,
    recipe: Recipe,
    *,
    device: torch.device | str | None,
    engine: EngineName | None,
    augment: Augment | None,
    evaluate: bool,
) -> TrainingSetup:
    """Return a setup with a suitable backend.

    Args:
        network: the architecture, or a function that builds one.
        data: the dataset.
        recipe: the hyperparameters.
        device: the device of the training; default: the device of the network.
        engine: the engine of the networks; default: the fastest suitable one.
        augment: random augmentation of a batch, or None.
        evaluate: whether to evaluate networks on the test set after every epoch.

    Raises:
        OneBasinError: if the device is not available, or the network is invalid or does not fit the
            data.
    """
    if engine is not None:
        check_choice("engine", engine, EngineName)
    is_module = isinstance(network, nn.Module)
    module = network if is_module else initialized(network, 0)
    check_trainable(module)
    where = _device(device, module)
    module = copy.deepcopy(module).cpu()
    precision = recipe.precision
    is_half = precision == "bfloat16" or (precision == "auto" and where.type == "cuda")
    backend = choose_backend(
        module, data, batch_size=recipe.batch_size, device=where, is_half=is_half, engine=engine
    )
    examples, labels = on_device(data.train_examples, where), data.train_labels.to(where)
    source = module if is_module else network
    setup = TrainingSetup(
        module, source, recipe, backend, where, examples, labels, data, augment, evaluate
    )
    if min(setup.batch_sizes) == 1:
        example = data.train_examples[:1].to(where)
        if not takes_single(setup.copy_of_network(), example):
            raise needs_two(recipe.batch_size, data)
    return setup


def describe(
    setup: TrainingSetup, seeds: Sequence[int], *, spawn_epoch: int | None, trunk_seed: int
) -> dict[str, Any]:
    """Return all inputs that determine the result, as JSON values."""
    recipe = dataclasses.asdict(setup.recipe)
    return {
        **recipe,
        "seeds": list(seeds),
        "network": network_fingerprint(setup.network),
        "initialization": weights_fingerprint(initialized(setup.source, 0)),
        "data": data_fingerprint(setup.data),
        "engine": setup.backend.engine,
        "augment": None if setup.augment is None else augment_name(setup.augment),
        "tests": setup.evaluate,
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
        raise ArgumentError(
            f"device {str(device)!r} is not available ({type(error).__name__}); choose "
            "another, such as cpu"
        ) from error
    return where


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
