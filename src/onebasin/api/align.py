"""Alignment of one network to another."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from onebasin.api._alignment import Matched, match_networks
from onebasin.api._data import note_normalization
from onebasin.api._evaluation import EvaluationOptions, note_changed_function
from onebasin.api._job import Job, MatchingOptions, NetworkOptions
from onebasin.api._keywords import takes_method_options
from onebasin.api._matchers import AUTO, Matcher
from onebasin.api._networks import ALIGNED, UNALIGNED, Networks, check_distinct
from onebasin.api._outputs import check_outputs, finished, metadata_of, save_permutations
from onebasin.api.reports import Report
from onebasin.api.results import ComputedNetwork, NetworkResult
from onebasin.errors import public
from onebasin.matching import ManyMatching, Matching
from onebasin.merging._transformed import LazyTransformed
from onebasin.merging.averages import LazyAverage
from onebasin.symmetry import Permutation, Symmetry, Verification
from onebasin.symmetry.transformation import Transformation


@dataclass(frozen=True, repr=False)
class Alignment(NetworkResult):
    """B aligned to A; returned by `align`.

    Args:
        network: aligned B.
        evaluation: loss and error of A, B, aligned B and their averages; None without data.
    """

    network: ComputedNetwork
    _matched: Matched
    evaluation: Report | None = None

    @property
    def permutation(self) -> Permutation:
        """The permutation of B; only a part of `transformation` if that mixes or scales units."""
        return self._matched.permutation

    @property
    def transformation(self) -> Transformation:
        """The transformation of B: a permutation, and maps, scales and signs of units."""
        return self._matched.transformation

    @property
    def symmetry(self) -> Symmetry:
        """The symmetry of the architecture, without groups that failed verification."""
        return self._matched.verified.symmetry

    @property
    def verification(self) -> Verification | None:
        """The verification of the symmetry, or None if it was skipped."""
        return self._matched.verified.verification

    @property
    def matching(self) -> Matching | ManyMatching:
        """The search: its objective over steps and whether it converged."""
        return self._matched.matching

    @property
    def method(self) -> str:
        """The name of the matching method."""
        return self._matched.method

    def summary(self) -> str:
        """Return the text that `onebasin align` prints."""
        report = [self.evaluation.to_text()] if self.evaluation else []
        return "\n".join([self._matched.to_text(), *report])

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain JSON values."""
        report = None if self.evaluation is None else self.evaluation.to_json()
        return {**self.files_to_json(), **self._matched.to_json(), "evaluation": report}


