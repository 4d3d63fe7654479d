"""The loss on the plane through three networks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

from onebasin._text import columns, counted
from onebasin.api._alignment import Matched, match_networks, matched_to_json
from onebasin.api._data import splits_of
from onebasin.api._evaluation import check_measurement, check_result_files
from onebasin.api._job import Job, MatchingOptions, NetworkOptions, Opened, open_with_data
from onebasin.api._keywords import takes_method_options
from onebasin.api._matchers import AUTO
from onebasin.api._networks import check_distinct, names_of
from onebasin.api.results import Summarized
from onebasin.errors import ArgumentError, check_choice, public
from onebasin.evaluation.curves import Normalization, Quantity
from onebasin.evaluation.evaluator import evaluator_of
from onebasin.evaluation.planes import Plane, measure_plane
from onebasin.evaluation.plotting import SETTINGS, save_figure
from onebasin.evaluation.results import plain_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, repr=False)
class PlaneResult(Summarized):
    """The loss and error on a plane through three networks; returned by `plane`.

    Args:
        plane: the measured points.
        quantity: what the figure shows: "loss" or "error".
        data: name of the data.
        normalize: normalization of the data, or None if unknown.
        split: split of the data.
    """

    plane: Plane
    quantity: Quantity
    data: str
    normalize: str | None
    split: str
    _matched: Matched | None = None

    def figure(self) -> Figure:
        """Return a contour plot."""
        import matplotlib
        from matplotlib.figure import Figure

        with matplotlib.rc_context(SETTINGS):
            figure = Figure(figsize=(5.8, 4.6), layout="constrained")
            self.plane.plot(figure.subplots(), quantity=self.quantity)
        return figure

    def summary(self) -> str:
        """Return the text that `onebasin plane` prints."""
        plane = self.plane
        rows = [("network", "x", "y", "loss", "error")]
        networks = zip(
            plane.names, plane.coordinates, plane.network_losses, plane.network_errors, strict=True
        )
        for name, (x, y), loss, error in networks:
            rows.append((name, f"{x:.3g}", f"{y:.3g}", f"{loss:.4f}", f"{error:.2%}"))
        parts = [self._matched.to_text()] if self._matched else []
        return "\n".join([*parts, columns(rows)])

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain JSON values."""
        return {
            "data": self.data,
            "normalize": self.normalize,
            "split": self.split,
            "normalization": self.plane.normalization,
            **matched_to_json(self._matched),
            "points": plain_rows(self.plane.rows()),
        }


@public
@takes_method_options
def plane(
    model: Any,
    networks: Sequence[Any],
    data: Any,
    *,
    split: Literal["test", "train"] = "test",
    quantity: Quantity = "loss",
    num_points: int = 25,
    margin: float = 0.25,
    normalization: Normalization = "interpolated",
    plot: str | os.PathLike[str] | None = None,
    save: str | os.PathLike[str] | None = None,
    method: str = AUTO,
    method_options: Mapping[str, Any] | None = None,
    init: str | None = None,
    symmetry: Any = None,
    verify: bool = True,
    classes: str = "all",
    example_inputs: Any = None,
    arch_args: Mapping[str, Any] | Iterable[str] | None = None,
    key: str | Sequence[str] | None = None,
    seed: int = 0,
    progress: bool = False,
    **options: Any,
) -> PlaneResult:
    """Measure the loss on the plane through three networks.

    With two networks, B aligned to A is the third one. See `barrier` for the other arguments.

    Args:
        networks: two or three networks.
        split: split of the data.
        quantity: "loss" or "error", for the picture.
        num_points: grid points along each side.
        margin: margin around the networks, relative to their distance.
        normalization: BatchNorm statistics of the points: "interpolated", or "reset" on the
            training data.
        plot: picture to write (`.png`, `.svg` or `.pdf`).
        save: table of all points to write (`.csv` or `.json`). Both replace existing files.

    Raises:
        OneBasinError: as `barrier` does.
    """
    job = Job.of(
        model,
        networks,
        data,
        NetworkOptions(arch_args, example_inputs, key, seed, progress),
        MatchingOptions(method, method_options, init, symmetry, verify, options, classes),
    )
    if len(job.sources) != 2:
        job = _of_three(job)
    check_measurement(data, split, normalization, num_points)
    check_choice("quantity", quantity, Quantity)
    names = names_of(job.labels)
    check_result_files(job.input_files, plot=plot, save=save)
    with open_with_data(job, data, normalization=normalization, split=split) as opened:
        check_distinct(opened.networks, "measure")
        corners, matched = _corners(job, opened, names)
        (measured,) = splits_of(opened.data, split)
        with job.reporter.progress("measuring the plane") as show:
            points = measure_plane(
                opened.networks.architecture.module,
                corners,
                evaluator_of(opened.data, measured),
                num_points=num_points,
                margin=margin,
                normalization=normalization,
                data=opened.data.batches(),
                progress=show,
            )
    result = PlaneResult(
        points, quantity, opened.data.name, opened.data.normalization, measured, matched
    )
    if plot is not None:
        save_figure(result.figure(), plot)
    if save is not None:
        points.save(save)
    return result


def _corners(
    job: Job, opened: Opened, names: Sequence[str]
) -> tuple[dict[str, Mapping[str, Tensor]], Matched | None]:
    """Return the three networks by name; the third is B aligned to A if only two are given."""
    params = opened.networks.params_list
    corners = dict(zip(names, params, strict=True))
    if not job.aligns:
        return corners, None
    matched = match_networks(opened.networks, job.symmetry, opened.matcher, job.reporter)
    return {**corners, f"{names[1]} aligned": matched.apply(params)[1]}, matched


def _of_three(job: Job) -> Job:
    if len(job.sources) != 3:
        raise ArgumentError(f"{counted(len(job.sources), 'network')} given; pass two or three")
    job.reject_matching("with three networks, which are not aligned", "remove it")
    return replace(job, aligns=False)
