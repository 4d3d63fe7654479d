"""Subspaces as tasks: lines of networks, every point of which is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from onebasin_studies.runtime.task import Result, declare
from onebasin_studies.tasks.packing import pack
from onebasin_studies.tasks.specs import Spec, data_of, network_of
from onebasin_studies.training.subspaces import train_subspace


@declare(version=2)
def train_line(
    *,
    data: Spec,
    network: Spec,
    recipe: Mapping[str, Any],
    seed: int,
    start: Sequence[Result] = (),
) -> Result:
    """Train both ends of a line of networks at once; see `train_subspace`.

    Args:
        data: what to train on.
        network: the architecture.
        recipe: "epochs", "batch_size", "learning_rate" and "penalty" of `train_subspace`, and
            "momentum", with which SGD learns; without it Adam does.
        seed: of the ends where there is no start, the points and the order of examples.
        start: where the ends begin; without it at weights of their own.

    Returns:
        The ends, as networks 0 and 1 for `take_network`; and a row per epoch: seed, epoch, loss
        (at the points met), cosine_squared (between the ends).
    """
    dataset = data_of(data)
    options = {key: value for key, value in recipe.items() if key != "momentum"}
    if "momentum" in recipe:
        momentum, rate = recipe["momentum"], recipe["learning_rate"]

        def make_sgd(params: Sequence[Tensor]) -> torch.optim.Optimizer:
            return torch.optim.SGD(params, lr=rate, momentum=momentum)

        options = {**options, "optimizer": make_sgd}
    found = train_subspace(
        network_of(network, dataset),
        dataset,
        start=[dict(each.tensors) for each in start] or None,
        seed=seed,
        **options,
    )
    return Result(found.rows(), pack(dict(enumerate(found.corners))))
