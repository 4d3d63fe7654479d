"""Calibration: whether a network is right as often as it is sure.

Owns the reliability diagram, its bins and the errors they make.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import nan
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from onebasin.errors import OneBasinError
from onebasin.measuring.checks import check_whole
from onebasin.measuring.losses import check_classes
from onebasin.measuring.pictures import GRID, SOFT_INK
from onebasin.measuring.results import Result, axes_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FILL = "#00798c"


@dataclass(frozen=True)
class Calibration(Result):
    r"""How often answers of each confidence are right; made by `calibrate`.

    The bins are equally wide, from 0 to 1; a confidence belongs to the bin \((l, u]\) it lies in.

    Args:
        counts: answers in each bin.
        confidences: mean confidence of each bin; NaN where it is empty.
        accuracies: share of right answers in each bin; NaN where it is empty.
    """

    counts: tuple[int, ...]
    confidences: tuple[float, ...]
    accuracies: tuple[float, ...]

    @property
    def num_examples(self) -> int:
        """How many answers there are."""
        return sum(self.counts)

    @property
    def edges(self) -> tuple[float, ...]:
        """Where bins begin and end, one more than there are bins."""
        num_bins = len(self.counts)
        return tuple(i / num_bins for i in range(num_bins + 1))

    @property
    def expected_error(self) -> float:
        r"""The expected calibration error, ECE.

        \(\sum_b \frac{n_b}{n} |\mathrm{accuracy}_b - \mathrm{confidence}_b|\) (Guo et al. 2017,
        Eq. 5), in [0, 1].
        """
        return sum(n * gap for n, gap in self._gaps()) / self.num_examples

    @property
    def largest_error(self) -> float:
        """The largest difference between accuracy and confidence of a bin, MCE, in [0, 1]."""
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
        """Draw the reliability diagram; bars on the diagonal are calibrated.

        Args:
            ax: where to draw; a new figure without it.

        Returns:
            The axes with the diagram.
        """
        ax = axes_for(ax)
        width = 1 / len(self.counts)
        filled = [i for i, count in enumerate(self.counts) if count]
        middles = [(i + 0.5) * width for i in filled]
        ax.bar(middles, [self.accuracies[i] for i in filled], 0.94 * width, color=FILL, alpha=0.85)
        ax.plot([0, 1], [0, 1], color=SOFT_INK, linestyle="--", linewidth=1.2)
        ax.text(0.03, 0.95, f"ECE {self.expected_error:.2%}", va="top", backgroundcolor=GRID)
        ax.set_xlim(0, 1)
        ax.set_ylim(0, 1)
        ax.set_xlabel("confidence")
        ax.set_ylabel("accuracy")
        return ax


class Bins:
    """Answers sorted into bins batch by batch.

    Args:
        num_bins: how many, equally wide.

    Raises:
        OneBasinError: when there is no bin.
    """

    def __init__(self, num_bins: int = 15) -> None:
        """Begin with empty bins."""
        num_bins = check_whole("calibrate", "num_bins", num_bins, least=1)
        self._counts = torch.zeros(num_bins, dtype=torch.float64)
        self._sums = torch.zeros(num_bins, dtype=torch.float64)
        self._right = torch.zeros(num_bins, dtype=torch.float64)

    def add(self, probabilities: Tensor, labels: Tensor) -> None:
        """Sort the answers of a batch into the bins.

        Args:
            probabilities: of each class, `(n, classes)`.
            labels: the right classes, `(n,)`; those of -100 do not count.
        """
        counted = labels != -100
        confidence, answer = probabilities[counted].double().max(1)
        num_bins = len(self._counts)
        index = ((confidence * num_bins).ceil().long() - 1).clamp(0, num_bins - 1).cpu()
        right = (answer == labels[counted]).double()
        self._counts += torch.bincount(index, minlength=num_bins)
        self._sums.index_add_(0, index, confidence.cpu())
        self._right.index_add_(0, index, right.cpu())

    def result(self) -> Calibration:
        """Return what is in the bins.

        Raises:
            OneBasinError: when nothing is.
        """
        counts = [int(count) for count in self._counts.tolist()]
        if not sum(counts):
            raise OneBasinError("calibrate: there are no examples; pass at least one")

        def means(sums: Tensor) -> tuple[float, ...]:
            pairs = zip(sums.tolist(), counts, strict=True)
            return tuple(total / count if count else nan for total, count in pairs)

        return Calibration(tuple(counts), means(self._sums), means(self._right))


def calibrate(probabilities: Tensor, labels: Tensor, *, num_bins: int = 15) -> Calibration:
    """Return how often answers of each confidence are right (Guo et al. 2017).

    An answer is the most probable class, and its probability the confidence.

    Args:
        probabilities: of each class, `(n, classes)`; rows add up to 1.
        labels: the right classes, int64 `(n,)`; those of -100 do not count.
        num_bins: how many equally wide bins.

    Returns:
        The bins.

    Raises:
        OneBasinError: when shapes or labels do not fit, rows are no probabilities, or there
            are none.

    Example:
        >>> sure = torch.tensor([[0.9, 0.1], [0.9, 0.1]])
        >>> round(calibrate(sure, torch.tensor([0, 1])).expected_error, 3)
        0.4
    """
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        raise OneBasinError(
            f"calibrate: probabilities are {tuple(probabilities.shape)} and labels "
            f"{tuple(labels.shape)}; expected (n, classes) and (n,)"
        )
    sums = probabilities.double().sum(1)
    if not torch.allclose(sums, torch.ones_like(sums), atol=1e-3) or (probabilities < 0).any():
        raise OneBasinError(
            "calibrate: rows are no probabilities (they must add up to 1 with none negative); "
            "pass logits.softmax(1)"
        )
    if labels.is_floating_point() or labels.is_complex():
        raise OneBasinError(f"calibrate: labels are {labels.dtype}; they must be integers")
    check_classes("calibrate", labels, probabilities.shape[1])
    bins = Bins(num_bins)
    bins.add(probabilities, labels)
    return bins.result()
