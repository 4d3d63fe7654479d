"""Accumulates predictions into confidence bins."""

from __future__ import annotations

from math import nan

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from onebasin.errors import OneBasinError, check_whole
from onebasin.evaluation.calibration import Calibration
from onebasin.evaluation.losses import check_classes
from onebasin.graph.batches import IGNORED


class CalibrationBins:
    """Confidence bins, filled batch by batch.

    Args:
        num_bins: number of bins of equal width.

    Raises:
        OneBasinError: `num_bins` is below 1.
    """

    def __init__(self, num_bins: int = 15) -> None:
        """Initialize empty bins."""
        num_bins = check_whole("calibrate", "num_bins", num_bins, least=1)
        self._counts = torch.zeros(num_bins, dtype=torch.float64)
        self._sums = torch.zeros(num_bins, dtype=torch.float64)
        self._right = torch.zeros(num_bins, dtype=torch.float64)

    def add(self, probabilities: Float[Tensor, "n c"], labels: Int[Tensor, " n"]) -> None:
        """Add the predictions of a batch.

        Args:
            probabilities: class probabilities.
            labels: class labels; labels of -100 are ignored.
        """
        counted = labels != IGNORED
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
            raise OneBasinError("calibrate: the data have no examples; pass at least one")

        def means(sums: Float64[Tensor, " bins"]) -> tuple[float, ...]:
            pairs = zip(sums.tolist(), counts, strict=True)
            return tuple(total / count if count else nan for total, count in pairs)

        return Calibration(tuple(counts), means(self._sums), means(self._right))


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
        >>> round(calibrate(sure, torch.tensor([0, 1])).expected_error, 3)
        0.4
    """
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        raise OneBasinError(
            f"calibrate: probabilities are {tuple(probabilities.shape)} and labels "
            f"{tuple(labels.shape)}; expected (n, classes) and (n,)"
        )
    sums = probabilities.double().sum(1)
    rounding = torch.finfo(probabilities.dtype).eps if probabilities.is_floating_point() else 0.0
    is_near = torch.allclose(sums, torch.ones_like(sums), atol=max(1e-3, rounding))
    if not is_near or (probabilities < 0).any():
        raise OneBasinError(
            "calibrate: rows are not probabilities (non-negative with a sum of 1); pass "
            "logits.softmax(1)"
        )
    if labels.is_floating_point() or labels.is_complex():
        raise OneBasinError(f"calibrate: labels are {labels.dtype}; they must be integers")
    check_classes("calibrate", labels, probabilities.shape[1])
    bins = CalibrationBins(num_bins)
    bins.add(probabilities, labels.to(probabilities.device))
    return bins.result()
