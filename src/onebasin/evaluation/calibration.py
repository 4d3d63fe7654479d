"""Calibration error: does confidence match accuracy?

Provides the reliability diagram and the calibration errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import nan
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from onebasin.errors import ArgumentError, check_whole, public
from onebasin.evaluation._losses import check_classes
from onebasin.evaluation.plotting import GRID, SOFT_INK
from onebasin.evaluation.results import Result, axes_for
from onebasin.graph.batches import IGNORE_INDEX

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FILL = "#00798c"


@dataclass(frozen=True)
class Calibration(Result):
    r"""Accuracy for each confidence of the predictions; see `calibrate`.

    The bins have equal width, from 0 to 1. A confidence belongs to the bin \((l, u]\) that contains
    it.

    Args:
        counts: number of predictions in each bin.
        confidences: mean confidence of each bin; NaN for an empty bin.
        accuracies: fraction of right predictions in each bin; NaN for an empty bin.
    """

    counts: tuple[int, ...]
    confidences: tuple[float, ...]
    accuracies: tuple[float, ...]

    @property
    def num_examples(self) -> int:
        """Number of predictions."""
        return sum(self.counts)

    @property
    def edges(self) -> tuple[float, ...]:
        """Edges of the bins, one more than the number of bins."""
        num_bins = len(self.counts)
        return tuple(i / num_bins for i in range(num_bins + 1))

    @property
    def ece(self) -> float:
        r"""The expected calibration error, ECE.

        \(\sum_b \frac{n_b}{n} |\mathrm{accuracy}_b - \mathrm{confidence}_b|\) (Guo et al. 2017,
        Eq. 5), in [0, 1].
        """
        return sum(n * gap for n, gap in self._gaps()) / self.num_examples

    @property
    def mce(self) -> float:
        """The maximum calibration error, MCE, in [0, 1]."""
        return max(gap for _, gap in self._gaps())

    def _gaps(self) -> list[tuple[int, float]]:
        bins = zip(self.counts, self.confidences, self.accuracies, strict=True)
        return [(n, abs(accuracy - confidence)) for n, confidence, accuracy in bins if n]

    def rows(self) -> list[dict[str, Any]]:
        """Return one row for each bin."""
        bins = zip(self.counts, self.confidences, self.accuracies, strict=True)
        return [
            {
                "low": self.edges[i],
                "high": self.edges[i + 1],
                "count": count,
                "confidence": confidence,
                "accuracy": accuracy,
            }
            for i, (count, confidence, accuracy) in enumerate(bins)
        ]

    def plot(self, ax: Axes | None = None) -> Axes:
        """Plot the reliability diagram; calibrated bins lie on the diagonal.

        Args:
            ax: axes to draw on; a new figure by default.

        Returns:
            The axes with the diagram.
        """
        ax = axes_for(ax)
        width = 1 / len(self.counts)
        filled = [i for i, count in enumerate(self.counts) if count]
        middles = [(i + 0.5) * width for i in filled]
        ax.bar(middles, [self.accuracies[i] for i in filled], 0.94 * width, color=FILL, alpha=0.85)
        ax.plot([0, 1], [0, 1], color=SOFT_INK, linestyle="--", linewidth=1.2)
        ax.text(0.03, 0.95, f"ECE {self.ece:.2%}", va="top", backgroundcolor=GRID)
        ax.set_xlim(0, 1)
        ax.set_ylim(0, 1)
        ax.set_xlabel("confidence")
        ax.set_ylabel("accuracy")
        return ax


class CalibrationBins:
    """Confidence bins, filled batch by batch.

    Args:
        num_bins: number of bins of equal width.

    Raises:
        OneBasinError: `num_bins` is below 1.
    """

    def __init__(self, num_bins: int = 15) -> None:
        """Initialize empty bins."""
        num_bins = check_whole("num_bins", num_bins, least=1)
        self._counts = torch.zeros(num_bins, dtype=torch.float64)
        self._sums = torch.zeros(num_bins, dtype=torch.float64)
        self._right = torch.zeros(num_bins, dtype=torch.float64)

    def add(self, probabilities: Float[Tensor, "n c"], labels: Int[Tensor, " n"]) -> None:
        """Add the predictions of a batch.

        Args:
            probabilities: class probabilities.
            labels: class labels; labels of -100 are ignored.
        """
        counted = labels != IGNORE_INDEX
        confidence, answer = probabilities[counted].double().max(1)
        num_bins = len(self._counts)
        index = ((confidence * num_bins).ceil().long() - 1).clamp(0, num_bins - 1).cpu()
        right = (answer == labels[counted]).double()
        self._counts += torch.bincount(index, minlength=num_bins)
        self._sums.index_add_(0, index, confidence.cpu())
        self._right.index_add_(0, index, right.cpu())

    def result(self) -> Calibration:
        """Return the calibration.

        Raises:
            OneBasinError: all bins are empty.
        """
        counts = [int(count) for count in self._counts.tolist()]
        if not sum(counts):
            raise ArgumentError("the data have no examples; pass at least one")

        def means(sums: Float64[Tensor, " bins"]) -> tuple[float, ...]:
            pairs = zip(sums.tolist(), counts, strict=True)
            return tuple(total / count if count else nan for total, count in pairs)

        return Calibration(tuple(counts), means(self._sums), means(self._right))


@public
def calibrate(probabilities: Tensor, labels: Tensor, *, num_bins: int = 15) -> Calibration:
    """Return the accuracy for each confidence of the predictions (Guo et al. 2017).

    The prediction is the most probable class, and its probability the confidence.

    Args:
        probabilities: class probabilities, `(n, classes)`; rows sum to 1.
        labels: class labels, int64 `(n,)`; labels of -100 are ignored.
        num_bins: number of bins of equal width.

    Returns:
        The calibration with its bins.

    Raises:
        OneBasinError: shapes or labels do not match, rows are not probabilities, or the data are
            empty.

    Example:
        >>> sure = torch.tensor([[0.9, 0.1], [0.9, 0.1]])
        >>> round(calibrate(sure, torch.tensor([0, 1])).ece, 3)
        0.4
    """
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        raise ArgumentError(
            f"probabilities are {tuple(probabilities.shape)} and labels "
            f"{tuple(labels.shape)}; expected (n, classes) and (n,)"
        )
    sums = probabilities.double().sum(1)
    rounding = torch.finfo(probabilities.dtype).eps if probabilities.is_floating_point() else 0.0
    is_near = torch.allclose(sums, torch.ones_like(sums), atol=max(1e-3, rounding))
    if not is_near or (probabilities < 0).any():
        raise ArgumentError(
            "rows are not probabilities (non-negative with a sum of 1); pass logits.softmax(1)"
        )
    if labels.is_floating_point() or labels.is_complex():
        raise ArgumentError(f"labels are {labels.dtype}; they must be integers")
    check_classes(labels, probabilities.shape[1])
    bins = CalibrationBins(num_bins)
    bins.add(probabilities, labels.to(probabilities.device))
    return bins.result()
