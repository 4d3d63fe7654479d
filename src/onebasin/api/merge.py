"""Merging of networks: align, average, repair."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from onebasin._text import counted
from onebasin.api._alignment import match_networks
from onebasin.api._data import note_normalization
from onebasin.api._evaluation import EvaluationOptions
from onebasin.api._heads import check_heads, head_files
from onebasin.api._job import Job, MatchingOptions, NetworkOptions
from onebasin.api._keywords import takes_method_options
from onebasin.api._matchers import AUTO, Matcher
from onebasin.api._networks import MERGED, UNALIGNED, Networks, check_distinct, names_of
from onebasin.api._outputs import (
    check_outputs,
    finished,
    metadata_of,
    save_permutations,
    write_network,
)
from onebasin.api._repairs import Repair
from onebasin.api._reporter import Reporter
from onebasin.api._sizes import Size
from onebasin.api.merged import Average, Merged
from onebasin.api.reports import Report
from onebasin.errors import ArgumentError, public
from onebasin.evaluation._heads import HeadFit
from onebasin.evaluation._paths import normalize_weights
from onebasin.graph._normalization import keeps_spectral_vectors, layers_with_statistics
from onebasin.merging.averages import LazyAverage


@public
@takes_method_options
def merge(
    model: Any,
    networks: Any,
    *,
    weights: Sequence[int | float] | None = None,
    data: Any = None,
    align: bool = True,
    method: str = AUTO,
    init: str | None = None,
    symmetry: Any = None,
    verify: bool = True,
    classes: str = "all",
    repair: str = "auto",
    tune_norms: bool = False,
    size: int | float = 1,
    heads: str = "shared",
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
) -> Merged:
    r"""Merge independently trained networks into one: align them, average them, repair the average.

    The networks are aligned to the first (Ainsworth et al. 2023), and their weighted average is
    computed. With data, matching uses weights and features. The average is then refit by least
    squares, or its activation statistics are repaired (Jordan et al. 2022); see `repair`.

    Args:
        model: the architecture; see `align`.
        networks: two or more networks, the reference first: modules, state dicts, paths, or
            results of `align`.
        weights: a weight for each network; they are divided by their sum. Equal by default.
        data: a DataLoader or other iterable of batches, `(inputs, labels)` tensors, a dataset, or
            its name; or a pair of training and test data. Matching and repair use the training
            data, the report the test data. Labels are used for the report only.
        align: whether to align the networks first.
        method: name of the matching method; an unknown name lists all. "auto" is "weights",
            "combined" with data, or "many" for three or more networks.
        init: name of the method whose permutation initializes the search.
        symmetry: a `Symmetry` or the path of its JSON file, instead of inference.
        verify: whether to verify the symmetry on the module in float64.
        classes: "permutation" to only permute units, without scales and rotations.
        repair: "none", "reset" (recompute BatchNorm statistics), "repair" (match mean and std
            of all units), "rescale" or "refit" (recompute all weights by least squares). "auto"
            selects reset, repair or refit: the one whose outputs are closest to the mean output
            of the networks on held-out data. Without data it is "none".
        tune_norms: whether to train the gains and biases of the repaired network on the data,
            without labels, to reproduce the mean output. It takes longer than the refit.
        size: size of the merged network as a multiple of that of one network, from 1 to the number
            of networks. Above 1, units that match badly are kept from every network, and all
            layers are refit. The number of networks keeps all units; the output is then the mean
            output. `onebasin.resize` builds the module.
        heads: "shared" merges the last layers. "own" keeps one last layer for each network, for
            networks with different tasks: the body is merged and refit, and the last layer is
            then fit once to the outputs of each network. See `Merged.heads`.
        evaluate: whether to evaluate the networks on the data.
        max_test_examples: number of test examples to evaluate on; all by default.
        example_inputs: the inputs of one call of the module; see `align`.
        arch_args: arguments of a named architecture.
        key: which state dict of a file to read; see `align`.
        output: file or folder of the merged network. With `heads="own"` it has the last layer of
            the first network, and files such as `merged-head-2.pt` have those of the others.
            Without a repair it is written tensor by tensor, so the networks can be larger than
            memory with `verify=False`. Existing files are treated as in `align`.
        save_permutation: file of the permutation (`.safetensors`), one for each further network.
        seed: random seed of the search and the verification.
        progress: whether to show progress bars.
        method_options: options of the method by name.
        **options: the same as keywords, such as `max_sweeps=20` or `restarts=5`.

    Returns:
        The merged network; `load_into(module)` and `save(path)` use it, `print` shows a summary.

    Raises:
        OneBasinError: an argument is invalid, the networks do not fit the model or contain NaN,
            or the symmetry cannot be inferred.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> mlp = lambda: nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> model = mlp()
        >>> merged = merge(model, [mlp(), mlp()], example_inputs=torch.zeros(2, 3))
        >>> model = merged.load_into(model)
        >>> merged.weights
        (0.5, 0.5)
    """
    job = Job.of(
        model,
        networks,
        data,
        NetworkOptions(arch_args, example_inputs, key, seed, progress),
        MatchingOptions(method, method_options, init, symmetry, verify, options, classes),
        aligns=align,
    )
    _check(job, data, align, repair, save_permutation)
    owns_heads = check_heads(heads, data=data, repair=repair, size=size)
    chosen_size = Size.of(size, len(job.sources), data=data, align=align, repair=repair)
    shares = normalize_weights(weights, len(job.sources))
    num_heads = len(job.sources) if owns_heads else 0
    check_outputs(job, output, save_permutation, like=0, num_heads=num_heads)
    evaluation = EvaluationOptions(evaluate, max_test_examples)
    job = job.load(data)
    evaluation.check(job.data)
    is_refit = bool(chosen_size or owns_heads) and job.data is not None
    chosen = Repair.of("refit" if is_refit else repair, job.data, tune_norms=tune_norms)
    matcher = _matcher(job, chosen)
    is_run = chosen is not None or bool(matcher and matcher.runs_model)
    with job.open(is_run=is_run or evaluation.runs_model(job.data)) as opened:
        check_distinct(opened, "merge")
        average = _average(job, opened, shares, matcher, chosen, chosen_size, owns_heads)
        sized = average.sized
        metadata = metadata_of(
            opened if sized is None else replace(opened, metadata=sized.metadata),
            "merge",
            weights=list(average.weights),
            method=average.matched and average.matched.method,
            repair=average.repair and average.repair.method,
            size=chosen_size and chosen_size.value,
            heads="own" if owns_heads else None,
            seed=seed,
            keys=job.keys or None,
        )
        network = finished(job, opened, average.params, metadata, output, like=0, sized=sized)
        for path, head in zip(head_files(output, num_heads), average.heads[1:], strict=False):
            write_network(job, path, head, metadata, like=opened.checkpoints[0])
        report = _report(job, opened, average, evaluation)
    saved = (
        save_permutations(average.matched.from_others, save_permutation) if average.matched else ()
    )
    return Merged(replace(network, permutation_files=saved), average, report)


def _check(job: Job, data: Any, align: bool, repair: str, save_permutation: Any) -> None:
    if len(job.sources) < 2:
        raise ArgumentError(
            f"{counted(len(job.sources), 'network')} given; pass two or more, the reference first"
        )
    if align:
        return
    if save_permutation is not None:
        raise ArgumentError(
            "save_permutation= has no effect with align=False; pass align=True, or remove it"
        )
    if repair == "none" and data is not None:
        raise ArgumentError(
            "data= has no effect with align=False and repair='none'; remove one of them"
        )


def _matcher(job: Job, repair: Repair | None) -> Matcher | None:
    """Return the method that the user chose, or the default; None without alignment."""
    if not job.aligns:
        return None
    matcher = job.method.prepare(
        len(job.sources),
        data=job.data,
        data_is_used=repair is not None or job.is_fitted,
    )
    # Matching uses the statistics after the repair.
    return matcher if repair is None else matcher.with_defaults(normalization="batch")


def _average(
    job: Job,
    networks: Networks,
    weights: Sequence[float],
    matcher: Matcher | None,
    repair: Repair | None,
    size: Size | None,
    owns_heads: bool,
) -> Average:
    """Align the networks if there is a matcher, average them, and repair the average."""
    architecture, reporter = networks.architecture, job.reporter
    repair = None if repair is None else repair.fitted(architecture)
    heads = None
    if owns_heads and repair is not None:  # finds the last layer before any long work
        heads = HeadFit(architecture.module, repair.data.batches())
    matcher = None if matcher is None else matcher.fitted(architecture)
    _note_averages(architecture.module, has_data=job.data is not None, reporter=reporter)
    used = repair.data if repair is not None else matcher and matcher.data
    if used is not None:
        note_normalization(architecture, networks.params_list[0], used, reporter)
    matched = matcher and match_networks(networks, job.symmetry, matcher, reporter)
    params_list = networks.params_list
    aligned = matched.apply(params_list) if matched else params_list
    if size is not None and matched is not None:
        symmetry = matched.verified.symmetry
        sized = size.run(job, architecture, aligned, weights, symmetry, repair)
        repaired = sized.enlarged.repaired
        repair = None if repaired is None else repair
        return Average(sized.params, weights, matched, repair, repaired, sized)
    mean = LazyAverage(aligned, weights)
    for note in mean.notes:
        reporter.note(note)
    if repair is None:
        return Average(mean, weights, matched, None, None)
    repair, repaired = repair.run(architecture, aligned, weights, reporter)
    if heads is None:
        return Average(repaired.params, weights, matched, repair, repaired)
    with reporter.progress("fitting the last layers"):
        own = heads.fit(repaired.params, [dict(each) for each in aligned], repair.outputs)
    repaired = replace(repaired, params=own[0])
    return Average(own[0], weights, matched, repair, repaired, heads=own)


def _note_averages(model: nn.Module, *, has_data: bool, reporter: Reporter) -> None:
    """Note averaged statistics, which do not fit the averaged weights."""
    if layers_with_statistics(model) and not has_data:
        reporter.note("BatchNorm statistics are averaged; pass data= to recompute them")
    if keeps_spectral_vectors(model):
        reporter.note(
            "the vectors of spectral normalization are averaged; run a few forward passes in "
            "training mode to recompute them"
        )


def _report(
    job: Job, networks: Networks, average: Average, evaluation: EvaluationOptions
) -> Report | None:
    """Return the evaluations of the networks, their average, the result and the ensemble."""
    labels = job.labels
    own = {f"{MERGED}, head {n}": head for n, head in enumerate(average.heads[1:], start=2)}
    given = ["A", "B"] if len(labels) == 2 else names_of(labels, reserved=[MERGED, *own])
    named: dict[str, Mapping[str, Tensor]] = dict(zip(given, networks.params_list, strict=True))
    named |= {UNALIGNED: LazyAverage(networks.params_list, average.weights), MERGED: average.params}
    named |= own
    if evaluation.runs_model(job.data):
        job.note_splits("test")
    report = evaluation.report(
        networks.architecture,
        named,
        job.data,
        given=given,
        ensemble=True,
        reporter=job.reporter,
        models={} if average.sized is None else {MERGED: average.sized.enlarged.module},
    )
    if report is not None:
        report.note_weaknesses(given, job.reporter)
    return report
