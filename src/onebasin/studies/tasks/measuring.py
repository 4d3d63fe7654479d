"""Measuring as a task: networks, and the lines between two of them, on data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from onebasin.forward.batches import Batches
from onebasin.forward.binding import BoundModel
from onebasin.measuring.curves import Curve, Normalization
from onebasin.measuring.evaluation import Evaluator, evaluator
from onebasin.measuring.interpolation import interpolate
from onebasin.studies.task import Result
from onebasin.studies.tasks.specs import Spec, data_of, network_of
from onebasin.training.datasets.dataset import Dataset

SPLITS = ("train", "test")
NUM_POINTS = 25


def evaluate_network(
    *, data: Spec, network: Spec, params: Result, splits: Sequence[str] = SPLITS
) -> Result:
    """Evaluate a network.

    Args:
        data: what to evaluate it on.
        network: its architecture.
        params: the network.
        splits: "train", "test" or both.

    Returns:
        One row per split: split, loss, error.
    """
    setting = _Setting.of(data, network)
    rows = []
    for split in splits:
        found = setting.evaluator(split)(BoundModel(setting.module, params.tensors))
        rows.append({"split": split, "loss": found.loss, "error": found.error})
    return Result(rows)


def measure_curve(
    *,
    data: Spec,
    network: Spec,
    a: Result,
    b: Result,
    splits: Sequence[str] = SPLITS,
    num_points: int = NUM_POINTS,
    normalization: Normalization = "interpolated",
) -> Result:
    """Measure the curve between two networks.

    Args:
        data: what to measure on.
        network: of both.
        a: the network at alpha 1.
        b: the network at alpha 0.
        splits: "train", "test" or both.
        num_points: of the grid, ends included.
        normalization: "interpolated", or "reset" from the training set.

    Returns:
        One row per split and point: split, alpha, loss, error, normalization.
    """
    setting = _Setting.of(data, network)
    rows = []
    for split in splits:
        curve = setting.curve(split, a, b, num_points, normalization)
        rows += [{"split": split, **row} for row in curve.rows()]
    return Result(rows)


def measure_barrier(
    *,
    data: Spec,
    network: Spec,
    a: Result,
    b: Result,
    splits: Sequence[str] = SPLITS,
    num_points: int = NUM_POINTS,
    normalization: Normalization = "interpolated",
) -> Result:
    """Measure the barriers between two networks; arguments as for `measure_curve`.

    Returns:
        One row per split: split, barrier (of the loss), error_barrier, loss_a, loss_b,
        error_a, error_b, midpoint_loss, midpoint_error, normalization.
    """
    setting = _Setting.of(data, network)
    rows = []
    for split in splits:
        curve = setting.curve(split, a, b, num_points, normalization)
        middle = len(curve.alphas) // 2
        rows.append(
            {
                "split": split,
                "barrier": curve.barrier("loss"),
                "error_barrier": curve.barrier("error"),
                "loss_a": curve.losses[-1],
                "loss_b": curve.losses[0],
                "error_a": curve.errors[-1],
                "error_b": curve.errors[0],
                "midpoint_loss": curve.losses[middle],
                "midpoint_error": curve.errors[middle],
                "normalization": normalization,
            }
        )
    return Result(rows)


@dataclass(frozen=True, eq=False)
class _Setting:
    data: Dataset
    module: nn.Module

    @staticmethod
    def of(data: Spec, network: Spec) -> _Setting:
        dataset = data_of(data)
        return _Setting(dataset, network_of(network, dataset))

    def evaluator(self, split: str) -> Evaluator:
        data, is_train = self.data, split == "train"
        inputs = data.train_inputs if is_train else data.test_inputs
        return evaluator(inputs, data.train_labels if is_train else data.test_labels)

    def curve(
        self, split: str, a: Result, b: Result, num_points: int, normalization: Normalization
    ) -> Curve:
        data = None
        if normalization == "reset":
            data = Batches(self.data.train_inputs, self.data.train_labels, batch_size=500)
        return interpolate(
            self.module,
            dict(a.tensors),
            dict(b.tensors),
            self.evaluator(split),
            num_points=num_points,
            normalization=normalization,
            data=data,
        )
