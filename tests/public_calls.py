"""Public functions that take state dicts, each called on one small network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

import onebasin
from onebasin import evaluation, matching
from onebasin.evaluation import features
from onebasin.merging import average, average_checkpoints, average_tensors, repair
from onebasin.symmetry import Permutation, Symmetry

Params: TypeAlias = Mapping[str, Tensor]

MODEL = nn.Sequential(
    nn.Linear(4, 6),
    nn.BatchNorm1d(6),
    nn.ReLU(),
    nn.Linear(6, 3),
)
INPUTS = torch.randn(16, 4, generator=torch.Generator().manual_seed(7))
LABELS = torch.arange(16) % 3
DATA = [(INPUTS[:8], LABELS[:8]), (INPUTS[8:], LABELS[8:])]
RUN: dict[str, Any] = {"model": MODEL, "data": DATA}


@cache
def symmetry() -> Symmetry:
    """Return the symmetry of the network; it has one group."""
    return onebasin.infer_symmetry(MODEL, torch.zeros(2, 4))


def network(seed: int) -> dict[str, Tensor]:
    """Return random parameters; all values are exact in 8-bit floats."""
    generator = torch.Generator().manual_seed(seed)
    params = {
        name: torch.randint(-6, 7, own.shape, generator=generator) / 4
        for name, own in MODEL.state_dict().items()
        if own.is_floating_point()
    }
    params["1.running_var"] = params["1.running_var"].abs() + 0.5
    return {**params, "1.num_batches_tracked": torch.tensor(seed)}


def reference() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return a network A, and B, which is A with its units in another order and small changes."""
    a = network(1)
    b = Permutation.random(symmetry(), seed=3).apply(a)
    b["0.bias"] = b["0.bias"] + 0.25
    return a, b


def _evaluate() -> evaluation.Evaluator:
    return evaluation.evaluator(INPUTS, LABELS)


def _match(name: str, **options: Any) -> Callable[[Params, Params], Any]:
    def call(a: Params, b: Params) -> dict[str, Tensor]:
        found = getattr(matching, f"match_{name}")(symmetry(), a, b, **options)
        return dict(found.permutation.indices)

    return call


def _match_midpoint(a: Params, b: Params) -> list[float]:
    found = matching.match_sinkhorn(symmetry(), a, b, **RUN, objective="midpoint", max_steps=3)
    # The random start depends on the dtype: only the kind of the result is comparable.
    (index,) = found.permutation.indices.values()
    return sorted(index.tolist())


def _match_several(name: str, **options: Any) -> Callable[[Params, Params], Any]:
    def call(a: Params, b: Params) -> list[Any]:
        found = getattr(matching, f"match_{name}")(symmetry(), [a, b], **options)
        return [dict(each.indices) for each in found.permutations]

    return call


def _features(name: str, **options: Any) -> Callable[[Params, Params], Any]:
    def call(a: Params, b: Params) -> list[float]:
        found = getattr(features, name)(MODEL, a, b, DATA, **options)
        return [record.mean for record in found.records]

    return call


def _interpolate(**options: Any) -> Callable[[Params, Params], Any]:
    def call(a: Params, b: Params) -> list[float]:
        return list(
            evaluation.interpolate(MODEL, a, b, _evaluate(), num_points=3, **options).losses
        )

    return call


def _plane(a: Params, b: Params) -> list[float]:
    found = evaluation.measure_plane(
        MODEL, {"A": a, "B": b, "C": network(5)}, _evaluate(), num_points=2
    )
    return [value for row in found.losses for value in row]


def _pairs(a: Params, b: Params) -> list[float]:
    found = evaluation.measure_pairs(MODEL, [a, b], _evaluate(), num_points=3)
    return list(found.curves[0, 1].losses)


def _ensembles(a: Params, b: Params) -> list[float]:
    found = evaluation.compare_ensembles(MODEL, {"A": a, "B": b}, _evaluate())
    return [each.loss for each in found.candidates]


def _repair(method: Any) -> Callable[[Params, Params], Any]:
    return lambda a, b: repair(MODEL, a, [a, b], DATA, method=method).params


CALLS: dict[str, Callable[[Params, Params], Any]] = {
    "match_weights": _match("weights"),
    "match_weights, 3 restarts": _match("weights", restarts=3),
    "match_activations": _match("activations", **RUN),
    "match_activations, correlation": _match("activations", **RUN, statistic="correlation"),
    "match_combined": _match("combined", **RUN),
    "match_commutativity": _match("commutativity", **RUN),
    "match_functional_difference": _match("functional_difference", **RUN),
    "match_frank_wolfe": _match("frank_wolfe"),
    "match_sinkhorn": _match("sinkhorn", max_steps=25),
    "match_sinkhorn, midpoint": _match_midpoint,
    "match_straight_through": _match("straight_through", **RUN, max_epochs=1),
    "match_annealing": _match("annealing", **RUN, steps=9, schedule="published"),
    "match_exhaustive": _match("exhaustive"),
    "match_many": _match_several("many"),
    "match_cycle_consistent": _match_several("cycle_consistent"),
    "match_many_annealing": _match_several("many_annealing", **RUN, steps=9, schedule="published"),
    "permuted_copies": lambda a, b: list(evaluation.permuted_copies(symmetry(), a, 2)),
    "apply": lambda a, b: Permutation.random(symmetry(), seed=1).apply(b),
    "average": lambda a, b: average([a, b]),
    "average, weights": lambda a, b: average([a, b], [3, -1]),
    "average_tensors": lambda a, b: dict(average_tensors([a, b])),
    "average_checkpoints": lambda a, b: average_checkpoints([a, b]),
    "repair": _repair("repair"),
    "repair, rescale": _repair("rescale"),
    "repair, refit": _repair("refit"),
    "reset_statistics": lambda a, b: evaluation.reset_statistics(MODEL, a, DATA),
    "interpolate": _interpolate(),
    "interpolate, reset": _interpolate(normalization="reset", data=DATA),
    "interpolate, repair": _interpolate(normalization="repair", data=DATA),
    "measure_pairs": _pairs,
    "measure_plane": _plane,
    "compare_ensembles": _ensembles,
    "measure_llfc": _features("measure_llfc", alphas=[0.5]),
    "measure_similarity": _features("measure_similarity", max_features=8),
    "measure_additivity": _features("measure_additivity", alphas=[0.5]),
    "measure_commutativity": _features("measure_commutativity"),
    "interpolate_features": _features("interpolate_features"),
}
