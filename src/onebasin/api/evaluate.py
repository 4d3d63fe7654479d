"""Loss and error of networks on labeled data."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from onebasin.api._data import laid_out, splits_of
from onebasin.api._evaluation import (
    check_max_train_examples,
    check_measurement,
    check_result_files,
    with_max_test_examples,
)
from onebasin.api._job import Job, MatchingOptions, NetworkOptions
from onebasin.api._networks import Networks, ensemble_name, names_of
from onebasin.api._reporter import Reporter
from onebasin.api._sources import is_state_dict
from onebasin.api.reports import EvaluationReport, SplitReport
from onebasin.api.results import Summarized
from onebasin.data.data import Data, SplitName
from onebasin.errors import ArgumentError, public
from onebasin.evaluation.evaluator import Evaluation, evaluator_of
from onebasin.evaluation.network_evaluations import evaluate_networks
from onebasin.evaluation.results import save_rows


@dataclass(frozen=True, repr=False)
class Evaluations(Summarized):
    """Loss and error of networks; returned by `evaluate`.

    Args:
        report: the evaluations by split.
        data: a description of the data, as plain JSON values.
    """

    report: EvaluationReport
    data: Mapping[str, Any]

    def __getitem__(self, name: str) -> Evaluation:
        """Return the evaluation of a network, by name, on the last split."""
        return self.report.splits[-1].networks[name]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the networks."""
        return tuple(self.report.splits[-1].networks)

    def rows(self) -> list[dict[str, Any]]:
        """Return one row for each network and split."""
        return self.report.rows()

    def summary(self) -> str:
        """Return the text that `onebasin evaluate` prints."""
        return self.report.to_text()

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain JSON values."""
        return {"data": dict(self.data), "splits": self.report.to_json()}


@public
def evaluate(
    model: Any,
    networks: Any,
    data: Any,
    *,
    split: Literal["test", "train", "both"] = "test",
    max_test_examples: int | None = None,
    ensemble: bool = False,
    save: str | os.PathLike[str] | None = None,
    example_inputs: Any = None,
    arch_args: Mapping[str, Any] | Iterable[str] | None = None,
    key: str | Sequence[str] | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Evaluations:
    """Measure the loss and error of networks on labeled data.

    The table includes the best constant prediction (the class frequencies). A warning names
    networks that are not better than it. For text without labels, the loss is the next-token
    loss, and the table has the perplexity.

    Args:
        model: the architecture; see `align`.
        networks: one network, or several in a list or by name: modules, state dicts, paths, or
            results of `align` or `merge`.
        data: labeled data: a DataLoader or other iterable of batches, `(inputs, labels)` tensors,
            a dataset, or its name; or a pair of training and test data.
        split: split of the data; the training split if they have no other.
        max_test_examples: number of test examples; all by default.
        ensemble: whether to evaluate the ensemble, too: the mean of the probabilities.
        save: table to write (`.csv` or `.json`); an existing file is replaced.
        example_inputs: the inputs of one call of the module; see `align`.
        arch_args: arguments of a named architecture.
        key: which state dict of a file to read; see `align`.
        seed: random seed of a named architecture.
        progress: whether to show progress bars.

    Returns:
        The evaluations by name; `print` shows a table.

    Raises:
        OneBasinError: an argument is invalid, the data have no labels, or the networks do not fit.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Linear(2, 2, bias=False)
        >>> batches = [(torch.eye(2).repeat(20, 1), torch.tensor([0, 1] * 20))]
        >>> evaluate(model, {"a": {"weight": 3 * torch.eye(2)}}, batches)["a"].error
        0.0
    """
    if _is_single(networks):
        networks = {"network": networks}
    named = networks if isinstance(networks, Mapping) else None
    job = Job.of(
        model,
        networks,
        data,
        NetworkOptions(arch_args, example_inputs, key, seed, progress),
        MatchingOptions(verify=False),
    )
    names = list(named) if named is not None else _names(job)
    check_measurement(data, split)
    if ensemble and len(job.sources) == 1:
        raise ArgumentError("ensemble= has no effect with one network; remove it")
    if max_test_examples is not None and split == "train":
        raise ArgumentError("max_test_examples= has no effect with split='train'; remove it")
    check_result_files(job.input_files, save=save)
    job = job.load(data)
    assert job.data is not None
    if "train" not in splits_of(job.data, split):
        check_max_train_examples(data)
    loaded = with_max_test_examples(job.data, max_test_examples)
    with job.open() as opened:
        loaded = laid_out(opened.architecture, loaded)
        job.note_splits(split)
        splits = [
            _measure(opened, names, loaded, each, ensemble, job.reporter)
            for each in splits_of(loaded, split)
        ]
    report = EvaluationReport(loaded.name, splits)
    report.note_weaknesses(names, job.reporter)
    if save is not None:
        save_rows(report.rows(), save)
    return Evaluations(report, loaded.to_json())


def _is_single(networks: Any) -> bool:
    """Return whether the argument is one network instead of several."""
    if isinstance(networks, Mapping):
        return is_state_dict(networks)
    return not isinstance(networks, Sequence) or isinstance(networks, str)


def _names(job: Job) -> list[str]:
    """Return the names of the networks, which include the keys if each network has its own."""
    has_keys = 1 < len(job.keys) == len(job.sources)
    return names_of(job.labels, keys=job.keys if has_keys else ())


def _measure(
    networks: Networks,
    names: list[str],
    data: Data,
    split: SplitName,
    ensemble: bool,
    reporter: Reporter,
) -> SplitReport:
    """Return the evaluations on a split, one network in memory at a time without an ensemble."""
    model = networks.architecture.module
    params = dict(zip(names, networks.params_list, strict=True))
    parts = [params] if ensemble else [{name: each} for name, each in params.items()]
    results: dict[str, Evaluation] = {}
    baseline, per_token = None, False
    evaluator = evaluator_of(data, split)
    for part in parts:
        title = f"evaluating {', '.join(part)}, {split}"
        with reporter.counting(title, evaluator.batches) as show:
            members = names if ensemble else ()
            evaluations = evaluate_networks(model, part, evaluator, ensemble=members, progress=show)
        results |= evaluations.networks
        if evaluations.ensemble is not None:
            results[ensemble_name(names)] = evaluations.ensemble
        baseline, per_token = evaluations.baseline, evaluations.per_token
    return SplitReport(split, results, baseline, per_token, data.test is None)
