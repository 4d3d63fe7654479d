"""Training of one network, also from given weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onebasin.data.augmentation import Augmentation
from onebasin_studies.training.recipe import Recipe, learning_rate_at

Objective = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""A function of a network, inputs and labels that returns the loss of a batch."""


def label_loss(network: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of labels, one for each example or token."""
    outputs = network(inputs).float()
    return F.cross_entropy(outputs.flatten(0, -2), labels.flatten())


def fit(
    network: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    recipe: Recipe,
    *,
    seed: int,
    objective: Objective = label_loss,
    augmentation: Augmentation | None = None,
) -> None:
    """Train a network in place.

    Args:
        network: the network.
        inputs: training inputs.
        labels: a label for each input or token.
        recipe: hyperparameters; the optimizer is AdamW.
        seed: random seed of the order of examples and of the augmentation.
        objective: loss of a batch.
        augmentation: augmentation of images.
    """
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    uses_bfloat16 = recipe.precision == "bfloat16"
    num_steps = len(inputs) // recipe.batch_size
    network.train()
    for epoch in range(recipe.epochs):
        order = torch.randperm(len(inputs), generator=generator)
        for step in range(num_steps):
            rows = order[step * recipe.batch_size : (step + 1) * recipe.batch_size]
            batch = inputs[rows]
            if augmentation is not None:
                batch = augmentation(batch, generator)
            rate = learning_rate_at(recipe, epoch * num_steps + step, num_steps)
            optimizer.param_groups[0]["lr"] = rate
            with torch.autocast("cpu", torch.bfloat16, enabled=uses_bfloat16):
                loss = objective(network, batch, labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    network.eval()
