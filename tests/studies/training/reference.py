"""A plain PyTorch training loop, the reference for the engines."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onebasin._random import order_of
from onebasin_studies.training import Dataset, Recipe
from onebasin_studies.training.recipe import learning_rate_at
from onebasin_studies.training.stacks import initialized


def train_plainly(
    network: nn.Module, data: Dataset, seed: int, recipe: Recipe
) -> dict[str, Tensor]:
    """Train one network with PyTorch's own loop, optimizers and autograd."""
    model = initialized(network, seed).train()
    optimizer = _optimizer(recipe, model)
    for epoch in range(recipe.epochs):
        order = order_of(seed, epoch, len(data.train_labels))
        batches = [rows for rows in order.split(recipe.batch_size) if len(rows) > 1]
        for place, rows in enumerate(batches):
            step = epoch * len(batches) + place
            optimizer.param_groups[0]["lr"] = learning_rate_at(recipe, step, len(batches))
            loss = F.cross_entropy(model(data.train_inputs[rows]), data.train_labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return {name: tensor.detach() for name, tensor in model.state_dict().items()}


def _optimizer(recipe: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    decay = recipe.weight_decay
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            model.parameters(),
            lr=1.0,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            weight_decay=decay,
        )
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    return kind(model.parameters(), lr=1.0, weight_decay=decay)