@public
@takes_method_options
def align(
    model: Any,
    a: Any,
    b: Any,
    *,
    data: Any = None,
    method: str = AUTO,
    init: str | None = None,
    symmetry: Any = None,
    verify: bool = True,
    classes: str = "all",
    evaluate: bool = True,
    max_test_examples: int | None = None,
    example_inputs: Any = None,
    arch_args: Mapping[str, Any] | Iterable[str] | None = None,
    key: str | Sequence[str] | None = None,
    output: str | os.PathLike[str] | None = None,
    save_permutation: str | os.PathLike[str] | None = None,
    seed: int = 0,
    progress: bool = False,
    method_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> Alignment:
    r"""Align network B to network A: permute its hidden units so that its weights match those of A.

    The function that B computes does not change. The symmetry of the architecture is inferred
    and verified, and the permutation is searched for (Ainsworth et al. 2023, Section 3). In
    architectures whose units can be mixed, such as transformers, B is also rotated; then
    `transformation` is the result, and `permutation` is only a part of it.

    Args:
        model: the architecture: a module, whose weights are ignored and not changed, or a name
            such as "torchvision:resnet50", "timm:NAME", "hf:FOLDER", "package.module:callable".
        a: the reference network: a module, a state dict, a path, or a result of `align`.
        b: the network to align, in the same forms.
        data: a DataLoader or other iterable of batches, `(inputs, labels)` tensors, a dataset, or
            its name; or a pair of training and test data. Matching then uses weights and
            features, and losses are reported.
        method: name of the matching method; an unknown name lists all. "auto" is "weights", or
            "combined" with data; for networks of up to 2 GiB in architectures whose units can be
            mixed it is "rotations".
        init: name of the method whose permutation initializes the search.
        symmetry: a `Symmetry` or the path of its JSON file, instead of inference.
        verify: whether to verify the symmetry on the module in float64.
        classes: "permutation" to only permute units, without scales and rotations.
        evaluate: whether to evaluate the networks on the data.
        max_test_examples: number of test examples to evaluate on; all by default.
        example_inputs: the inputs of one call of the module: a tensor, a tuple or a mapping. By
            default they come from the data. For a named architecture, shapes such as "2x3x32x32".
        arch_args: arguments of a named architecture.
        key: which state dict of a file to read, such as "model_ema"; one, or one for each.
        output: file or folder of the aligned network. It is written tensor by tensor, so the
            networks can be larger than memory with `verify=False`. An existing checkpoint file
            is replaced; inputs, other files and folders with files are not.
        save_permutation: file of the permutation (`.safetensors`).
        seed: random seed of the search and the verification.
        progress: whether to show progress bars.
        method_options: options of the method by name.
        **options: the same as keywords, such as `max_sweeps=20` or `restarts=5`.

    Returns:
        The aligned network with its permutation; `load_into(module)` and `save(path)` use it.

    Raises:
        OneBasinError: an argument is invalid, the networks do not fit the model or contain NaN,
            or the symmetry cannot be inferred.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> mlp = lambda: nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> model, a = mlp(), mlp()
        >>> aligned = align(model, a, mlp(), example_inputs=torch.zeros(2, 3))
        >>> list(aligned.permutation.indices)
        ['0']
    """
    job = Job.of(
        model,
        {"a": a, "b": b},
        data,
        NetworkOptions(arch_args, example_inputs, key, seed, progress),
        MatchingOptions(method, method_options, init, symmetry, verify, options, classes),
    )
    check_outputs(job, output, save_permutation, like=1)
    evaluation = EvaluationOptions(evaluate, max_test_examples)
    job = job.load(data)
    evaluation.check(job.data)
    matcher = job.method.prepare(data=job.data, data_is_used=job.is_fitted)
    with job.open(is_run=matcher.runs_model or evaluation.runs_model(job.data)) as networks:
        check_distinct(networks, "align")
        matched = _match(job, networks, matcher)
        metadata = metadata_of(
            networks, "align", method=matched.method, seed=seed, keys=job.keys or None
        )
        aligned = LazyTransformed(networks.checkpoints[1], matched.transformation)
        network = finished(job, networks, aligned, metadata, output, like=1)
        report = _report(job, networks, matched, evaluation)
    saved = save_permutations(matched.from_others, save_permutation)
    return Alignment(replace(network, permutation_files=saved), matched, report)


def _match(job: Job, networks: Networks, matcher: Matcher) -> Matched:
    matcher = matcher.fitted(networks.architecture)
    if matcher.data is not None:
        reference = networks.params_list[0]
        note_normalization(networks.architecture, reference, matcher.data, job.reporter)
    return match_networks(networks, job.symmetry, matcher, job.reporter)


def _report(
    job: Job, networks: Networks, matched: Matched, evaluation: EvaluationOptions
) -> Report | None:
    """Return the evaluations of A, B, aligned B and their averages."""
    a, b = networks.params_list
    aligned = matched.apply(networks.params_list)[1]
    named = {"A": a, "B": b, "B aligned": aligned}
    named |= {UNALIGNED: LazyAverage([a, b]), ALIGNED: LazyAverage([a, aligned])}
    if evaluation.runs_model(job.data):
        job.note_splits("test")
    report = evaluation.report(
        networks.architecture,
        named,
        job.data,
        given=["A", "B"],
        ensemble=False,
        reporter=job.reporter,
    )
    if report is not None:
        report.note_weaknesses(["A", "B"], job.reporter)
        note_changed_function(report, job.reporter)
    return report
