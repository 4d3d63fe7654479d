"""Validation of the arguments of measurements on data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from onebasin.api._data import DataSource
from onebasin.checkpoints import check_file_writable
from onebasin.errors import OneBasinError, check_choice, check_whole
from onebasin.evaluation.curves import BarrierBaseline, LineNormalization
from onebasin.evaluation.plotting import check_picture
from onebasin.evaluation.results import check_table_path

Split = Literal["both", "train", "test"]


def check_measurement(
    call: str,
    data: Any,
    split: Any,
    normalization: Any = "interpolated",
    num_points: Any = 2,
    *,
    baseline: Any = "linear",
) -> None:
    """Check the arguments of a measurement before long work.

    Raises:
        OneBasinError: one of them is invalid, or there are no data.
    """
    if data is None:
        raise OneBasinError(f"{call}: data is None; pass labeled data, such as a DataLoader")
    check_choice(call, "split", split, Split)
    check_choice(call, "normalization", normalization, LineNormalization)
    check_choice(call, "baseline", baseline, BarrierBaseline)
    check_whole(call, "num_points", num_points, least=2)


def check_result_files(inputs: Sequence[Path], *, plot: Any = None, save: Any = None) -> None:
    """Check that a picture and a table can be written.

    Args:
        inputs: files that must not be replaced.
        plot: path of the picture, or None.
        save: path of the table, or None.

    Raises:
        OneBasinError: a suffix is unknown, or a path cannot be written or is an input.
    """
    for path, check in ((plot, check_picture), (save, check_table_path)):
        if path is not None:
            check(Path(path))
            check_file_writable(path, inputs=inputs)


def check_max_train_examples(call: str, data: Any) -> None:
    """Raise an error if the number of training examples was given but none is used."""
    if isinstance(data, DataSource) and data.max_train_examples is not None:
        raise OneBasinError(
            f"{call}: max_train_examples= has no effect because only the test split is used; "
            "remove it or pass split='train'"
        )
