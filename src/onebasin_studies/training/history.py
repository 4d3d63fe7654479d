"""Training history: one row per network and epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class EpochRow:
    """One epoch of one network.

    Args:
        seed: seed of the network.
        epoch: number of the epoch, from 1.
        loss: mean training cross-entropy during the epoch.
        error: training error rate during the epoch.
        learning_rate: learning rate of the last step.
        seconds: duration of the epoch divided by the number of networks trained together.
        test_loss: mean test cross-entropy after the epoch, if evaluated.
        test_error: test error rate after the epoch, if evaluated.
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
        """Return the values by name; non-finite numbers become None."""
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(self).items()
        }


def rows_from_json(rows: Sequence[dict[str, Any]]) -> tuple[EpochRow, ...]:
    """Return the rows from the output of `EpochRow.to_json`."""
    missing = float("nan")
    needed = ("loss", "error", "learning_rate", "seconds")
    return tuple(
        EpochRow(**{**row, **{name: missing for name in needed if row[name] is None}})
        for row in rows
    )
