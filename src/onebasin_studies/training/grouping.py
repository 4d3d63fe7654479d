"""Grouping: which networks are trained in step, and by how many threads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from onebasin_studies.training.job import Job

# What was measured on a core: 1e11 operations a second, an optimizer that takes half a
# nanosecond for each parameter, and some 200 microseconds of Python for each step of a group.
SPEED = 1e11
SECONDS_PER_PARAMETER = 5e-10
SECONDS_PER_NETWORK = 1e-5
OVERHEAD = {"chain": 2e-4, "vmap": 2e-3, "loop": 0.0}
SHARE_OF_OVERHEAD = 0.1
MOST = 32
LARGE_STEP = 5e-3


@dataclass(frozen=True)
class Grouping:
    """How networks share a machine.

    Args:
        groups: seeds trained in step.
        num_workers: threads that train a group each.
        num_threads: threads within each of them.
    """

    groups: tuple[tuple[int, ...], ...]
    num_workers: int
    num_threads: int


def group_seeds(
    seeds: Sequence[int], job: Job, *, num_threads: int, group_size: int | None = None
) -> Grouping:
    """Cut seeds into groups.

    A group is as small as it can be without Python's overhead counting: smaller groups stay in
    the processor's caches. On a CPU each thread trains a group of its own, which spares them
    waiting for each other.

    Args:
        seeds: of all networks.
        job: what is trained.
        num_threads: how many there are.
        group_size: the most networks in a group, where someone knows better.
    """
    if job.device.type != "cpu":
        size = group_size or MOST
        return Grouping(_cut(seeds, math.ceil(len(seeds) / size)), 1, num_threads)
    num_parameters = sum(param.numel() for param in job.network.parameters())
    seconds = 6 * num_parameters * job.recipe.batch_size / SPEED + SECONDS_PER_NETWORK
    seconds += num_parameters * SECONDS_PER_PARAMETER
    size = math.ceil(OVERHEAD[job.choice.engine] / (SHARE_OF_OVERHEAD * seconds))
    size = group_size or min(MOST, max(1, size))
    num_workers = min(num_threads, len(seeds))
    number = max(math.ceil(len(seeds) / size), num_workers)
    number = min(len(seeds), math.ceil(number / num_workers) * num_workers)
    is_large = seconds >= LARGE_STEP
    return Grouping(_cut(seeds, number), num_workers, num_threads // num_workers if is_large else 1)


def _cut(seeds: Sequence[int], number: int) -> tuple[tuple[int, ...], ...]:
    """Cut into this many groups of nearly equal size."""
    least, more = divmod(len(seeds), number)
    groups, start = [], 0
    for place in range(number):
        stop = start + least + (place < more)
        groups.append(tuple(seeds[start:stop]))
        start = stop
    return tuple(groups)
