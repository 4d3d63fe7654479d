"""Division of networks into groups and of threads among them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from onebasin_studies.training.setup import TrainingSetup

# Measured on one core: 1e11 operations per second, half a nanosecond per parameter for the
# optimizer, and two milliseconds of Python per step of a group under vmap.
SPEED = 1e11
SECONDS_PER_PARAMETER = 5e-10
SECONDS_PER_NETWORK = 1e-5
OVERHEAD = {"vmap": 2e-3, "loop": 0.0}
SHARE_OF_OVERHEAD = 0.1
MOST = 32
LARGE_STEP = 5e-3


@dataclass(frozen=True)
class Grouping:
    """The division of a training among threads.

    Args:
        groups: seeds of each group.
        num_workers: number of groups trained in parallel.
        num_threads: number of threads of each group.
    """

    groups: tuple[tuple[int, ...], ...]
    num_workers: int
    num_threads: int


def group_seeds(
    seeds: Sequence[int], setup: TrainingSetup, *, num_threads: int, group_size: int | None = None
) -> Grouping:
    """Divide seeds into groups.

    A group is as small as possible while the overhead of Python stays negligible, because smaller
    groups stay in the processor's caches. On a CPU each thread trains its own group, which avoids
    synchronization.

    Args:
        seeds: seeds of all networks.
        setup: the training setup.
        num_threads: number of available threads.
        group_size: maximum size of a group; chosen automatically if None.
    """
    if setup.device.type != "cpu":
        size = group_size or MOST
        return Grouping(_cut(seeds, math.ceil(len(seeds) / size)), 1, num_threads)
    num_parameters = sum(param.numel() for param in setup.network.parameters())
    seconds = 6 * num_parameters * setup.recipe.batch_size / SPEED + SECONDS_PER_NETWORK
    seconds += num_parameters * SECONDS_PER_PARAMETER
    size = math.ceil(OVERHEAD[setup.backend.engine] / (SHARE_OF_OVERHEAD * seconds))
    size = group_size or min(MOST, max(1, size))
    num_workers = min(num_threads, len(seeds))
    number = max(math.ceil(len(seeds) / size), num_workers)
    number = min(len(seeds), math.ceil(number / num_workers) * num_workers)
    is_large = seconds >= LARGE_STEP
    return Grouping(_cut(seeds, number), num_workers, num_threads // num_workers if is_large else 1)


def _cut(seeds: Sequence[int], number: int) -> tuple[tuple[int, ...], ...]:
    """Divide seeds into this many groups of nearly equal size."""
    least, more = divmod(len(seeds), number)
    groups, start = [], 0
    for place in range(number):
        stop = start + least + (place < more)
        groups.append(tuple(seeds[start:stop]))
        start = stop
    return tuple(groups)
