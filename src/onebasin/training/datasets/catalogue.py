"""The datasets that can be loaded by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from onebasin.errors import OneBasinError
from onebasin.training.datasets.dataset import Dataset
from onebasin.training.datasets.digits import load_digits

DATASETS: Mapping[str, Callable[..., Dataset]] = MappingProxyType({"digits": load_digits})
"""For each name the function that loads the dataset with a `seed`."""


def load_dataset(name: str, *, seed: int = 0) -> Dataset:
    """Return a dataset by name.

    Args:
        name: one of `DATASETS`.
        seed: for what is drawn at random, such as a split that is not part of the dataset.

    Raises:
        OneBasinError: when there is no dataset of that name; the known ones are listed.
    """
    if name not in DATASETS:
        known = ", ".join(sorted(DATASETS))
        raise OneBasinError(f"data: unknown dataset {name!r}; known are: {known}")
    return DATASETS[name](seed=seed)
