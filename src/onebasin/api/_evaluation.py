"""Evaluation of the networks of a job, and its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from onebasin.api._data import DataSource, laid_out
from onebasin.api._networks import ALIGNED, OF_PAIRS, UNALIGNED, ensemble_name
from onebasin.api._reporter import Reporter
from onebasin.api.reports import DistanceReport, EvaluationReport, Report, SplitReport
from onebasin.checkpoints import Architecture, check_file_writable
from onebasin.data.data import Data, SplitName
from onebasin.errors import ArgumentError, OneBasinError, check_choice, check_whole
from onebasin.evaluation.baselines import baseline_of
from onebasin.evaluation.curves import BarrierBaseline, Curve, LineNormalization
from onebasin.evaluation.evaluator import Evaluation, Evaluator, evaluator_of
from onebasin.evaluation.network_evaluations import evaluate_networks
from onebasin.evaluation.output_distances import compare_outputs
from onebasin.evaluation.plotting import check_picture
from onebasin.evaluation.results import check_table_path

Split = Literal["both", "train", "test"]


def check_measurement(
    data: Any,
    split: Any,
    normalization: Any = "interpolated",
    num_points: Any = 2,
    *,
    baseline: Any = "linear",
) -> None:
    """Check the arguments of a measurement before long work.

    Raises:
        OneBasinError: one of them is invalid, or there are no data.
    """
    if data is None:
        raise ArgumentError("data is None; pass labeled data, such as a DataLoader")
    check_choice("split", split, Split)
    check_choice("normalization", normalization, LineNormalization)
    check_choice("baseline", baseline, BarrierBaseline)
    check_whole("num_points", num_points, least=2)


@dataclass(frozen=True)
class CurveOptions:
    """Options of curves between networks, checked by `check_measurement`.

    Args:
        split: split of the data.
        num_points: points of each curve.
        normalization: statistics between the networks.
        baseline: baseline of the barrier.
    """

    # Any value, until `check` has run.
    split: Any
    num_points: Any
    normalization: Any
    baseline: Any


def check_result_files(inputs: Sequence[Path], *, plot: Any = None, save: Any = None) -> None:
    """Check that a picture and a table can be written.

    Args:
        inputs: files that must not be replaced.
        plot: path of the picture, or None.
        save: path of the table, or None.

    Raises:
        OneBasinError: a suffix is unknown, or a path cannot be written or is an input.
    """
    for path, check in ((plot, check_picture), (save, check_table_path)):
        if path is not None:
            check(Path(path))
            check_file_writable(path, inputs=inputs)


def check_max_train_examples(data: Any) -> None:
    """Raise an error if the number of training examples was given but none is used."""
    if isinstance(data, DataSource) and data.max_train_examples is not None:
        raise ArgumentError(
            "max_train_examples= has no effect because only the test split is used; "
            "remove it or pass split='train'"
        )


CHANGED = 0.01
"""Largest relative difference between the losses of B and aligned B by rounding."""


@dataclass(frozen=True)
class EvaluationOptions:
    """Options of the evaluation in `merge` and `align`.

    Args:
        evaluates: whether to evaluate.
        max_test_examples: number of test examples, or None for all.
    """

    evaluates: bool = True
    max_test_examples: int | None = None

    def runs_model(self, data: Data | None) -> bool:
        """Whether the module is run on data, and so must be built with memory."""
        return data is not None and self.evaluates

    def check(self, data: Data | None) -> None:
        """Check `max_test_examples` before any long work.

        Raises:
            OneBasinError: `max_test_examples` has no effect, or the data have fewer test examples.
        """
        if self.max_test_examples is not None:
            check_whole("max_test_examples", self.max_test_examples, least=1)
            for is_unused, reason in (
                (data is None, "without data="),
                (not self.evaluates, "with evaluate=False"),
            ):
                if is_unused:
                    raise ArgumentError(
                        f"max_test_examples= has no effect {reason}; remove one of them"
                    )
        if data is not None:
            with_max_test_examples(data, self.max_test_examples)

    def report(
        self,
        architecture: Architecture,
        networks: Mapping[str, Mapping[str, Tensor]],
        data: Data | None,
        *,
        given: Sequence[str],
        ensemble: bool,
        reporter: Reporter,
        models: Mapping[str, nn.Module] | None = None,
    ) -> Report | None:
        """Return the evaluation of networks on the test split, or on the training split.

        Without labels, or if they do not fit the outputs, outputs are compared instead.

        Args:
            architecture: architecture of all networks.
            networks: parameters and buffers by name, in the order of the table.
            data: the examples; None for no report.
            models: modules of networks with other sizes, by name.
        """
        if data is None or not self.runs_model(data):
            return None
        data = with_max_test_examples(data, self.max_test_examples)
        split: SplitName = "train" if data.test is None else "test"
        comparison = _Comparison(architecture, networks, given, split, reporter, models or {})
        try:
            labeled = laid_out(architecture, data)
            return comparison.by_labels(labeled, ensemble)
        except OneBasinError as error:
            # The result is already written, and neither matching nor repair needs labels.
            if data.has_labels(split):
                reporter.note(f"the labels are not used: {error}")
        try:
            return comparison.by_outputs(laid_out(architecture, data, has_classes=False))
        except OneBasinError as error:
            reporter.note(f"the networks are not evaluated: {error}")
            return None


@dataclass(frozen=True)
class _Comparison:
    """Networks that are compared on one split.

    Args:
        architecture: architecture of all networks.
        networks: parameters and buffers by name.
        given: names of the networks that the user gave.
        split: "train" or "test".
        reporter: shows progress.
        models: modules of networks with other sizes.
    """

    architecture: Architecture
    networks: Mapping[str, Mapping[str, Tensor]]
    given: Sequence[str]
    split: SplitName
    reporter: Reporter
    models: Mapping[str, nn.Module]

    def by_labels(self, data: Data, ensemble: bool) -> EvaluationReport:
        """Return loss and error of all networks, and of the ensemble of the given ones."""
        module, evaluator = self.architecture.module, evaluator_of(data, self.split)
        members = self.given if ensemble else ()
        with self.reporter.counting(f"evaluating on {data.name}", evaluator.batches) as show:
            evaluations = evaluate_networks(
                module,
                self.networks,
                evaluator,
                ensemble=members,
                models=self.models,
                progress=show,
            )
        named = dict(evaluations.networks)
        if evaluations.ensemble is not None:
            named[ensemble_name(self.given)] = evaluations.ensemble
        report = SplitReport(
            self.split, named, evaluations.baseline, evaluations.per_token, data.test is None
        )
        return EvaluationReport(data.name, [report])

    def by_outputs(self, data: Data) -> DistanceReport:
        """Return the distances of all outputs from the mean output of the given networks."""
        module, batches = self.architecture.module, data.batches(self.split)
        with self.reporter.counting(f"evaluating on {data.name}", batches) as show:
            distances = compare_outputs(
                module,
                self.networks,
                batches,
                reference=self.given,
                models=self.models,
                progress=show,
            )
        return DistanceReport(data.name, self.split, distances, self.given, data.test is None)


def report_of_curves(
    curves: Mapping[str, Mapping[str, Curve]], evaluators: Mapping[str, Evaluator], data: Data
) -> EvaluationReport:
    """Return the report of two networks from curves between them, without evaluating again.

    Args:
        curves: curves by "naive" or "aligned", then by split.
        evaluators: evaluators by split; their labels determine the constant prediction.
        data: the examples.
    """
    splits = []
    for split, evaluator in evaluators.items():
        first = next(iter(curves.values()))[split]
        points = {"A": (first, -1), "B": (first, 0)}
        for name, state in ((UNALIGNED, "naive"), (ALIGNED, "aligned")):
            curve = curves.get(state, {}).get(split)
            if curve is not None and 0.5 in curve.alphas:
                points[name] = curve, curve.alphas.index(0.5)
        splits.append(_split_report(split, points, evaluator, data))
    return EvaluationReport(data.name, splits)


def report_of_pairs(
    pairs: Mapping[str, Mapping[str, Mapping[tuple[int, int], Curve]]],
    names: Sequence[str],
    evaluators: Mapping[str, Evaluator],
    data: Data,
) -> EvaluationReport:
    """Return the report of several networks from the curves between all pairs.

    Args:
        pairs: curves by "naive" or "aligned", then by split and pair.
        names: names of the networks.
        evaluators: see `report_of_curves`.
        data: see `report_of_curves`.
    """
    splits = []
    for split, evaluator in evaluators.items():
        points = {}
        for (i, j), curve in pairs["naive"][split].items():
            points[names[i]], points[names[j]] = (curve, -1), (curve, 0)
        report = _split_report(split, {name: points[name] for name in names}, evaluator, data)
        averages = {}
        for name, state in ((UNALIGNED, "naive"), (ALIGNED, "aligned")):
            curves = [*pairs.get(state, {}).get(split, {}).values()]
            if curves and 0.5 in curves[0].alphas:
                middle = curves[0].alphas.index(0.5)
                averages[f"{name}{OF_PAIRS}"] = Evaluation(
                    _mean([curve.losses[middle] for curve in curves]),
                    _mean([curve.errors[middle] for curve in curves]),
                    next(iter(report.networks.values())).num_examples,
                )
        splits.append(replace(report, networks={**report.networks, **averages}))
    return EvaluationReport(data.name, splits)


def _split_report(
    split: str,
    points: Mapping[str, tuple[Curve, int]],
    evaluator: Evaluator,
    data: Data,
) -> SplitReport:
    has_errors = not all(isnan(each) for curve, _ in points.values() for each in curve.errors)
    baseline = baseline_of(evaluator.batches, data.num_classes) if has_errors else None
    number = 0 if baseline is None else baseline.num_examples
    networks = {
        name: Evaluation(curve.losses[i], curve.errors[i], number)
        for name, (curve, i) in points.items()
    }
    return SplitReport(split, networks, baseline, data.task == "next token", data.test is None)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def note_changed_function(report: Report | None, reporter: Reporter) -> None:
    """Note if aligned B computes another function than B.

    Args:
        report: report of `align`, or None.
        reporter: shows the note.
    """
    if not isinstance(report, EvaluationReport):
        return
    networks = report.splits[-1].networks
    before, after = networks["B"].loss, networks["B aligned"].loss
    if abs(after - before) > CHANGED * max(abs(before), CHANGED):
        reporter.note(
            f"aligned B computes another function than B (loss {after:.4f}, before {before:.4f}): "
            "the symmetry is wrong for this model; do not use the result"
        )


def with_max_test_examples(data: Data, number: int | None) -> Data:
    """Return data with some of the test examples.

    Args:
        data: the examples.
        number: number of test examples, drawn at random with a fixed seed; None keeps all.

    Raises:
        OneBasinError: there is no test split, or it has fewer examples.
    """
    if number is None:
        return data
    if data.test is None:
        raise ArgumentError(
            f"max_test_examples= has no effect because {data.name} has no test split; remove it"
        )
    known = data.test.num_examples
    if known is not None and number > known:
        raise ArgumentError(
            f"max_test_examples= is {number}, but {data.name} has {known} test examples; give fewer"
        )
    return replace(data, test=data.test.take(number, seed=0))
