"""The subspace task: lines of networks that are trained as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from onebasin_studies.runtime.task import Result, task
from onebasin_studies.tasks.bundles import bundle
from onebasin_studies.tasks.specs import Spec, data_of, network_of
from onebasin_studies.training.subspaces import train_subspace


@task(version=2)
def train_line(
    *,
    data: Spec,
    network: Spec,
    recipe: Mapping[str, Any],
    seed: int,
    start: Sequence[Result] = (),
) -> Result:
    """Train both endpoints of a line of networks; see `train_subspace`.

    Args:
        data: spec of the dataset.
        network: spec of the architecture.
        recipe: "epochs", "batch_size", "learning_rate" and "penalty" of `train_subspace`, and
            "momentum" to use SGD; the default is Adam.
        seed: random seed of the initialization, the points and the order of examples.
        start: initial endpoints; default: independent random initializations.

    Returns:
        The endpoints, as networks 0 and 1 for `select_network`; and one row per epoch: seed, epoch,
        loss (at the sampled points), cosine_squared (between the endpoints).
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
    return Result(found.rows(), bundle(dict(enumerate(found.corners))))
