"""Optimizers over stacked parameters: one fused step for all networks.

All supported optimizers work elementwise, so networks do not affect each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from onebasin_studies.training.recipe import Recipe
from onebasin_studies.training.stacks import Stack


class StackedOptimizer:
    """A PyTorch optimizer for the networks of a stack.

    Args:
        recipe: the hyperparameters.
        stack: the networks.
        state: the result of `tensors` of an earlier optimizer, to resume from.
    """

    def __init__(
        self, recipe: Recipe, stack: Stack, state: Mapping[str, Tensor] | None = None
    ) -> None:
        self._recipe = recipe
        self._params = stack.params
        self._optimizer = _build(recipe, list(stack.params.values()))
        for key, tensor in (state or {}).items():
            entry, name = key.split("/", 1)
            param = self._params[name]
            # The step counter is a scalar that all networks share, on the CPU or the device.
            self._optimizer.state[param][entry] = tensor.to(param.device)

    def step(self, learning_rate: float) -> None:
        """Update the parameters from their gradients."""
        self._optimizer.param_groups[0]["lr"] = learning_rate
        self._optimizer.step()

    def tensors(self) -> dict[str, Tensor]:
        """Return the state of the optimizer, `entry/parameter` to tensor."""
        return {
            f"{entry}/{name}": tensor
            for name, param in self._params.items()
            for entry, tensor in self._optimizer.state[param].items()
            if isinstance(tensor, Tensor)
        }

    def select(self, rows: Sequence[int], stack: Stack) -> StackedOptimizer:
        """Return the optimizer of some of the networks, which form the given stack."""
        index = torch.tensor(rows, dtype=torch.int64)
        state = {
            key: tensor[index.to(tensor.device)] if tensor.ndim else tensor.clone()
            for key, tensor in self.tensors().items()
        }
        return StackedOptimizer(self._recipe, stack, state)


def _build(recipe: Recipe, params: list[Tensor]) -> torch.optim.Optimizer:
    decay = recipe.weight_decay
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            params,
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            weight_decay=decay,
            fused=True,
        )
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return kind(
        params,
        lr=recipe.learning_rate,
        betas=recipe.betas,
        eps=recipe.epsilon,
        weight_decay=decay,
        fused=True,
    )
