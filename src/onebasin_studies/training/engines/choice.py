"""Choice: which engine runs a network, found out by running it."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from onebasin._random import forked
from onebasin.checkpoints.messages import one_line
from onebasin.data.dataset import Dataset
from onebasin.data.fitting import check_fits
from onebasin.errors import OneBasinError
from onebasin_studies.training.engines.chain import ChainEngine
from onebasin_studies.training.engines.chain_tracing import Layer, chain_of
from onebasin_studies.training.engines.engine import Engine, EngineName
from onebasin_studies.training.engines.functional import LoopEngine, VmapEngine
from onebasin_studies.training.engines.noise import Noise, Record
from onebasin_studies.training.stacks import Stack

LOOP_WORK = 4_000_000
"""Parameters times examples in a batch from which on batching networks gains nothing on a CPU."""


@dataclass(frozen=True)
class Choice:
    """How a network is run.

    Args:
        engine: "chain", linear layers forward and backward by hand; "vmap", all networks as
            one program; or "loop", one after the other.
        reason: why, in a sentence.
        layers: of the chain, where it is one.
        draws: whether the network calls random operators, such as dropout.
        is_half: whether it runs under autocast to bfloat16.
    """

    engine: EngineName
    reason: str
    layers: tuple[Layer, ...] = ()
    draws: bool = False
    is_half: bool = False

    def build(self, network: nn.Module, stack: Stack, noise: Noise | None) -> Engine:
        """Return the engine for a stack.

        Args:
            network: the architecture, in training mode; for this engine alone.
            stack: the networks.
            noise: where they draw from; None where the network draws nothing.
        """
        if self.engine == "chain":
            return ChainEngine(stack, self.layers)
        kind = VmapEngine if self.engine == "vmap" else LoopEngine
        return kind(network, stack, noise=noise, is_half=self.is_half)


def choose(
    network: nn.Module,
    data: Dataset,
    *,
    batch_size: int,
    device: torch.device,
    is_half: bool,
    engine: EngineName | None = None,
) -> Choice:
    """Choose how a network is run, by running it on a few examples.

    Args:
        network: the architecture; it stays as it is.
        data: what it is trained on.
        batch_size: examples in a step.
        device: where it is trained.
        is_half: whether it is to run under autocast to bfloat16.
        engine: the one that is asked for; the quickest that works without it.

    Raises:
        OneBasinError: when the network cannot be run on the data, or not by that engine.
    """
    model = copy.deepcopy(network).to(device).train()
    examples = data.train_examples[:2].to(device)
    record = _check_runs(model, examples, data)
    layers = None if is_half or record.draws else chain_of(model, examples[0])
    if layers is not None and engine in (None, "chain"):
        labels = data.train_labels[:2].to(device)
        if _is_true(model, layers, examples, labels):
            return Choice("chain", "it is a chain of linear layers", tuple(layers))
    if engine == "chain":
        raise OneBasinError(
            "train: engine 'chain' takes linear layers with relu, tanh or sigmoid between them "
            "in float32, which this network is not; leave the engine out"
        )
    draws = record.draws
    if engine is None and (reason := _reason_to_loop(model, record, batch_size, device)):
        return Choice("loop", reason, draws=draws, is_half=is_half)
    if engine == "loop":
        return Choice("loop", "it was asked for", draws=draws, is_half=is_half)
    labels = data.train_labels[:2].to(device)
    stack = Stack.of([model, model], device)
    if trouble := _trouble_with_vmap(model, stack, examples, labels, draws, is_half):
        if engine == "vmap":
            raise OneBasinError(f"train: engine 'vmap' does not work here: {trouble}")
        reason = f"vmap does not take it: {trouble}"
        return Choice("loop", reason, draws=draws, is_half=is_half)
    return Choice("vmap", "vmap takes it", draws=draws, is_half=is_half)


def _check_runs(model: nn.Module, examples: Tensor, data: Dataset) -> Record:
    record = Record()
    with forked(), record:
        check_fits(
            copy.deepcopy(model),
            examples,
            data,
            call="train",
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


def _is_true(model: nn.Module, layers: list[Layer], examples: Tensor, labels: Tensor) -> bool:
    """Tell whether a chain has the gradients of its network; autograd may know otherwise."""
    chained, looped = (Stack.of([model], examples.device) for _ in range(2))
    ChainEngine(chained, layers).learn(examples.unsqueeze(0), labels.unsqueeze(0))
    loop = LoopEngine(model, looped, noise=None, is_half=False)
    loop.learn(examples.unsqueeze(0), labels.unsqueeze(0))
    pairs = zip(chained.params.values(), looped.params.values(), strict=True)
    return all(_is_close(a.grad, b.grad) for a, b in pairs)


def _is_close(found: Tensor | None, expected: Tensor | None) -> bool:
    if found is None or expected is None:
        return False
    scale = float(expected.abs().amax()) if expected.numel() else 0.0
    return torch.allclose(found, expected, rtol=1e-3, atol=1e-4 * scale + 1e-12)


def _trouble_with_vmap(
    model: nn.Module,
    stack: Stack,
    examples: Tensor,
    labels: Tensor,
    draws: bool,
    is_half: bool,
) -> str | None:
    """Return why `vmap` does not take a network, or None where it does."""
    generators = [torch.Generator(examples.device).manual_seed(row) for row in range(2)]
    noise = Noise(generators) if draws else None
    engine = VmapEngine(copy.deepcopy(model), stack, noise=noise, is_half=is_half)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            engine.learn(torch.stack([examples, examples]), torch.stack([labels, labels]))
        # Whatever goes wrong, one network after the other may still work.
        except Exception as error:
            return one_line(error)
    slow = [str(warning.message) for warning in caught if "batching rule" in str(warning.message)]
    return one_line(RuntimeError(slow[0])) if slow else None
