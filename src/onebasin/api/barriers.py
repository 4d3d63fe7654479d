"""Loss barriers between all pairs of three or more networks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from torch import Tensor

from onebasin._text import columns, counted
from onebasin.api._evaluation import (
    CurveOptions,
    check_measurement,
    check_result_files,
    report_of_pairs,
)
from onebasin.api._job import Job, MatchingOptions, NetworkOptions, Opened, open_with_data
from onebasin.api._keywords import takes_method_options
from onebasin.api._matchers import AUTO, transformation_of
from onebasin.api._networks import names_of
from onebasin.api._symmetries import verified_symmetry
from onebasin.api.reports import EvaluationReport
from onebasin.api.results import Summarized
from onebasin.errors import ArgumentError, public
from onebasin.evaluation.curves import BarrierBaseline, LineNormalization
from onebasin.evaluation.pairs import PairBarriers, measure_pairs
from onebasin.evaluation.plotting import SETTINGS, save_figure
from onebasin.evaluation.results import plain_number, save_rows
from onebasin.symmetry.transformation import Transformation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN_WHOLE = 8
"""The largest number of networks whose matrices are printed."""

Matrices = dict[str, dict[str, PairBarriers]]
Move = Callable[[int, int], Mapping[str, Tensor]]
"""A function that returns the second network of a pair, aligned to the first."""


@dataclass(frozen=True, repr=False)
class BarrierMatrix(Summarized):
    """The barriers between all pairs of networks; returned by `barriers`.

    Args:
        matrices: by "naive" or "aligned", then by "train" or "test".
        names: the names of the networks.
        evaluation: loss and error of the networks, and the mean of their averages.
        baseline: baseline of the barriers: "linear" or "mean".
        normalization: statistics between the networks.
        method: name of the matching method, or None without alignment.
        data: name of the data.
        normalize: normalization of the data, or None if unknown.
    """

    matrices: Mapping[str, Mapping[str, PairBarriers]]
    names: Sequence[str]
    evaluation: EvaluationReport
    baseline: BarrierBaseline
    normalization: LineNormalization
    method: str | None
    data: str
    normalize: str | None
    _has_statistics: bool = False

    def rows(self) -> list[dict[str, Any]]:
        """Return one row for each pair, quantity and baseline."""
        return [
            {"state": state, "split": split, **row}
            for state, splits in self.matrices.items()
            for split, barriers in splits.items()
            for row in barriers.rows()
        ]

    def figure(self) -> Figure:
        """Return a figure with a panel for each state and split, all on one color scale."""
        import matplotlib
        from matplotlib.figure import Figure

        num_splits = len(next(iter(self.matrices.values())))
        every = [
            each.matrix("loss", self.baseline)
            for row in self.matrices.values()
            for each in row.values()
        ]
        finite = np.stack(every)[np.isfinite(every)]
        highest = float(finite.max()) or None
        with matplotlib.rc_context(SETTINGS):
            size = 4.6 * num_splits, 3.8 * len(self.matrices)
            figure = Figure(figsize=size, layout="constrained")
            panels = figure.subplots(len(self.matrices), num_splits, squeeze=False)
            for row, (state, splits) in zip(panels, self.matrices.items(), strict=True):
                for ax, (split, barriers) in zip(row, splits.items(), strict=True):
                    barriers.plot(ax, baseline=self.baseline, highest=highest)
                    ax.set_title(self._titled(state, split))
        return figure

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain JSON values."""
        return {
            "data": self.data,
            "normalize": self.normalize,
            "checkpoints": list(self.names),
            "method": self.method,
            "barrier": self._plain("matrix"),
            "indirect": self._plain("indirect"),
            "baseline": self.baseline,
            "normalization": self.normalization,
            "evaluation": self.evaluation.to_json(),
        }

    def _plain(self, kind: str) -> dict[str, Any]:
        return {
            state: {
                split: {
                    quantity: [
                        [plain_number(value) for value in row]
                        for row in getattr(barriers, kind)(quantity, self.baseline).tolist()
                    ]
                    for quantity in barriers.quantities
                }
                for split, barriers in splits.items()
            }
            for state, splits in self.matrices.items()
        }

    def summary(self) -> str:
        """Return the text that `onebasin barrier` prints."""
        parts = [f"each pair aligned by {self.method}"] if self.method else []
        if self._has_statistics or self.normalization != "interpolated":
            parts.append(f"statistics between the networks: {self.normalization}")
        parts += [columns(self._means()), "", self.evaluation.to_text()]
        if len(self.names) <= SHOWN_WHOLE:
            parts += [f"\n{columns(rows)}" for rows in self._whole()]
        return "\n".join(parts)

    def _titled(self, title: str, split: str) -> str:
        """Return a title with the split, if the data have two."""
        return title if self.evaluation.has_one_split else f"{title}, {split}"

    def _whole(self) -> list[list[tuple[str, ...]]]:
        """Return each matrix as the rows of a table."""
        tables = []
        for state, splits in self.matrices.items():
            for split, barriers in splits.items():
                matrix = barriers.matrix("loss", self.baseline)
                rows = [(self._titled(state, split), *barriers.names)]
                rows += [
                    (name, *(f"{value:.4f}" for value in row))
                    for name, row in zip(barriers.names, matrix, strict=True)
                ]
                tables.append(rows)
        return tables

    def _means(self) -> list[tuple[str, ...]]:
        """Return a table of the mean and the highest barrier, and the mean indirect one."""
        kinds = ("mean", "max", "via")
        rows = [("barrier", *(f"{state} {kind}" for state in self.matrices for kind in kinds))]
        upper = np.triu_indices(len(self.names), 1)
        for split, first in next(iter(self.matrices.values())).items():
            for quantity in first.quantities:
                cells = []
                for splits in self.matrices.values():
                    direct = splits[split].matrix(quantity, self.baseline)[upper]
                    around = splits[split].indirect(quantity, self.baseline)[upper]
                    cells += [direct.mean(), direct.max(), around.mean()]
                form = "{:.4f}" if quantity == "loss" else "{:.2%}"
                rows.append((self._titled(quantity, split), *(form.format(cell) for cell in cells)))
        return rows


