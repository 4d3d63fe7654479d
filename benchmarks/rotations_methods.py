"""Methods that align two transformers for the average, and the controls of the same budget.

A method returns two networks with the functions of A and B. A control returns one network, which
is not an average.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from rotations_training import fit
from torch import Tensor, nn

from onebasin import Symmetry, average
from onebasin.graph.batches import Batches
from onebasin.graph.binding import FunctionalModel
from onebasin.matching import (
    match_combined,
    match_learned,
    match_rotations,
    match_straight_through,
    match_weights,
)
from onebasin.matching.learned import Ends
from onebasin.matching.result import Matching
from onebasin_studies.training.recipe import Recipe

Params: TypeAlias = Mapping[str, Tensor]

NUM_PASSES = 2
"""Passes over the labeled examples for each method that learns, and for each control."""


@dataclass(frozen=True)
class Task:
    """Two networks, and what methods may use.

    Args:
        symmetry: symmetry of the architecture.
        model: the architecture; its own parameters are ignored.
        params_a: parameters and buffers of A.
        params_b: parameters and buffers of B.
        unlabeled: training inputs for methods without labels.
        labeled: training examples for methods with a loss; each method makes `passes` over them.
        passes: number of passes.
        loss: loss of outputs and labels, as for `match_straight_through`.
        seed: random seed.
    """

    symmetry: Symmetry
    model: nn.Module
    params_a: Params
    params_b: Params
    unlabeled: Batches
    labeled: Batches
    passes: int = NUM_PASSES
    loss: str = "cross_entropy"
    seed: int = 0


Method: TypeAlias = Callable[[Task], tuple[Params, Params]]
Control: TypeAlias = Callable[[Task], Params]


def naive(task: Task) -> tuple[Params, Params]:
    """Return the networks unchanged."""
    return task.params_a, task.params_b


def weights(task: Task) -> tuple[Params, Params]:
    """Permute B to the weights of A."""
    return _permuted(task, match_weights(*_networks(task), seed=task.seed))


def combined(task: Task) -> tuple[Params, Params]:
    """Permute B to the weights and features of A."""
    return _permuted(task, _combined(task))


def straight_through(task: Task) -> tuple[Params, Params]:
    """Permute B by straight-through estimation, from the result of `combined`."""
    found = match_straight_through(
        *_networks(task),
        model=task.model,
        data=task.labeled,
        loss=task.loss,  # type: ignore[arg-type]
        init=_combined(task).permutation,
        max_epochs=task.passes,
        patience=task.passes,
        seed=task.seed,
    )
    return _permuted(task, found)


def rotations(task: Task) -> tuple[Params, Params]:
    """Rotate B to the weights of A, without data."""
    return _transformed(task, match_rotations(*_networks(task), seed=task.seed))


def rotations_with_data(task: Task) -> tuple[Params, Params]:
    """Rotate B to the weights of A, from the features of both."""
    return _transformed(task, _rotations(task))


def learned(task: Task, ends: Ends = "one") -> tuple[Params, Params]:
    """Train the maps of B, or of both networks, from the result of `rotations_with_data`."""
    found = match_learned(
        *_networks(task),
        model=task.model,
        data=task.labeled,
        loss=task.loss,  # type: ignore[arg-type]
        init=_rotations(task).transformation,
        epochs=task.passes,
        ends=ends,
        seed=task.seed,
    )
    return _transformed(task, found)


METHODS: Mapping[str, Method] = {
    "naive": naive,
    "weights": weights,
    "combined": combined,
    "straight-through": straight_through,
    "rotations": rotations,
    "rotations with data": rotations_with_data,
    "learned": learned,
    "learned at both ends": partial(learned, ends="both"),
}
"""Functions that return two networks to average."""


def fine_tuned(task: Task) -> Params:
    """Train the average of the given networks on labels."""
    return _trained(task, average([task.params_a, task.params_b]))


def distilled(task: Task) -> Params:
    """Train A to reproduce the mean outputs of both networks, without labels."""
    parents = [FunctionalModel(task.model, params) for params in (task.params_a, task.params_b)]

    def objective(network: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            target = torch.stack([parent(inputs) for parent in parents]).mean(0).softmax(-1)
        outputs = network(inputs)
        return F.cross_entropy(outputs.flatten(0, -2), target.flatten(0, -2))

    return _trained(task, task.params_a, objective=objective)


CONTROLS: Mapping[str, Control] = {
    "average, fine-tuned": fine_tuned,
    "A, distilled from both": distilled,
}
"""Functions that return one network, trained for as many steps as the methods that learn."""


def _trained(task: Task, start: Params, **options: Any) -> Params:
    """Return a network after training on the labeled examples from given weights."""
    network = deepcopy(task.model)
    network.load_state_dict(dict(start))
    recipe = Recipe(
        epochs=task.passes,
        batch_size=task.labeled.batch_size,
        learning_rate=1e-3,
        schedule="cosine",
        stop_loss=None,
    )
    inputs, labels = task.labeled.inputs, task.labeled.labels
    assert isinstance(inputs, Tensor) and isinstance(labels, Tensor)
    fit(network, inputs, labels, recipe, seed=task.seed, **options)
    return {name: tensor.detach() for name, tensor in network.state_dict().items()}


def _networks(task: Task) -> tuple[Symmetry, Params, Params]:
    return task.symmetry, task.params_a, task.params_b


def _combined(task: Task) -> Matching:
    data = replace(task.unlabeled, labels=None)
    return match_combined(*_networks(task), model=task.model, data=data, seed=task.seed)


def _rotations(task: Task) -> Matching:
    data = replace(task.unlabeled, labels=None)
    return match_rotations(*_networks(task), model=task.model, data=data, seed=task.seed)


def _transformed(task: Task, found: Matching) -> tuple[Params, Params]:
    return task.params_a, found.transformation.apply(task.params_b)


def _permuted(task: Task, found: Matching) -> tuple[Params, Params]:
    return task.params_a, found.permutation.apply(task.params_b)
