"""Backend: the choice of the engine of a network, by a trial run."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from onebasin._random import forked
from onebasin._text import one_line
from onebasin.data._fitting import check_fits
from onebasin.data.dataset import Dataset
from onebasin.errors import ArgumentError
from onebasin_studies.training.engines.engine import Engine, EngineName
from onebasin_studies.training.engines.functional import LoopEngine, VmapEngine
from onebasin_studies.training.engines.noise import Noise, Record
from onebasin_studies.training.stacks import Stack

LOOP_WORK = 45_000_000
"""Parameters times batch size above which batching networks does not help on a CPU.

Measured with MLPs: batches of 100 images and 200 thousand parameters are trained faster by `vmap`,
800 thousand by a loop.
"""


@dataclass(frozen=True)
class Backend:
    """The engine of a network, with the reason for it.

    Args:
        engine: "vmap", all networks as one program; or "loop", one network after the other.
        reason: the reason for this engine, in a sentence.
        draws: whether the network calls random operators, such as dropout.
        is_half: whether it runs under autocast to bfloat16.
    """

    engine: EngineName
    reason: str
    draws: bool = False
    is_half: bool = False

    def build(self, network: nn.Module, stack: Stack, noise: Noise | None) -> Engine:
        """Return the engine of a stack.

        Args:
            network: the architecture, in training mode; used by this engine only.
            stack: the networks.
            noise: the random generators of the networks; None for a network without random
                operators.
        """
        kind = VmapEngine if self.engine == "vmap" else LoopEngine
        return kind(network, stack, noise=noise, is_half=self.is_half)


def choose_backend(
    network: nn.Module,
    data: Dataset,
    *,
    batch_size: int,
    device: torch.device,
    is_half: bool,
    engine: EngineName | None = None,
) -> Backend:
    """Return the fastest suitable backend, found by a trial run on a few examples.

    Args:
        network: the architecture; it is not changed.
        data: the dataset.
        batch_size: examples per step.
        device: the device of the training.
        is_half: whether to run under autocast to bfloat16.
        engine: the requested engine; default: the fastest suitable one.

    Raises:
        OneBasinError: if the network does not run on the data, or not with the requested engine.
    """
    model = copy.deepcopy(network).to(device).train()
    examples = data.train_examples[:2].to(device)
    record = _check_runs(model, examples, data)
    draws = record.draws
    if engine is None and (reason := _reason_to_loop(model, record, batch_size, device)):
        return Backend("loop", reason, draws=draws, is_half=is_half)
    if engine == "loop":
        return Backend("loop", "it was requested", draws=draws, is_half=is_half)
    labels = data.train_labels[:2].to(device)
    stack = Stack.of([model, model], device)
    if failure := _vmap_failure(model, stack, examples, labels, draws, is_half):
        if engine == "vmap":
            raise ArgumentError(f"engine 'vmap' does not support this network: {failure}")
        reason = f"vmap does not support it: {failure}"
        return Backend("loop", reason, draws=draws, is_half=is_half)
    return Backend("vmap", "the model supports it", draws=draws, is_half=is_half)


def _check_runs(model: nn.Module, examples: Tensor, data: Dataset) -> Record:
    record = Record()
    with forked(), record:
        check_fits(
            copy.deepcopy(model),
            examples,
            data,
            name="the network",
            remedy="fit the network to it",
        )
    return record


def _reason_to_loop(
    model: nn.Module, record: Record, batch_size: int, device: torch.device
) -> str | None:
    if device.type != "cpu":
        return None
    if any("convolution" in name for name in record.names):
        return "grouped convolutions are slower than single ones on a CPU"
    if sum(param.numel() for param in model.parameters()) * batch_size >= LOOP_WORK:
        return "the network is large enough to keep a CPU busy by itself"
    return None


def _vmap_failure(
    model: nn.Module,
    stack: Stack,
    examples: Tensor,
    labels: Tensor,
    draws: bool,
    is_half: bool,
) -> str | None:
    """Return the reason why `vmap` does not support a network, or None."""
    generators = [torch.Generator(examples.device).manual_seed(row) for row in range(2)]
    noise = Noise(generators) if draws else None
    engine = VmapEngine(copy.deepcopy(model), stack, noise=noise, is_half=is_half)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            engine.compute_gradients(
                torch.stack([examples, examples]), torch.stack([labels, labels])
            )
        # After any error the loop engine may still work.
        except Exception as error:
            return one_line(error)
    slow = [str(warning.message) for warning in caught if "batching rule" in str(warning.message)]
    return one_line(RuntimeError(slow[0])) if slow else None
