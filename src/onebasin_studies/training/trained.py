"""Trained networks: what training made of each seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

from onebasin.errors import check_choice
from onebasin.evaluation.results import axes_for
from onebasin_studies.training.engines.engine import EngineName
from onebasin_studies.training.history import EpochRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Status = Literal["finished", "converged", "diverged"]
Metric = Literal["loss", "error"]


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """What training made of one seed.

    Args:
        seed: what its initial weights and the order of its examples were drawn with.
        params: parameters and buffers, detached, on the CPU.
        history: a row for each epoch.
        status: "finished" after all epochs, "converged" where the loss fell below
            `stop_loss`, "diverged" where it was no finite number any more.
        engine: what ran it: "chain", "vmap" or "loop".
        reason: why that engine, in a sentence.
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
            found = {"loss": last.loss, "error": last.error}
            found |= {"test loss": last.test_loss, "test error": last.test_error}
            numbers = "".join(f", {k} {v:.4f}" for k, v in found.items() if v is not None)
        return (
            f"TrainedNetwork: seed {self.seed}, {self.status} after {len(self.history)} epochs"
            f"{numbers}, {size:,} values in {len(self.params)} tensors"
        )

    @property
    def losses(self) -> tuple[float, ...]:
        """Mean training cross-entropy of each epoch, as met on the way."""
        return tuple(row.loss for row in self.history)

    @property
    def seconds(self) -> float:
        """How long it took; of networks trained together, each is given its share."""
        return sum((row.seconds for row in self.history), 0.0)

    def rows(self) -> list[dict[str, Any]]:
        """Return the history as plain JSON values, a row for each epoch."""
        return [row.to_json() for row in self.history]

    def plot(self, ax: Axes | None = None, *, metric: Metric = "loss", **style: Any) -> Axes:
        """Draw the learning curve: training, and test, dashed, where it was measured.

        Args:
            ax: where to draw; a new figure without it.
            metric: "loss" or "error".
            **style: passed on to `Axes.plot`, for example `label` and `color`.

        Returns:
            The axes with the curve.
        """
        check_choice("plot", "metric", metric, Metric)
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
