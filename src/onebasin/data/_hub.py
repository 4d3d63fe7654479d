"""Datasets on the Hugging Face hub."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from onebasin._packages import import_package
from onebasin._text import one_line
from onebasin.data._sources import ROWS, Table, class_names_of, kinds_of
from onebasin.errors import OneBasinError

_QUIET_LOCK = threading.RLock()
"""Held while the settings of the library are changed, which all threads share."""


def open_hub(
    name: str,
    config: str | None,
    splits: Mapping[str, Sequence[str]],
    required: Sequence[str] = ("train", "test"),
) -> dict[str, Table]:
    """Return the splits of a dataset on the hub, which is fetched if needed.

    Args:
        name: name on the hub, such as `ylecun/mnist`.
        config: name of a configuration, or None.
        splits: possible names of the splits "train" and "test", in order of preference.
        required: the required splits.

    Raises:
        OneBasinError: `datasets` is not installed, or the dataset or a required split cannot be
            fetched.
    """
    library = import_package("datasets", extra="data")
    try:
        with quiet(library):
            opened = library.load_dataset(name, config)
    # The library, the network and the files may raise anything.
    except Exception as error:
        raise OneBasinError(
            f"data: {name} cannot be fetched from the Hugging Face hub ({one_line(error)}); check "
            "the name and the network, or put train*.parquet and test*.parquet into a folder "
            "of root= (default: ONEBASIN_DATA)"
        ) from error
    fetched = {}
    for split, names in splits.items():
        split_name = next((choice for choice in names if choice in opened), None)
        if split_name is None and split not in required:
            continue
        if split_name is None:
            raise OneBasinError(
                f"data: {name} has no split {' or '.join(names)}; its splits are "
                f"{', '.join(opened)}; name the right ones as {split}_split"
            )
        fetched[split] = _table(opened[split_name], f"{name} ({split_name})")
    return fetched


@contextlib.contextmanager
def quiet(library: Any) -> Iterator[None]:
    """Silence the library `datasets` and the client of the hub; errors are raised once."""
    loggers = [logging.getLogger(name) for name in ("huggingface_hub", "datasets")]
    with _QUIET_LOCK:
        levels = [logger.level for logger in loggers]
        shows_bars = not library.are_progress_bars_disabled()
        try:
            for logger in loggers:
                logger.setLevel(logging.CRITICAL)
            library.disable_progress_bars()
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
            if shows_bars:
                library.enable_progress_bars()


def _table(rows: Any, source: str) -> Table:
    features = rows.features.to_dict()
    schema = rows.features.arrow_schema

    def read(columns: Sequence[str]) -> Iterator[tuple[str, Mapping[str, list[Any]]]]:
        chosen = rows.select_columns(list(columns)).with_format("arrow")
        for piece in chosen.iter(batch_size=ROWS):
            yield source, {name: piece.column(name).to_pylist() for name in columns}

    return Table(source, len(rows), kinds_of(schema, features), class_names_of(features), read)
