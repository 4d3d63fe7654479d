"""The annealing task: permutations of networks with the best average."""

from __future__ import annotations

from collections.abc import Sequence

from onebasin.matching._annealing.evaluated import Energy
from onebasin.matching._annealing.runs import Schedule
from onebasin.matching._annealing.state import Move
from onebasin.matching._losses import Normalization
from onebasin.matching.annealing import Averages, match_many_annealing
from onebasin_studies.runtime.task import Result
from onebasin_studies.tasks.bundles import bundle
from onebasin_studies.tasks.specs import Spec, data_of, network_of, symmetry_of
from onebasin_studies.tasks.splits import batches_of


def anneal_networks(
    *,
    data: Spec,
    network: Spec,
    networks: Sequence[Result],
    steps: int,
    averages: Averages = "all",
    energy: Energy = "error",
    normalization: Normalization = "interpolated",
    schedule: Schedule = "published",
    move: Move = "every",
    restarts: int = 1,
    seed: int = 0,
) -> Result:
    """Align networks to the first one by simulated annealing.

    Args:
        data: spec of the dataset; the energy is evaluated on its training set.
        network: spec of the architecture.
        networks: two or more networks; the first one is the reference.
        steps: number of steps; see `match_many_annealing` for this and all following arguments.
        averages: "all" (SA2) or "pairs" (SA1).
        energy: "error", as in the paper, or "loss".
        normalization: statistics of normalization layers, "interpolated" or "batch".
        schedule: "published" or "calibrated".
        move: "every" group in a step, or "one".
        restarts: number of independent runs, of which the best is returned.
        seed: random seed of the steps.

    Returns:
        The aligned networks, for `select_network`, without the reference (number 0); and one row:
        steps, schedule, energy_before, energy_after, seconds.
    """
    dataset = data_of(data)
    module = network_of(network, dataset)
    params = [dict(each.tensors) for each in networks]
    found = match_many_annealing(
        symmetry_of(module, dataset),
        params,
        model=module,
        data=batches_of(dataset, batch_size=1000),
        averages=averages,
        energy=energy,
        normalization=normalization,
        steps=steps,
        schedule=schedule,
        move=move,
        restarts=restarts,
        seed=seed,
    )
    row = {
        "steps": steps,
        "schedule": schedule,
        "energy_before": -float(found.objective[0]),
        "energy_after": -float(found.objective[-1]),
        "seconds": float(found.seconds),
    }
    moved = dict(enumerate(found.apply(params)[1:], 1))
    return Result([row], bundle(moved))
