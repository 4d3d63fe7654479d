"""Trained networks and their histories, the results of training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

from onebasin.errors import check_choice, public
from onebasin.evaluation.results import axes_for
from onebasin_studies.training.engines.engine import EngineName

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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


Status = Literal["finished", "converged", "diverged"]
Metric = Literal["loss", "error"]


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """The result of training with one seed.

    Args:
        seed: random seed of the initial weights and the order of examples.
        params: parameters and buffers, detached, on the CPU.
        history: one row per epoch.
        status: "finished" after all epochs, "converged" if the loss fell below `stop_loss`,
            "diverged" if it was not finite.
        engine: the engine of the training: "vmap" or "loop".
        reason: the reason for this engine, in a sentence.
    """

    seed: int
    params: dict[str, Tensor]
    history: tuple[EpochRow, ...]
    status: Status = "finished"
    engine: EngineName = "loop"
    reason: str = ""

    def __repr__(self) -> str:
        size = sum(tensor.numel() for tensor in self.params.values())
        numbers = ""
        if self.history:
            last = self.history[-1]
            metrics = {"loss": last.loss, "error": last.error}
            metrics |= {"test loss": last.test_loss, "test error": last.test_error}
            numbers = "".join(f", {k} {v:.4f}" for k, v in metrics.items() if v is not None)
        return (
            f"TrainedNetwork: seed {self.seed}, {self.status} after {len(self.history)} epochs"
            f"{numbers}, {size:,} values in {len(self.params)} tensors"
        )

    @property
    def losses(self) -> tuple[float, ...]:
        """Mean training cross-entropy during each epoch."""
        return tuple(row.loss for row in self.history)

    @property
    def seconds(self) -> float:
        """Duration of the training, divided among networks that were trained together."""
        return sum((row.seconds for row in self.history), 0.0)

    def rows(self) -> list[dict[str, Any]]:
        """Return the history as plain JSON values, one row per epoch."""
        return [row.to_json() for row in self.history]

    @public
    def plot(self, ax: Axes | None = None, *, metric: Metric = "loss", **style: Any) -> Axes:
        """Plot the learning curve: training solid, test dashed.

        Args:
            ax: target axes; default: a new figure.
            metric: "loss" or "error".
            **style: arguments of `Axes.plot`, such as `label` and `color`.

        Returns:
            The axes with the curve.
        """
        check_choice("metric", metric, Metric)
        ax = axes_for(ax)
        epochs = [row.epoch for row in self.history]
        (line,) = ax.plot(epochs, [getattr(row, metric) for row in self.history], **style)
        test = [getattr(row, f"test_{metric}") for row in self.history]
        measured = [(epoch, value) for epoch, value in zip(epochs, test, strict=True)]
        points = [point for point in measured if point[1] is not None]
        if points:
            style = {**style, "color": line.get_color(), "linestyle": "--", "label": None}
            ax.plot(*zip(*points, strict=True), **style)
        ax.set_xlabel("epoch")
        ax.set_ylabel(metric)
        return ax
