"""Losses and errors along the line between two networks, and their barriers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isnan, nan
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from onebasin.errors import ArgumentError, OneBasinError, check_choice, public
from onebasin.evaluation.results import Result, axes_for, plain_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Quantity = Literal["loss", "error"]
BarrierBaseline = Literal["linear", "mean"]
Normalization = Literal["interpolated", "reset"]
LineNormalization = Literal["interpolated", "reset", "repair", "rescale", "refit"]


@dataclass(frozen=True)
class Curve(Result):
    """Losses and errors along a line, from B at alpha 0 to A at alpha 1.

    Args:
        alphas: weight of A at each point, increasing from 0 to 1.
        losses: mean loss at each point.
        errors: fraction of wrong answers at each point; NaN without classes.
        normalization: source of the statistics between the endpoints: "interpolated" like all
            tensors; "reset" from data for normalization layers; "repair" or "rescale" for all
            units; "refit" if the layers were refit.
        num_reset: number of layers that were reset, repaired or refit.
    """

    alphas: tuple[float, ...]
    losses: tuple[float, ...]
    errors: tuple[float, ...]
    normalization: LineNormalization = "interpolated"
    num_reset: int = 0

    def __repr__(self) -> str:
        losses = ", ".join(
            f"{name} {value:.4f}"
            for name, value in (
                ("B", self.losses[0]),
                ("A", self.losses[-1]),
                ("highest", max(self.losses)),
                ("barrier", self.barrier()),
            )
        )
        has_errors = not all(map(isnan, self.errors))
        errors = f"; error barrier {self.barrier('error'):.2%}" if has_errors else ""
        points = f"{len(self.alphas)} points from B to A"
        return f"Curve: {points}, loss: {losses}{errors}; statistics {self.normalization}"

    @public
    def barrier(self, quantity: Quantity = "loss", baseline: BarrierBaseline = "linear") -> float:
        r"""Return the barrier: the maximum of the curve above its baseline, at least 0.

        With "linear", \(\sup_\alpha [L(\alpha\theta_A+(1-\alpha)\theta_B) -
        (\alpha L(\theta_A)+(1-\alpha)L(\theta_B))]\) over the points of the curve (Entezari et
        al. 2022, Eq. 1). With "mean", the maximum minus the mean of the endpoints (Frankle et
        al. 2020), which also includes a difference between the endpoints.

        Args:
            quantity: "loss" or "error".
            baseline: "linear" or "mean".

        Returns:
            The barrier, in the unit of the quantity; NaN if a point is NaN.

        Raises:
            OneBasinError: an argument is invalid, or the curve has no errors.
        """
        check_choice("quantity", quantity, Quantity)
        check_choice("baseline", baseline, BarrierBaseline)
        values = self.losses if quantity == "loss" else self.errors
        if all(map(isnan, values)) and quantity == "error":
            raise ArgumentError("the curve has no errors; evaluate must return (loss, error) pairs")
        if any(map(isnan, values)):
            return nan
        if baseline == "mean":
            return max(0.0, max(values) - (values[0] + values[-1]) / 2)
        # For equal endpoints, this form of the baseline is exactly constant.
        b, a = values[0], values[-1]
        inner = list(zip(self.alphas, values, strict=True))[1:-1]
        return max([0.0, *(value - (b + alpha * (a - b)) for alpha, value in inner)])

    def rows(self) -> list[dict[str, Any]]:
        """Return one row for each point: alpha, loss, error and normalization."""
        points = zip(self.alphas, self.losses, self.errors, strict=True)
        return [
            {"alpha": alpha, "loss": loss, "error": error, "normalization": self.normalization}
            for alpha, loss, error in points
        ]

    @public
    def plot(self, ax: Axes | None = None, *, quantity: Quantity = "loss", **style: Any) -> Axes:
        """Plot the curve.

        Args:
            ax: axes to draw on; a new figure by default.
            quantity: "loss" or "error".
            **style: arguments of `Axes.plot`, such as `label` and `color`.

        Returns:
            The axes with the curve.
        """
        check_choice("quantity", quantity, Quantity)
        ax = axes_for(ax)
        values = self.losses if quantity == "loss" else self.errors
        ax.plot(self.alphas, values, **style)
        ax.set_xlabel("α (0 is B, 1 is A)")
        ax.set_ylabel(quantity)
        return ax

    def to_json(self) -> dict[str, Any]:
        """Return the curve as plain JSON values; see `plain_number`."""
        data = asdict(self)
        for key in ("alphas", "losses", "errors"):
            data[key] = list(map(plain_number, data[key]))
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Curve:
        """Return the curve that `to_json` wrote."""
        points = {
            key: tuple(nan if value is None else float(value) for value in data[key])
            for key in ("alphas", "losses", "errors")
        }
        return cls(**points, normalization=data["normalization"], num_reset=data["num_reset"])

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Curve:
        """Read a curve from a `.json` file of `save`.

        Raises:
            OneBasinError: the file is missing or is not a curve.
        """
        try:
            return cls.from_json(json.loads(Path(path).read_text()))
        except OSError as error:
            raise OneBasinError(f"{path}: cannot be read ({error.strerror})") from error
        except (ValueError, KeyError, TypeError) as error:
            raise OneBasinError(f"{path}: not a curve; write it with Curve.save") from error


# By "naive" or "aligned", then by "train" or "test".
Curves: TypeAlias = Mapping[str, Mapping[str, Curve]]
Barriers: TypeAlias = dict[str, dict[str, dict[str, float]]]


def barriers_of(curves: Curves, baseline: BarrierBaseline = "linear") -> Barriers:
    """Return the barriers by "naive" or "aligned", "train" or "test", "loss" or "error".

    Args:
        curves: the measured curves.
        baseline: as for `Curve.barrier`.
    """
    return {
        state: {
            split: {
                "loss": curve.barrier("loss", baseline),
                "error": curve.barrier("error", baseline),
            }
            for split, curve in splits.items()
        }
        for state, splits in curves.items()
    }


def barrier_rows(barriers: Barriers, *, names_split: bool = True) -> list[tuple[str, ...]]:
    """Return the rows of a table of barriers: the header, then one for each measure.

    Args:
        barriers: from `barriers_of`.
        names_split: whether the first column has the split.
    """
    rows = [
        (
            f"{quantity}, {split}" if names_split else quantity,
            *(_shown(b[split][quantity], quantity) for b in barriers.values()),
        )
        for quantity in ("loss", "error")
        for split in next(iter(barriers.values()))
    ]
    return [("barrier", *barriers), *rows]


def _shown(value: float, quantity: str) -> str:
    return f"{value:.4f}" if quantity == "loss" else f"{value:.2%}"
