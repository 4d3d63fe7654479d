"""Options for reading data of any source."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onebasin.data._decoding import Reading
from onebasin.data._normalization import MeanAndStd, parse_normalization
from onebasin.data._texts import BYTES
from onebasin.errors import OneBasinError

LENGTH = 128
"""Default number of tokens of a text or block."""


@dataclass(frozen=True)
class ReadOptions:
    """Options of the user for reading data.

    Args:
        normalize: `none`, or means and standard deviations; see `parse_normalization`.
        image_size: height and width of images, which are scaled and cropped.
        label_column: the column with the labels.
        tokenizer: `bytes`, or the name or folder of a tokenizer of transformers.
        context: number of tokens of a text, or of a block of unlabeled text.
        default_tokenizer: tokenizer if `tokenizer` is None.
        default_context: number of tokens if `context` is None.
    """

    normalize: str | None = None
    image_size: int | None = None
    label_column: str | None = None
    tokenizer: str | None = None
    context: int | None = None
    default_tokenizer: str = BYTES
    default_context: int = LENGTH

    @property
    def normalization(self) -> MeanAndStd | None:
        """Means and standard deviations, or None for those of the source."""
        return None if self.normalize is None else parse_normalization(self.normalize)

    @property
    def reading(self) -> dict[str, Any]:
        """The fields of `Reading` that are given."""
        values = {
            "image_size": self.image_size,
            "label_column": self.label_column,
            "tokenizer": self.tokenizer or self.default_tokenizer,
            "max_length": self.context or self.default_context,
        }
        return {name: value for name, value in values.items() if value is not None}

    def to_reading(self) -> Reading:
        """Return how rows of tables are read."""
        return Reading(**self.reading)

    def check_unused(self, source: str, *names: str) -> None:
        """Check that no option without effect on a source is given.

        Args:
            source: a description of the source, for the message.
            names: the fields that have no effect.

        Raises:
            OneBasinError: one of them is given.
        """
        for name in names:
            if getattr(self, name) is not None:
                raise OneBasinError(f"data: {name}= has no effect on {source}; remove it")


TEXT_ONLY = ("tokenizer", "context")
IMAGE_ONLY = ("normalize", "image_size")


def local_name(path: Path) -> str:
    """Return the name of a file or folder for reports."""
    return path.name or str(path)
