"""Calibration error: does confidence match accuracy?

Provides the reliability diagram and the calibration errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onebasin.evaluation.plotting import GRID, SOFT_INK
from onebasin.evaluation.results import Result, axes_for

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
    def expected_error(self) -> float:
        r"""The expected calibration error, ECE.

        \(\sum_b \frac{n_b}{n} |\mathrm{accuracy}_b - \mathrm{confidence}_b|\) (Guo et al. 2017,
        Eq. 5), in [0, 1].
        """
        return sum(n * gap for n, gap in self._gaps()) / self.num_examples

    @property
    def largest_error(self) -> float:
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
        ax.text(0.03, 0.95, f"ECE {self.expected_error:.2%}", va="top", backgroundcolor=GRID)
        ax.set_xlim(0, 1)
        ax.set_ylim(0, 1)
        ax.set_xlabel("confidence")
        ax.set_ylabel("accuracy")
        return ax
