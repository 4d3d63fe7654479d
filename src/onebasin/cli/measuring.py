"""Measuring: what `barrier` and `plane` share: data, splits and what they write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from onebasin.errors import OneBasinError

if TYPE_CHECKING:
    from onebasin.measuring.curves import Chord, LineNormalization
    from onebasin.measuring.evaluation import Evaluator
    from onebasin.training.datasets.dataset import Dataset

DataName = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="NAME",
        help="Data to measure on: digits, mnist, cifar10, ...; a NAME that there is not lists "
        "those that there are.",
        show_default=False,
    ),
]
DataRoot = Annotated[
    Path | None,
    typer.Option(
        "--data-root",
        metavar="DIR",
        help="Folder with a folder of parquet files for each dataset; else ONEBASIN_DATA.",
        show_default=False,
    ),
]
NormalizationName = Annotated[
    Literal["interpolated", "reset"],
    typer.Option(
        "--normalization",
        help="Running statistics between the ends: as they come, or from the training data.",
    ),
]
LineNormalizationName = Annotated[
    Literal["interpolated", "reset", "repair", "rescale"],
    typer.Option(
        "--normalization",
        help="Statistics between the ends: running ones as they come, or reset from the "
        "training data; or those of all units repaired or rescaled with it.",
    ),
]
TableFile = Annotated[
    Path | None,
    typer.Option(
        "--save",
        metavar="FILE",
        help="Write every number, one row each (.csv or .json).",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class DataChoice:
    """What the user said about data.

    Args:
        name: which dataset.
        root: where its folder is, or None.
        splits: "train", "test" or both.
        num_train: how many training examples, or None for all.
        seed: of which ones.
    """

    name: str
    root: Path | None = None
    splits: tuple[str, ...] = ("train", "test")
    num_train: int | None = None
    seed: int = 0

    def load(self) -> Dataset:
        """Load the dataset; the same test set whatever `--seed` is, as it was trained on."""
        from onebasin.cli.data import load

        return load(self.name, self.root, self.num_train, seed=self.seed)

    def evaluators(self, data: Dataset) -> dict[str, Evaluator]:
        """Return what evaluates a model on each of the splits."""
        from onebasin.measuring.evaluation import evaluator

        made = {}
        for split in self.splits:
            inputs = data.train_inputs if split == "train" else data.test_inputs
            labels = data.train_labels if split == "train" else data.test_labels
            made[split] = evaluator(inputs, labels)
        return made


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


def names_of(paths: Sequence[Path], call: str) -> list[str]:
    """Return what checkpoints are called: the shortest that tells them apart.

    Args:
        paths: of the checkpoints.
        call: the command, for the message.

    Raises:
        OneBasinError: when a path is given twice.

    Example:
        >>> names_of([Path("runs/a.pt"), Path("runs/b.pt")], "barrier")
        ['a', 'b']
    """
    for shown in (lambda path: path.stem, lambda path: path.name, str):
        names = [shown(path) for path in paths]
        if len(set(names)) == len(names):
            return names
    twice = next(path for path in paths if list(paths).count(path) > 1)
    raise OneBasinError(f"{call}: {twice} is given twice; give each checkpoint once")
