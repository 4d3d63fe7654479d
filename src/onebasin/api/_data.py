"""Data of a job: loaded, and fitted to an architecture before any long work."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from torch import Tensor

from onebasin.api._reporter import Reporter
from onebasin.checkpoints import Architecture
from onebasin.checkpoints._sources.callables import module_files
from onebasin.data._fitting import fit_data
from onebasin.data._read_options import ReadOptions
from onebasin.data._readers.objects import data_of
from onebasin.data._tokenizers import options_for
from onebasin.data.data import Data, SplitName
from onebasin.data.dataset import Dataset
from onebasin.data.loading import load_data, local_data
from onebasin.errors import ArgumentError, OneBasinError
from onebasin.evaluation.statistics import LARGE_DIFFERENCE, reset_difference
from onebasin.networks import NETWORKS

LEAST_CHECKED, CHECKED = 50, 2000
"""Smallest and largest number of examples for the check of the normalization."""


@dataclass(frozen=True)
class DataSource:
    """Data by name, and how they are read.

    Args:
        name: a name such as digits, a file, a folder, or `package.module:callable`.
        root: folder with one subfolder for each dataset, or None.
        max_train_examples: number of training examples, or None for all.
        seed: random seed of the choice of training examples.
        normalize: "none", or means and standard deviations such as "0.5,0.25".
        image_size: height and width of images, which are scaled and cropped.
        label_column: label column of a table.
        tokenizer: "bytes", or the name or folder of a transformers tokenizer.
        context: number of tokens of a text.
    """

    name: str
    root: Path | None = None
    max_train_examples: int | None = None
    seed: int = 0
    normalize: str | None = None
    image_size: int | None = None
    label_column: str | None = None
    tokenizer: str | None = None
    context: int | None = None

    @property
    def options(self) -> ReadOptions:
        """How the data are read."""
        return ReadOptions(
            self.normalize, self.image_size, self.label_column, self.tokenizer, self.context
        )

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that are read: a file, a folder, or the module of a callable."""
        local = local_data(self.name, root=self.root)
        if local is not None:
            return (local,)
        return module_files(self.name.partition(":")[0]) if ":" in self.name else ()

    def load(self, arch: str | None = None) -> Data:
        """Return the data; the test split does not depend on the seed.

        Args:
            arch: ARCH; an hf: folder has a tokenizer.

        Raises:
            OneBasinError: the data do not exist, or have too few examples.
        """
        data = load_data(self.name, root=self.root, options=options_for(arch, self.options))
        return data.take(self.max_train_examples, seed=self.seed)


def as_data(value: Any, arch: str | None) -> Data:
    """Return the argument `data` as data.

    Args:
        value: a `DataSource`, its name, a dataset, or batches.
        arch: ARCH of a named architecture, or None.

    Raises:
        OneBasinError: the argument is invalid or empty.
    """
    if isinstance(value, str | os.PathLike):
        with _explained_options():
            return DataSource(os.fspath(value)).load(arch)
    if isinstance(value, DataSource):
        return value.load(arch)
    if isinstance(value, Dataset):
        return Data.from_dataset(value)
    return data_of("data", value)


_OPTION = re.compile(rf"\b({'|'.join(f.name for f in fields(DataSource))})=")


@contextlib.contextmanager
def _explained_options() -> Iterator[None]:
    """Add to an error that its options are arguments of `DataSource`."""
    try:
        yield
    except OneBasinError as error:
        option = _OPTION.search(str(error))
        if option is None:
            raise
        hint = f"{option[0]} is an argument of onebasin.DataSource"
        raise type(error)(f"{error} ({hint})") from error


def splits_of(data: Data, split: str) -> tuple[SplitName, ...]:
    """Return the splits to evaluate on; the training split if the data have no other.

    Args:
        data: the examples.
        split: "train", "test" or "both".
    """
    wanted = ("train", "test") if split == "both" else (split,)
    return data.splits(wanted) or ("train",)


def fitted(arch: str, data: Data) -> tuple[dict[str, Any], Data]:
    """Return arguments of a built-in architecture that fit data, and the data for it.

    Flat data become images if the architecture takes images. Other architectures have no such
    arguments, and the data are returned unchanged.

    Args:
        arch: ARCH.
        data: the examples.

    Raises:
        OneBasinError: the architecture does not support such data.
    """
    if arch not in NETWORKS:
        return {}, data
    sizes, first = None, None
    for layout in data.layouts():
        shape = layout.input_shape
        try:
            if shape is None:
                raise ArgumentError(
                    f"{data.name} gives several tensors for each example; {arch} takes one"
                )
            sizes, data = NETWORKS[arch].fit(shape), layout
            break
        except OneBasinError as error:
            first = first or error
    if sizes is None:
        assert first is not None
        raise first
    classes = {} if data.num_classes is None else {"num_classes": data.num_classes}
    return {**sizes, **classes}, data


def inputs_text(data: Data) -> str | None:
    """Return the shape of two examples, such as 2x1x28x28; None for several tensors.

    Args:
        data: data in a form that the architecture takes.
    """
    shape = data.input_shape
    if shape is None:
        return None
    text = "x".join(map(str, (2, *shape)))
    return text if data.example_inputs(1).is_floating_point() else f"{text}:int64<2"


def laid_out(
    architecture: Architecture,
    data: Data,
    *,
    has_classes: bool = True,
    remedy: str = "other arch_args=",
) -> Data:
    """Return data in a form that an architecture can be run on.

    Args:
        architecture: the built architecture.
        data: the examples.
        has_classes: whether a loss is computed, which needs labels that fit the outputs.
        remedy: alternative to other data, for messages.

    Raises:
        OneBasinError: the module cannot be run, or its outputs do not fit the labels.
    """
    return fit_data(
        architecture.module,
        data,
        name=architecture.name,
        needs_loss=has_classes,
        remedy=remedy,
    )


def note_normalization(
    architecture: Architecture, params: Mapping[str, Tensor], data: Data, reporter: Reporter
) -> None:
    """Note if the data differ from the training data of a network.

    Args:
        architecture: the built architecture.
        params: the reference network.
        data: data in a form that the architecture takes.
        reporter: shows the note.
    """
    known = data.num_examples()
    if known is not None and known < LEAST_CHECKED:
        return
    sample = data.take(CHECKED if known is None else min(known, CHECKED))
    try:
        difference = reset_difference(architecture.module, params, sample.batches())
    except OneBasinError:
        return  # the caller reports invalid batches
    if difference is None or difference <= LARGE_DIFFERENCE:
        return
    is_known = data.normalization is not None
    remedy = "set normalize=" if is_known else "normalize the inputs as for the training"
    reporter.note(
        f"with its statistics reset on {data.name}, A gives other outputs (relative "
        f"difference {difference:.2f}); was A trained on these data with this normalization "
        f"({data.normalization or 'as given'})? If not, {remedy}"
    )
