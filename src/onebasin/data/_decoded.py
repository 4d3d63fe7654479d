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

from onebasin.data._cache import Decoded, cache_folder, load_decoded
from onebasin.data._decoding import Decoding, Progress, Reading
from onebasin.data._example_splits import ArraySplit
from onebasin.data._hub import open_hub
from onebasin.data._normalization import describe_normalization
from onebasin.data._parquet import digest, open_files, parquet_files
from onebasin.data._row_chunks import as_one_tensor, select_columns
from onebasin.data._sources import SPLIT_NAMES, Table
from onebasin.data._texts import tokenizer_digest
from onebasin.data.data import Data
from onebasin.data.dataset import Dataset
from onebasin.data.examples import MaskedTokens, Pixels, Tokens

FORMAT = 3
"""Version of the decoded files in the cache."""

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
        source: the source, and the options for reading it.
        splits: possible names of the splits "train" and "test".
        cache: the folder of the cache.
        progress: function of the number of decoded rows and their total.

    Raises:
        OneBasinError: the dataset cannot be found, fetched or decoded.
    """
    tables, origin = open_tables(source, splits, ("train", "test"))
    decoded = decode_source(
        name, tables, origin, source.reading, cache=cache, progress=progress, needs_labels=True
    )
    train, test = decoded.splits["train"], decoded.splits["test"]
    assert train.labels is not None and test.labels is not None
    return Dataset(
        name,
        inputs_of_split(decoded, "train", source.normalization),
        train.labels,
        test_inputs=inputs_of_split(decoded, "test", source.normalization),
        test_labels=test.labels,
        num_classes=decoded.metadata["num_classes"],
        class_names=tuple(decoded.metadata["class_names"]),
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
        OneBasinError: a row cannot be decoded.
    """
    decoded = decode_source(
        name,
        tables,
        ["optional", origin],
        reading,
        cache=cache,
        progress=progress,
        needs_labels=False,
    )
    splits: dict[str, ArraySplit] = {}
    for split, rows in decoded.splits.items():
        inputs = inputs_of_split(decoded, split, normalization)
        masked = MaskedTokens(inputs) if isinstance(inputs, Tokens) else inputs
        splits[split] = ArraySplit(masked, rows.labels)
    train = splits["train"]
    return Data(
        name,
        train,
        splits.get("test"),
        "classification" if train.has_labels else None,
        decoded.metadata["num_classes"],
        describe_normalization(train.inputs),
        tuple(decoded.metadata["class_names"]),
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
    needs_labels: bool,
) -> Decoded:
    """Return the decoded splits of a source; they are decoded if the cache lacks them."""
    tokenizer = tokenizer_digest(reading.tokenizer)
    identity = [FORMAT, origin, reading.to_json(), tokenizer]
    key = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
    safe_name = re.sub(r"[^\w-]+", "-", name)[-80:]

    def start() -> Decoding:
        return Decoding(tables(), reading, progress, needs_labels=needs_labels)

    return load_decoded(start, safe_name, key, cache_folder(cache) / "datasets")


def inputs_of_split(
    decoded: Decoded, split: str, normalization: Normalization | None
) -> Pixels | Tokens:
    """Return the inputs of a decoded split."""
    metadata, rows = decoded.metadata, decoded.splits[split].inputs
    if metadata["kind"] == "texts":
        lengths, tokens = select_columns(rows, 0), select_columns(rows, slice(1, None))
        return Tokens(tokens, metadata["vocabulary"], as_one_tensor(lengths))
    mean, std = normalization or (metadata["mean"], metadata["std"])
    channels = rows.shape[1]
    mean, std = (v if len(v) == channels else tuple(v) * channels for v in (mean, std))
    return Pixels(rows, tuple(mean), tuple(std))
