"""The merging tasks: averages of networks, and their comparison with ensembles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from onebasin.errors import ArgumentError, public
from onebasin.evaluation.curves import Normalization
from onebasin.evaluation.ensembles import compare_ensembles
from onebasin.evaluation.statistics import reset_statistics
from onebasin.matching.registry import check_options, find_method
from onebasin.matching.result import ManyMatching
from onebasin.merging.averages import average
from onebasin_studies.runtime.task import Result, task
from onebasin_studies.tasks.specs import (
    Spec,
    batches_of,
    data_of,
    evaluator_of,
    network_of,
    symmetry_of,
)


@task(version=2)
@public
def merge_networks(
    *,
    data: Spec,
    network: Spec,
    members: Sequence[Result],
    method: str | None = None,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    normalization: Normalization = "interpolated",
) -> Result:
    """Average the weights of networks.

    Args:
        data: spec of the dataset.
        network: spec of the architecture.
        members: two or more networks, the reference first.
        method: alignment method for many networks in `onebasin.matching.registry.MATCHERS`; None to
            average without alignment.
        options: options of the method.
        seed: random seed of the method.
        normalization: "interpolated" to average the statistics of BatchNorm layers, or "reset" to
            recompute them from the training set.

    Returns:
        The merged network, and one row: method, objective, converged, sweeps, seconds,
        normalization.
    """
    dataset = data_of(data)
    module = network_of(network, dataset)
    params = [dict(member.tensors) for member in members]
    row: dict[str, Any] = {"method": method, "normalization": normalization}
    if method is not None:
        matcher = find_method(method)
        if matcher.num_networks is not None:
            raise ArgumentError(f"method {method!r} takes a pair; use match_pair, then merge")
        batches = batches_of(dataset, batch_size=1000)
        checked = check_options(method, options or {})
        symmetry = symmetry_of(module, dataset)
        matching = matcher.match(symmetry, params, model=module, data=batches, seed=seed, **checked)
        assert isinstance(matching, ManyMatching)
        params = matching.apply(params)
        row |= {
            "objective": float(matching.objective[-1]),
            "converged": bool(matching.converged),
            "sweeps": matching.num_sweeps,
            "seconds": float(matching.seconds),
        }
    merged = average(params)
    if normalization == "reset":
        merged = reset_statistics(module, merged, batches_of(dataset))
    return Result([row], merged)


def compare_networks(
    *,
    data: Spec,
    network: Spec,
    members: Sequence[Result],
    names: Sequence[str],
    others: Sequence[Result] = (),
    other_names: Sequence[str] = (),
    split: str = "test",
    num_bins: int = 15,
) -> Result:
    """Compare networks, their ensembles and averages, and other networks on the same data.

    Args:
        data: spec of the dataset.
        network: spec of the architecture.
        members: two or more networks.
        names: names of the members.
        others: further networks, such as merged ones.
        other_names: names of these networks.
        split: "train" or "test".
        num_bins: number of confidence bins.

    Returns:
        One row per candidate: the members; "probabilities" and "logits", averages of their outputs;
        "weights", the average of their weights; the others. See `Comparison.rows`. Each is followed
        by one row per nonempty bin, with the same name: low, high, count, confidence, accuracy.
        Column `row` is "candidate" or "bin".
    """
    dataset = data_of(data)
    ensembles = compare_ensembles(
        network_of(network, dataset),
        {name: dict(member.tensors) for name, member in zip(names, members, strict=True)},
        evaluator_of(dataset, split),
        others={name: dict(o.tensors) for name, o in zip(other_names, others, strict=True)},
        num_bins=num_bins,
    )
    rows: list[dict[str, Any]] = []
    for candidate, row in zip(ensembles.candidates, ensembles.rows(), strict=True):
        rows.append({"row": "candidate", "split": split, **row})
        bins = (each for each in candidate.calibration.rows() if each["count"])
        head = {"row": "bin", "split": split, "name": candidate.name, "kind": candidate.kind}
        rows += [{**head, **each} for each in bins]
    return Result(rows)
