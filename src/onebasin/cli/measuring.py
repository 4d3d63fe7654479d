"""Measuring: what `barrier` and `plane` share: data, splits and what they write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from onebasin.errors import OneBasinError

if TYPE_CHECKING:
    from onebasin.cli.console import Console
    from onebasin.measuring.curves import Chord, LineNormalization
    from onebasin.measuring.evaluation import Evaluator
    from onebasin.training.datasets.data import Data, SplitName
    from onebasin.training.datasets.read_options import ReadOptions

DataName = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="DATA",
        help="Data to evaluate on: a name such as digits, a file, a folder, or "
        "package.module:callable.",
        show_default=False,
    ),
]
NormalizationName = Annotated[
    Literal["interpolated", "reset"],
    typer.Option(
        "--normalization",
        help="BatchNorm statistics between the checkpoints: interpolated, or recomputed from "
        "training data (reset).",
    ),
]
LineNormalizationName = Annotated[
    Literal["interpolated", "reset", "repair", "rescale"],
    typer.Option(
        "--normalization",
        help="Statistics between the checkpoints: interpolate BatchNorm statistics, recompute "
        "them from training data (reset), or repair or rescale all units.",
    ),
]
TableFile = Annotated[
    Path | None,
    typer.Option(
        "--save",
        metavar="FILE",
        help="Write all numbers as rows of a table (.csv or .json).",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class DataChoice:
    """What the user says about data.

    Args:
        name: `--data`.
        root: folder with a folder for each dataset, or None.
        splits: "train", "test" or both.
        num_train: number of training examples, or None for all.
        seed: random seed of the choice of examples.
        options: how the data are read.
    """

    name: str
    root: Path | None = None
    splits: tuple[str, ...] = ("train", "test")
    num_train: int | None = None
    seed: int = 0
    options: ReadOptions | None = None

    def load(self, arch: str | None = None) -> Data:
        """Load the data; the test split does not depend on the seed.

        Args:
            arch: ARCH; a folder of transformers brings its own tokenizer.

        Raises:
            OneBasinError: when there are no such data, or too few.
        """
        from onebasin.training.datasets.loading import load_data
        from onebasin.training.datasets.tokenizers import options_for

        options = options_for(arch, self.options)
        data = load_data(self.name, root=self.root, options=options)
        return data.take(self.num_train, seed=self.seed)

    def available(self, data: Data) -> tuple[SplitName, ...]:
        """Return the chosen splits that the data have; the training split if they have none."""
        return data.splits(self.splits) or ("train",)

    def refuse_num_train(self, call: str) -> None:
        """Refuse `--num-train` when no training example is used.

        Args:
            call: the command, for the message.

        Raises:
            OneBasinError: `--num-train` is given.
        """
        if self.num_train is not None:
            raise OneBasinError(
                f"{call}: --num-train has no effect because only the test split is used; remove "
                "it or give --split train"
            )

    def note_splits(self, data: Data, console: Console) -> None:
        """Say so if the data lack a chosen split."""
        if self.available(data) != self.splits:
            console.note(f"{data.name} has no test split; its training examples are used")

    def evaluators(self, data: Data) -> dict[str, Evaluator]:
        """Return a function that evaluates a model for each of the available splits."""
        return {split: data.evaluator(split) for split in self.available(data)}


@dataclass(frozen=True)
class MeasuringChoice:
    """What the user said about measuring barriers.

    Args:
        num_points: points of each curve.
        normalization: where the statistics of units between the ends come from.
        chord: what a barrier is measured from.
        plot: where the picture goes, or None.
        save: where the numbers go, or None.
    """

    num_points: int = 25
    normalization: LineNormalization = "interpolated"
    chord: Chord = "ends"
    plot: Path | None = None
    save: Path | None = None

    def check_outputs(self, inputs: Sequence[Path]) -> None:
        """Check, before long work, that what is asked for can be written.

        Raises:
            OneBasinError: when a suffix is unknown, a path cannot be written or is an input.
        """
        from onebasin.checkpoints import check_file_writable
        from onebasin.measuring.pictures import check_picture
        from onebasin.measuring.results import check_table_path

        for path, check in ((self.plot, check_picture), (self.save, check_table_path)):
            if path is not None:
                check(path)
                check_file_writable(path, inputs=inputs)

    def to_text(self) -> str:
        """Return a line for people that says what happens between the ends."""
        return f"statistics between the ends: {self.normalization}"