@public
@takes_method_options
def barriers(
    model: Any,
    networks: Sequence[Any],
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
    key: str | Sequence[str] | None = None,
    seed: int = 0,
    progress: bool = False,
    **options: Any,
) -> BarrierMatrix:
    """Measure the barriers between all pairs of networks; see `barrier` for the arguments.

    With `align`, every pair is also aligned separately. The result includes the smallest barriers
    on a path through a third network (Entezari et al. 2022, Figure 18).

    Args:
        networks: three or more networks.

    Raises:
        OneBasinError: as `barrier` does.
    """
    job = Job.of(
        model,
        networks,
        data,
        NetworkOptions(arch_args, example_inputs, key, seed, progress),
        MatchingOptions(method, method_options, init, symmetry, verify, options, classes),
        aligns=align,
    )
    if len(job.sources) < 2:
        raise ArgumentError(f"{counted(len(job.sources), 'network')} given; pass two or more")
    names = names_of(job.labels)
    check_measurement(data, split, normalization, num_points, baseline=baseline)
    measured = CurveOptions(split, num_points, normalization, baseline)
    check_result_files(job.input_files, plot=plot, save=save)
    with open_with_data(job, data, normalization=normalization, split=split) as opened:
        result = _measure(job, opened, measured, names)
    result.evaluation.note_weaknesses(names, job.reporter)
    if opened.networks.duplicates is not None:
        a, b = (checkpoint.path for checkpoint in opened.networks.duplicates)
        job.reporter.note(f"{a} and {b} hold the same tensors")
    if plot is not None:
        save_figure(result.figure(), plot)
    if save is not None:
        save_rows(result.rows(), save)
    return result


def _measure(
    job: Job, opened: Opened, options: CurveOptions, names: Sequence[str]
) -> BarrierMatrix:
    """Measure all pairs as given, and aligned if the job aligns."""
    networks, data = opened.networks, opened.data
    evaluators = opened.evaluators(options.split)
    moves: dict[str, Move | None] = {"naive": None}
    if job.aligns:
        moves["aligned"] = _aligned(job, opened)
    matrices: Matrices = {}
    for state, move in moves.items():
        with job.reporter.progress(f"measuring {state} pairs") as show:
            matrices[state] = measure_pairs(
                networks.architecture.module,
                networks.params_list,
                evaluators,
                names=names,
                move=move,
                num_points=options.num_points,
                normalization=options.normalization,
                data=data.batches(),
                progress=show,
            )
    pairs = {
        state: {name: each.curves for name, each in splits.items()}
        for state, splits in matrices.items()
    }
    return BarrierMatrix(
        matrices,
        names,
        report_of_pairs(pairs, names, evaluators, data),
        options.baseline,
        options.normalization,
        opened.matcher.name if job.aligns else None,
        data.name,
        data.normalization,
        networks.has_statistics,
    )


def _aligned(job: Job, opened: Opened) -> Move:
    """Match every pair; return a function that aligns the second network of a pair."""
    params_list, matcher = opened.networks.params_list, opened.matcher
    architecture = opened.networks.architecture
    verified = verified_symmetry(architecture, job.symmetry, job.reporter, states=params_list)
    matcher = matcher.suited(verified.symmetry)
    pairs = list(combinations(range(len(params_list)), 2))
    transformations: dict[tuple[int, int], Transformation] = {}
    num_open = 0
    with job.reporter.progress(f"matching pairs by {matcher.name}") as progress:
        for i, j in pairs:
            both = [params_list[i], params_list[j]]
            matching = matcher.run(verified.symmetry, both, architecture)
            transformations[i, j] = transformation_of(matching)
            num_open += matcher.method.can_converge and not matching.converged
            if progress is not None:
                progress(len(transformations), len(pairs))
    if num_open:
        job.reporter.note(f"{num_open} of {len(pairs)} matchings did not converge")
    return lambda i, j: transformations[i, j].apply(params_list[j])
