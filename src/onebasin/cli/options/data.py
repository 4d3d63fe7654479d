"""Data, and how they are read."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from onebasin.cli.option_groups import count, option
from onebasin.errors import OneBasinError

if TYPE_CHECKING:
    from onebasin.api import DataSource

DataRoot = Annotated[
    Path | None,
    option(
        "--data-root",
        metavar="DIR",
        help="Folder with one subfolder for each dataset.",
        default="the environment variable ONEBASIN_DATA",
    ),
]
Normalize = Annotated[
    str | None,
    option(
        "--normalize",
        metavar="none|MEAN,STD",
        help="Normalization of pixel values between 0 and 1: none, or means followed by standard "
        "deviations, such as 0.5,0.25.",
        default="the dataset's own, or the statistics of the training images",
    ),
]
ImageSize = Annotated[int | None, count("--image-size", "Scale and crop images to N x N pixels.")]
LabelColumn = Annotated[
    str | None,
    option(
        "--label-column",
        metavar="NAME",
        help="Label column of a table.",
        default="label, target, class, ...",
    ),
]
TokenizerName = Annotated[
    str | None,
    option(
        "--tokenizer",
        metavar="NAME",
        help="Tokenizer of texts: bytes, or a transformers folder or name.",
        default="the tokenizer of an hf: folder; otherwise bytes",
    ),
]
Context = Annotated[
    int | None,
    count(
        "--context", "Number of tokens per text, or per block of text for a language model.", "128"
    ),
]
MaxTrainExamples = Annotated[
    int | None,
    count("--max-train-examples", "Use N training examples, drawn at random with --seed.", "all"),
]
MaxTrainExamplesFixed = Annotated[
    int | None,
    count(
        "--max-train-examples",
        "Train on N examples, drawn at random. All seeds use the same examples.",
        "all",
    ),
]


@dataclass(frozen=True)
class DataOptions:
    """How data are read."""

    data_root: DataRoot = None
    max_train_examples: MaxTrainExamples = None
    normalize: Normalize = None
    image_size: ImageSize = None
    label_column: LabelColumn = None
    tokenizer: TokenizerName = None
    context: Context = None

    def source(self, data: str, seed: int) -> DataSource:
        """Return the data.

        Args:
            data: `--data`.
            seed: random seed of the choice of training examples.
        """
        from onebasin.api import DataSource

        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return DataSource(data, root=given.pop("data_root"), seed=seed, **given)

    def optional_source(self, data: str | None, seed: int) -> DataSource | None:
        """Return the data, or None without `--data`.

        Raises:
            OneBasinError: there are options for data, but no data.
        """
        if data is not None:
            return self.source(data, seed)
        for field in fields(self):
            if getattr(self, field.name) is not None:
                option = "--" + field.name.replace("_", "-")
                raise OneBasinError(
                    f"data: {option} has no effect without --data; remove it or give --data"
                )
        return None


@dataclass(frozen=True)
class TrainingDataOptions(DataOptions):
    """Data options of `train`, whose examples do not depend on a seed."""

    max_train_examples: MaxTrainExamplesFixed = None
