"""The set task: pairwise barriers and the average of a set of networks."""

from __future__ import annotations

from collections.abc import Sequence

from onebasin.evaluation._points import evaluate_points
from onebasin.evaluation.curves import Normalization
from onebasin.evaluation.pairs import measure_pairs
from onebasin.evaluation.statistics import reset_statistics
from onebasin.merging.averages import average
from onebasin_studies.runtime.task import Result, task
from onebasin_studies.tasks.specs import Spec, data_of, network_of
from onebasin_studies.tasks.splits import SPLITS, batches_of, evaluator_of


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
    found = measure_pairs(
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
        curves = list(found[split].curves.values())
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
