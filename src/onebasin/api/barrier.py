"""Loss barriers between networks, before and after alignment."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

from onebasin._text import columns
from onebasin.api._alignment import Matched, match_networks, matched_to_json
from onebasin.api._evaluation import (
    CurveOptions,
    check_measurement,
    check_result_files,
    report_of_curves,
)
from onebasin.api._job import Job, MatchingOptions, NetworkOptions, Opened, open_with_data
from onebasin.api._keywords import takes_method_options
from onebasin.api._matchers import AUTO
from onebasin.api.align import Alignment
from onebasin.api.reports import EvaluationReport
from onebasin.api.results import Summarized
from onebasin.checkpoints import read_provenance
from onebasin.errors import OneBasinError, public
from onebasin.evaluation.curve_figures import curve_figure, plotted_curves
from onebasin.evaluation.curves import (
    BarrierBaseline,
    Curve,
    LineNormalization,
    Quantity,
    barrier_rows,
    barriers_of,
    plain_number,
)
from onebasin.evaluation.evaluator import Evaluator
from onebasin.evaluation.interpolation import interpolate
from onebasin.evaluation.plotting import save_figure
from onebasin.evaluation.results import save_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curves = dict[str, dict[str, Curve]]


@dataclass(frozen=True, repr=False)
class Barrier(Summarized):
    """Loss and error along the line between A and B; returned by `barrier`.

    Args:
        curves: by "naive" (B as given) or "aligned" (B aligned to A), then by "train" or "test".
            The only curve of a result of `align` is "aligned".
        evaluation: loss and error of A, B and their averages.
        baseline: baseline of the barrier: "linear" or "mean".
        data: name of the data.
        normalize: normalization of the data, or None if unknown.
    """

    curves: Mapping[str, Mapping[str, Curve]]
    evaluation: EvaluationReport
    baseline: BarrierBaseline
    data: str
    normalize: str | None
    _matched: Matched | None = None
    _has_statistics: bool = False

    @property
    def curve(self) -> Curve:
        """The last curve: aligned if that was measured, and on test data if there are any."""
        return list(list(self.curves.values())[-1].values())[-1]

    def barrier(self, quantity: Quantity = "loss") -> float:
        """Return the barrier of `curve`; see `Curve.barrier`."""
        return self.curve.barrier(quantity, self.baseline)

    def plot(self, ax: Axes | None = None, quantity: Quantity = "loss") -> Axes:
        """Draw `curve`; see `Curve.plot`."""
        return self.curve.plot(ax, quantity=quantity)

    def figure(self) -> Figure:
        """Return a figure of all curves: loss and error."""
        return curve_figure(
            plotted_curves(self.curves, names_split=not self.evaluation.has_one_split)
        )

    def rows(self) -> list[dict[str, Any]]:
        """Return one row for each point of each curve."""
        return [
            {"state": state, "split": split, **row}
            for state, splits in self.curves.items()
            for split, curve in splits.items()
            for row in curve.rows()
        ]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the figure (`.png`, `.svg`, `.pdf`) or the rows (`.csv`, `.json`).

        Raises:
            OneBasinError: the suffix is unknown, or the file cannot be written.
        """
        if Path(path).suffix in (".csv", ".json"):
            save_rows(self.rows(), path)
        else:
            save_figure(self.figure(), Path(path))

    def summary(self) -> str:
        """Return the text that `onebasin barrier` prints."""
        parts = [self._matched.to_text()] if self._matched else []
        if self._has_statistics or self.curve.normalization != "interpolated":
            parts.append(f"statistics between the networks: {self.curve.normalization}")
        barriers = barriers_of(self.curves, self.baseline)
        names_split = not self.evaluation.has_one_split
        parts.append(columns(barrier_rows(barriers, names_split=names_split)))
        return "\n".join([*parts, "", self.evaluation.to_text()])

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain JSON values."""
        return {
            "data": self.data,
            "normalize": self.normalize,
            "barrier": {
                state: {
                    split: {name: plain_number(value) for name, value in values.items()}
                    for split, values in splits.items()
                }
                for state, splits in barriers_of(self.curves, self.baseline).items()
            },
            "baseline": self.baseline,
            "normalization": self.curve.normalization,
            **matched_to_json(self._matched),
            "curves": {
                state: {split: curve.to_json() for split, curve in splits.items()}
                for state, splits in self.curves.items()
            },
            "evaluation": self.evaluation.to_json(),
        }

    def _repr_png_(self) -> bytes:
        import io

        file = io.BytesIO()
        self.figure().savefig(file, format="png", dpi=110)
        return file.getvalue()


@public
@takes_method_options
def barrier(
    model: Any,
    a: Any,
    b: Any,
    data: Any,
    *,
    split: Literal["both", "train", "test"] = "both",
    align: bool = False,
    num_points: int = 25,
    normalization: LineNormalization = "interpolated",
    baseline: BarrierBaseline = "linear",
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
    key: Any = None,
    seed: int = 0,
    progress: bool = False,
    **options: Any,
) -> Barrier:
    r"""Measure the barrier between two networks: by how much the loss between them is higher.

    \(\sup_\alpha [L(\alpha\theta_A+(1-\alpha)\theta_B) -
    (\alpha L(\theta_A)+(1-\alpha)L(\theta_B))]\) (Entezari et al. 2022, Eq. 1), for the loss and
    the error, on a grid of points.

    Args:
        model: the architecture; see `align`.
        a: a network: a module, a state dict, a path, or a result of `align`.
        b: the other network, in the same forms.
        data: labeled data: a DataLoader or other iterable of batches, `(inputs, labels)` tensors,
            a dataset, or its name; or a pair of training and test data.
        split: split of the data, if they have two.
        align: whether to also align B to A and measure that barrier. The command does.
        num_points: points of each curve, including both networks.
        normalization: statistics between the networks: "interpolated", or "reset", "repair" or
            "rescale" or "refit", which use the training data.
        baseline: baseline: "linear" for the line between both losses, "mean" for their mean.
        plot: picture of the curves to write (`.png`, `.svg` or `.pdf`).
        save: table of all points to write (`.csv` or `.json`). Both replace existing files.
        method: name of the matching method, if `align` is true; see `align`.
        method_options: options of the method by name; see `align`.
        init: name of the method whose permutation initializes the search.
        symmetry: a `Symmetry` or the path of its JSON file, instead of inference.
        verify: whether to verify the symmetry.
        classes: "permutation" to only permute units, without scales and rotations.
        example_inputs: the inputs of one call of the module; see `align`.
        arch_args: arguments of a named architecture.
        key: which state dict of a file to read; see `align`.
        seed: random seed of the search and the verification.
        progress: whether to show progress bars.
        **options: options of the method as keywords, such as `restarts=5`.

    Returns:
        The curves and barriers, and the losses of the networks; `print` shows a summary.

    Raises:
        OneBasinError: an argument is invalid, the data have no labels, or the networks do not fit.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Linear(2, 2, bias=False)
        >>> a, b = {"weight": 3 * torch.eye(2)}, {"weight": 5 * torch.eye(2)}
        >>> batches = [(torch.eye(2).repeat(20, 1), torch.tensor([0, 1] * 20))]
        >>> barrier(model, a, b, batches, num_points=3).barrier()  # a convex loss has no barrier
        0.0
    """
    job = Job.of(
        model,
        {"a": a, "b": b},
        data,
        NetworkOptions(arch_args, example_inputs, key, seed, progress),
        MatchingOptions(method, method_options, init, symmetry, verify, options, classes),
        aligns=align,
    )
    check_measurement(data, split, normalization, num_points, baseline=baseline)
    measured = CurveOptions(split, num_points, normalization, baseline)
    check_result_files(job.input_files, plot=plot, save=save)
    with open_with_data(job, data, normalization=normalization, split=split) as opened:
        state = "aligned" if not align and _is_aligned(job, a, b) else "naive"
        result = _measure(job, opened, measured, state)
    if opened.networks.duplicates is not None:
        job.reporter.note("A and B hold the same tensors")
    result.evaluation.note_weaknesses(["A", "B"], job.reporter)
    for path in (plot, save):
        if path is not None:
            result.save(path)
    return result


def _is_aligned(job: Job, a: Any, b: Any) -> bool:
    """Return whether one network is a result of `align`, or its file names the other one."""
    if isinstance(a, Alignment) or isinstance(b, Alignment):
        return True
    first, second = (source.path for source in job.sources)
    if first is None or second is None:
        return False
    with contextlib.suppress(OneBasinError):
        for reference, path in ((first, second), (second, first)):
            known = read_provenance(path) or {}
            if known.get("command") == "align" and known.get("sources", [])[:1] == [reference.name]:
                return True
    return False


def _measure(job: Job, opened: Opened, options: CurveOptions, state: str) -> Barrier:
    """Measure the curves from A to B, and to B aligned to A if the job aligns."""
    networks = opened.networks
    matched = None
    ends: dict[str, Mapping[str, Tensor]] = {state: networks.params_list[1]}
    if job.aligns and networks.duplicates is None:
        matched = match_networks(networks, job.symmetry, opened.matcher, job.reporter)
        ends["aligned"] = matched.apply(networks.params_list)[1]
    evaluators = opened.evaluators(options.split)
    curves = {
        state: _curves(job, opened, params_b, evaluators, options, state)
        for state, params_b in ends.items()
    }
    return Barrier(
        curves,
        report_of_curves(curves, evaluators, opened.data),
        options.baseline,
        opened.data.name,
        opened.data.normalization,
        matched,
        networks.has_statistics,
    )


def _curves(
    job: Job,
    opened: Opened,
    params_b: Mapping[str, Tensor],
    evaluators: Mapping[str, Evaluator],
    options: CurveOptions,
    state: str,
) -> dict[str, Curve]:
    """Return the curves between A and a network by split."""
    networks = opened.networks
    with job.reporter.progress(f"measuring {state}") as show:
        return interpolate(
            networks.architecture.module,
            networks.params_list[0],
            params_b,
            evaluators,
            num_points=options.num_points,
            normalization=options.normalization,
            data=opened.data.batches(),
            progress=show,
        )
