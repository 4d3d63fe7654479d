"""Decoded datasets: from a folder or the hub, through the cache."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onebasin.data._cache import Stored, cache_folder, cached
from onebasin.data._decoding import Progress, Reading, decode_tables
from onebasin.data._example_splits import ArraySplit
from onebasin.data._hub import open_hub
from onebasin.data._normalization import describe_normalization
from onebasin.data._parquet import digest, open_files, parquet_files
from onebasin.data._sources import SPLIT_NAMES, Table
from onebasin.data._texts import tokenizer_digest
from onebasin.data.data import Data
from onebasin.data.dataset import Dataset
from onebasin.data.examples import MaskedTokens, Pixels, Tokens

TENSORS = tuple(f"{split}_{what}" for split in ("train", "test") for what in ("inputs", "labels"))
FACTS = ("kind", "num_classes", "class_names")

Normalization = tuple[Sequence[float], Sequence[float]]
"""Mean and standard deviation of each channel, or of all, for pixels from 0 to 1."""


@dataclass(frozen=True)
class HubSet:
    """A dataset on the Hugging Face hub, or in a folder of the same layout.

    Args:
        hub: name on the hub.
        config: name of its configuration, or None.
        normalization: normalization of its images; None for that of the training images.
        reading: how rows are read.
        test_splits: possible names of the test split.
        folder: folder of parquet files; None for the hub.
    """

    hub: str
    config: str | None = None
    normalization: Normalization | None = None
    reading: Reading = field(default_factory=Reading)
    test_splits: tuple[str, ...] = SPLIT_NAMES["test"]
    folder: Path | None = None


def load_set(
    name: str,
    source: HubSet,
    splits: Mapping[str, Sequence[str]],
    *,
    cache: str | os.PathLike[str] | None,
    progress: Progress | None,
) -> Dataset:
    """Return a dataset with labels and a test split, decoded into the cache if needed.

    Args:
        name: name for messages and reports.
        source: the source, and how it is read.
        splits: possible names of the splits "train" and "test".
        cache: the folder of the cache.
        progress: function of the number of decoded rows and their total.

    Raises:
        OneBasinError: the dataset cannot be found, fetched or decoded.
    """
    required = ("train", "test")
    tables, origin = open_tables(source, splits, required)
    stored = decode_source(
        name, tables, origin, source.reading, cache=cache, progress=progress, needed=TENSORS
    )
    inputs = {split: inputs_of_split(stored, split, source.normalization) for split in required}
    return Dataset(
        name,
        inputs["train"],
        stored.tensors["train_labels"],
        inputs["test"],
        stored.tensors["test_labels"],
        stored.facts["num_classes"],
        tuple(stored.facts["class_names"]),
    )


def load_set_data(
    name: str,
    source: HubSet,
    splits: Mapping[str, Sequence[str]],
    *,
    cache: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Data:
    """Return data with the labels and splits of a source; the first split is required.

    Args:
        name: as for `load_set`.
        source: as for `load_set`.
        splits: as for `load_set`.
        cache: as for `load_set`.
        progress: as for `load_set`.
    """
    tables, origin = open_tables(source, splits, ("train",))
    return decode_data(
        name,
        tables,
        origin,
        source.reading,
        normalization=source.normalization,
        cache=cache,
        progress=progress,
    )


def decode_data(
    name: str,
    tables: OpenTables,
    origin: Any,
    reading: Reading,
    *,
    normalization: Normalization | None = None,
    cache: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Data:
    """Return the data of any tables, with their labels and splits.

    Args:
        name: name for messages and reports.
        tables: function that opens the splits; called only if the cache lacks them.
        origin: JSON values that change when the source changes.
        reading: how rows are read.
        normalization: normalization of images; None for that of the training images.
        cache: the folder of the cache.
        progress: function of the number of decoded rows and their total.

    Raises:
        OneBasinError: when a row cannot be decoded.
    """
    stored = decode_source(
        name,
        tables,
        ["optional", origin],
        reading,
        cache=cache,
        progress=progress,
        needed=("train_inputs",),
    )
    splits: dict[str, ArraySplit] = {}
    for split in ("train", "test"):
        if f"{split}_inputs" in stored.tensors:
            inputs = inputs_of_split(stored, split, normalization)
            kept = MaskedTokens(inputs) if isinstance(inputs, Tokens) else inputs
            splits[split] = ArraySplit(kept, stored.tensors.get(f"{split}_labels"))
    train, has_labels = splits["train"], splits["train"].has_labels
    return Data(
        name,
        train,
        splits.get("test"),
        "classification" if has_labels else None,
        stored.facts["num_classes"],
        describe_normalization(train.inputs),
        tuple(stored.facts["class_names"]),
    )


OpenTables = Callable[[], Mapping[str, Table]]
"""Function that opens the splits of a source."""


def open_tables(
    source: HubSet, splits: Mapping[str, Sequence[str]], required: Sequence[str]
) -> tuple[OpenTables, Any]:
    """Return a function that opens the splits of a source, and JSON values that identify it."""
    if source.folder is None:
        origin = [source.hub, source.config, {split: list(s) for split, s in splits.items()}]
        return lambda: open_hub(source.hub, source.config, splits, required), origin
    files = parquet_files(source.folder, splits, required)
    origin = {split: digest(paths) for split, paths in files.items()}
    return lambda: {split: open_files(paths) for split, paths in files.items()}, origin


def decode_source(
    name: str,
    tables: OpenTables,
    origin: Any,
    reading: Reading,
    *,
    cache: str | os.PathLike[str] | None,
    progress: Progress | None,
    needed: Sequence[str],
) -> Stored:
    """Return the decoded splits of a source; they are decoded if the cache lacks them."""
    tokens = tokenizer_digest(reading.tokenizer)
    identity = [origin, reading.to_json(), *([] if tokens is None else [tokens])]
    key = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
    safe_name = re.sub(r"[^\w-]+", "-", name)[-80:]
    folder = cache_folder(cache) / "datasets" / f"{safe_name}-{key[:16]}"

    def write(temporary: Path) -> Mapping[str, Any]:
        labels = "train_labels" in needed
        return decode_tables(tables(), reading, temporary, progress, needs_labels=labels)

    return cached(folder, write, needed=(needed, FACTS))


def inputs_of_split(
    stored: Stored, split: str, normalization: Normalization | None
) -> Pixels | Tokens:
    """Return the inputs of a decoded split."""
    facts, raw = stored.facts, stored.tensors[f"{split}_inputs"]
    if facts["kind"] == "texts":
        return Tokens(raw[:, 1:], facts["vocabulary"], raw[:, 0])
    mean, deviation = normalization or (facts["mean"], facts["deviation"])
    channels = raw.shape[1]
    mean, deviation = (v if len(v) == channels else tuple(v) * channels for v in (mean, deviation))
    return Pixels(raw, tuple(mean), tuple(deviation))
