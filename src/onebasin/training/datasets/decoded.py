"""Decoded sets: from a folder or the hub through the cache to a dataset."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onebasin.training.datasets.cache import Stored, cache_folder, cached
from onebasin.training.datasets.dataset import Dataset
from onebasin.training.datasets.decoders import Reading
from onebasin.training.datasets.examples import Pixels, Tokens
from onebasin.training.datasets.folders import digest, open_files, parquet_files
from onebasin.training.datasets.hub import open_hub
from onebasin.training.datasets.reading import Progress, decode_tables

TENSORS = tuple(f"{split}_{what}" for split in ("train", "test") for what in ("inputs", "labels"))
FACTS = ("kind", "num_classes", "class_names")

Normalisation = tuple[Sequence[float], Sequence[float]]
"""Mean and deviation of each channel, in units of 1 = 255."""


@dataclass(frozen=True)
class HubSet:
    """A set of the Hugging Face hub, or one that lies in a folder in the same form.

    Args:
        hub: its name there.
        config: its configuration there, where it has several.
        normalisation: of its images; that of the training images where it is None.
        reading: how its rows are read.
        test_splits: the names that its test set may have.
        folder: the folder of its parquet files; None fetches it from the hub.
    """

    hub: str
    config: str | None = None
    normalisation: Normalisation | None = None
    reading: Reading = field(default_factory=Reading)
    test_splits: tuple[str, ...] = ("test", "validation", "valid")
    folder: Path | None = None


def load_set(
    name: str,
    source: HubSet,
    splits: Mapping[str, Sequence[str]],
    *,
    cache: str | os.PathLike[str] | None,
    progress: Progress | None,
) -> Dataset:
    """Return a set, decoded into the cache where it is not there yet.

    Args:
        name: what the user calls it.
        source: where it comes from and how it is read.
        splits: for "train" and "test" the names that the split may have.
        cache: the folder of the cache.
        progress: called with the number of rows decoded and their total.

    Raises:
        OneBasinError: when it cannot be found, fetched or decoded.
    """
    files = None if source.folder is None else parquet_files(source.folder, splits)
    origin: Any = [source.hub, source.config, {split: list(s) for split, s in splits.items()}]
    if files is not None:
        origin = {split: digest(paths) for split, paths in files.items()}
    key = hashlib.sha256(json.dumps([origin, source.reading.to_json()]).encode()).hexdigest()
    shown = re.sub(r"[^\w-]+", "-", name)
    folder = cache_folder(cache) / "datasets" / f"{shown}-{key[:16]}"

    def write(temporary: Path) -> Mapping[str, Any]:
        if files is None:
            tables = open_hub(source.hub, source.config, splits)
        else:
            tables = {split: open_files(paths) for split, paths in files.items()}
        return decode_tables(tables, source.reading, temporary, progress)

    return _dataset(name, cached(folder, write, needed=(TENSORS, FACTS)), source.normalisation)


def _dataset(name: str, stored: Stored, normalisation: Normalisation | None) -> Dataset:
    facts, tensors = stored.facts, stored.tensors
    inputs = {}
    for split in ("train", "test"):
        raw = tensors[f"{split}_inputs"]
        if facts["kind"] == "texts":
            inputs[split] = Tokens(raw, facts["vocabulary"])
        else:
            mean, deviation = normalisation or (facts["mean"], facts["deviation"])
            inputs[split] = Pixels(raw, tuple(mean), tuple(deviation))
    return Dataset(
        name,
        inputs["train"],
        tensors["train_labels"],
        inputs["test"],
        tensors["test_labels"],
        facts["num_classes"],
        tuple(facts["class_names"]),
    )
