"""History: what is put down about each epoch of each network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class EpochRow:
    """One epoch of one network.

    Args:
        seed: of the network.
        epoch: from 1.
        loss: mean training cross-entropy, as met on the way.
        error: share of training examples that were got wrong, as met on the way.
        learning_rate: of the last step.
        seconds: how long the epoch took, divided by the networks trained together.
        test_loss: mean cross-entropy on the test set after the epoch, where measured.
        test_error: share of test examples got wrong after the epoch, where measured.
    """

    seed: int
    epoch: int
    loss: float
    error: float
    learning_rate: float
    seconds: float
    test_loss: float | None = None
    test_error: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the values by name; a number that JSON has no sign for becomes None."""
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(self).items()
        }


def rows_from_json(rows: Sequence[dict[str, Any]]) -> tuple[EpochRow, ...]:
    """Return rows that `EpochRow.to_json` made."""
    missing = float("nan")
    needed = ("loss", "error", "learning_rate", "seconds")
    return tuple(
        EpochRow(**{**row, **{name: missing for name in needed if row[name] is None}})
        for row in rows
    )
