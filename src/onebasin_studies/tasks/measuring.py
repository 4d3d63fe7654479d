"""Evaluation tasks: curves, barriers and averages of networks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from onebasin.evaluation._points import evaluate_points
from onebasin.evaluation.curves import Curve, Normalization
from onebasin.evaluation.interpolation import interpolate
from onebasin.evaluation.pairs import measure_pairs
from onebasin.evaluation.statistics import reset_statistics
from onebasin.graph.binding import FunctionalModel
from onebasin.merging.averages import average
from onebasin_studies.runtime.task import Result, task
from onebasin_studies.tasks.specs import SPLITS, Spec, batches_of, data_of, evaluator_of, network_of

NUM_POINTS = 25


def evaluate_network(
    *, data: Spec, network: Spec, params: Result, splits: Sequence[str] = SPLITS
) -> Result:
    """Evaluate a network.

    Args:
        data: spec of the dataset.
        network: spec of the architecture.
        params: the network.
        splits: "train", "test" or both.

    Returns:
        One row per split: split, loss, error.
    """
    dataset = data_of(data)
    model = FunctionalModel(network_of(network, dataset), params.tensors)
    rows = []
    for split in splits:
        evaluation = evaluator_of(dataset, split)(model)
        rows.append({"split": split, "loss": evaluation.loss, "error": evaluation.error})
    return Result(rows)


@task(version=2)
def measure_curve(
    *,
    data: Spec,
    network: Spec,
    a: Result,
    b: Result,
    splits: Sequence[str] = SPLITS,
    num_points: int = NUM_POINTS,
    normalization: Normalization = "interpolated",
) -> Result:
    """Evaluate networks on the line between two networks.

    Args:
        data: spec of the dataset.
        network: spec of the architecture.
        a: the network at alpha 1.
        b: the network at alpha 0.
        splits: "train", "test" or both.
        num_points: number of grid points, endpoints included.
        normalization: "interpolated", or "reset" from the training set.

    Returns:
        One row per split and point: split, alpha, loss, error, normalization.
    """
    curves = _curves(data, network, (a, b), splits, num_points, normalization)
    return Result([{"split": split, **row} for split, curve in curves for row in curve.rows()])


@task(version=2)
def measure_barrier(
    *,
    data: Spec,
    network: Spec,
    a: Result,
    b: Result,
    splits: Sequence[str] = SPLITS,
    num_points: int = NUM_POINTS,
    normalization: Normalization = "interpolated",
) -> Result:
    """Compute the barriers between two networks; the arguments are those of `measure_curve`.

    Returns:
        One row per split: split, barrier (of the loss), error_barrier, loss_a, loss_b, error_a,
        error_b, midpoint_loss, midpoint_error, normalization.
    """
    rows = []
    for split, curve in _curves(data, network, (a, b), splits, num_points, normalization):
        middle = len(curve.alphas) // 2
        rows.append(
            {
                "split": split,
                "barrier": curve.barrier("loss"),
                "error_barrier": curve.barrier("error"),
                "loss_a": curve.losses[-1],
                "loss_b": curve.losses[0],
                "error_a": curve.errors[-1],
                "error_b": curve.errors[0],
                "midpoint_loss": curve.losses[middle],
                "midpoint_error": curve.errors[middle],
                "normalization": normalization,
            }
        )
    return Result(rows)


def _curves(
    data: Spec,
    network: Spec,
    ends: tuple[Result, Result],
    splits: Sequence[str],
    num_points: int,
    normalization: Normalization,
) -> Iterator[tuple[str, Curve]]:
    dataset = data_of(data)
    module = network_of(network, dataset)
    for split in splits:
        curve = interpolate(
            module,
            dict(ends[0].tensors),
            dict(ends[1].tensors),
            evaluator_of(dataset, split),
            num_points=num_points,
            normalization=normalization,
            data=batches_of(dataset) if normalization == "reset" else None,
        )
        yield split, curve


@task(version=2)
def measure_set(
    *,
    data: Spec,
    network: Spec,
    networks: Sequence[Result],
    splits: Sequence[str] = SPLITS,
    num_points: int = 25,
    normalization: Normalization = "interpolated",
) -> Result:
    """Compute the barriers between all pairs of networks, and evaluate their average.

    Args:
        data: spec of the dataset.
        network: spec of the architecture.
        networks: two or more networks.
        splits: "train", "test" or both.
        num_points: number of points of each curve.
        normalization: "interpolated", or "reset" from the training set.

    Returns:
        One row per split: split, barrier (of the loss) and error_barrier, means over all pairs;
        loss and error, means over the networks; average_loss and average_error of the averaged
        network; pairs, normalization.
    """
    dataset = data_of(data)
    module = network_of(network, dataset)
    params = [dict(each.tensors) for each in networks]
    evaluates = {split: evaluator_of(dataset, split) for split in splits}
    batches = batches_of(dataset)
    results = measure_pairs(
        module,
        params,
        evaluates,
        num_points=num_points,
        normalization=normalization,
        data=batches if normalization == "reset" else None,
    )
    mean = average(params)
    if normalization == "reset":
        mean = reset_statistics(module, mean, batches)
    shares = [{number: 1.0} for number in range(len(params) + 1)]
    *alone, middle = evaluate_points(module, [*params, mean], shares, evaluates)
    rows = []
    for split in splits:
        curves = list(results[split].curves.values())
        rows.append(
            {
                "split": split,
                "barrier": _mean([curve.barrier("loss") for curve in curves]),
                "error_barrier": _mean([curve.barrier("error") for curve in curves]),
                "loss": _mean([each[split].loss for each in alone]),
                "error": _mean([each[split].error for each in alone]),
                "average_loss": middle[split].loss,
                "average_error": middle[split].error,
                "pairs": len(curves),
                "normalization": normalization,
            }
        )
    return Result(rows)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
