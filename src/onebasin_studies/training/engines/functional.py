"""The engines for arbitrary modules: batched with `vmap`, or one network after the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, Shaped
from torch import Tensor, nn
from torch.func import functional_call, vmap

from onebasin.graph.batches import output_of
from onebasin_studies.training.engines.engine import Score, score_of
from onebasin_studies.training.engines.noise import Noise
from onebasin_studies.training.stacks import Stack


class _FunctionalEngine:
    """An engine that calls the network itself.

    Args:
        network: the architecture, in training mode; used by this engine only.
        stack: the networks.
        noise: the random generators of the networks; None for a network without random operators.
        is_half: whether to run under autocast to bfloat16.
    """

    def __init__(
        self, network: nn.Module, stack: Stack, *, noise: Noise | None, is_half: bool
    ) -> None:
        self._network = network
        self._stack = stack
        self._noise = noise
        self._is_half = is_half


class VmapEngine(_FunctionalEngine):
    """Runs all networks as one program, with every operator batched over them."""

    def compute_gradients(self, inputs: Tensor, labels: Tensor) -> Score:
        """Compute the gradients of all networks; see `Engine`."""
        stack = self._stack
        with _training_context(inputs, self._noise, self._is_half):
            outputs = vmap(self._run, randomness="different")(
                stack.params, stack.fixed, stack.buffers, inputs
            )
        params = list(stack.params.values())
        grads = torch.autograd.grad(_loss(outputs, labels), params, allow_unused=True)
        for param, grad in zip(params, grads, strict=True):
            param.grad = None if grad is None else grad.contiguous()
        return score_of(outputs.transpose(1, 2), labels)

    def _run(self, params: Any, fixed: Any, buffers: Any, batch: Tensor) -> Tensor:
        return output_of(functional_call(self._network, (params, fixed, buffers), (batch,)))


class LoopEngine(_FunctionalEngine):
    """Runs one network after the other."""

    def __init__(
        self, network: nn.Module, stack: Stack, *, noise: Noise | None, is_half: bool
    ) -> None:
        super().__init__(network, stack, noise=noise, is_half=is_half)
        self._params = list(stack.params.values())
        self._rows = [_row(stack, row) for row in range(len(stack))]

    def compute_gradients(self, inputs: Tensor, labels: Tensor) -> Score:
        """Compute the gradients of all networks; see `Engine`."""
        scores = [
            self._gradients_of_one(row, inputs[row], labels[row]) for row in range(len(inputs))
        ]
        return Score(
            torch.cat([score.loss for score in scores]),
            torch.cat([score.wrong for score in scores]),
        )

    def _gradients_of_one(
        self, row: int, inputs: Shaped[Tensor, " b *each"], labels: Int64[Tensor, " b"]
    ) -> Score:
        params, others = self._rows[row]
        noise = None if self._noise is None else self._noise.row(row)
        with _training_context(inputs, noise, self._is_half):
            outputs = output_of(functional_call(self._network, (params, *others), (inputs,)))
        loss = F.cross_entropy(outputs.float(), labels)
        grads = torch.autograd.grad(loss, list(params.values()), allow_unused=True)
        for param, grad in zip(self._params, grads, strict=True):
            if grad is None:
                param.grad = None
            elif len(self._rows) == 1:
                param.grad = grad.contiguous().unsqueeze(0)
            else:
                if param.grad is None:
                    param.grad = torch.zeros_like(param)
                param.grad[row] = grad
        return score_of(outputs.t().unsqueeze(0), labels.unsqueeze(0))


def _row(stack: Stack, row: int) -> tuple[dict[str, Tensor], tuple[dict[str, Tensor], ...]]:
    params = {name: tensor.detach()[row].requires_grad_() for name, tensor in stack.params.items()}
    others = tuple(
        {name: tensor[row] for name, tensor in tensors.items()}
        for tensors in (stack.fixed, stack.buffers)
    )
    return params, others


def _loss(outputs: Float[Tensor, "k b c"], labels: Int64[Tensor, "k b"]) -> Float[Tensor, ""]:
    """Return the sum of the networks' mean cross-entropies."""
    flat = outputs.flatten(0, 1).float()
    return F.cross_entropy(flat, labels.flatten(), reduction="sum") / labels.shape[1]


@contextmanager
def _training_context(inputs: Tensor, noise: Noise | None, is_half: bool) -> Iterator[None]:
    """Enable gradients, autocast and per-network noise in a block."""
    device = inputs.device.type
    with torch.enable_grad(), torch.autocast(device, torch.bfloat16, enabled=is_half):
        if noise is None:
            yield
        else:
            with noise:
                yield
