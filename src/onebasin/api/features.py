"""Comparison of the features of two networks, layer by layer."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from torch import Tensor, nn

from onebasin._text import columns
from onebasin.api._alignment import Matched, match_networks, matched_to_json
from onebasin.api._data import splits_of
from onebasin.api._evaluation import check_measurement
from onebasin.api._job import Job, MatchingOptions, NetworkOptions, Opened, open_with_data
from onebasin.api._keywords import takes_method_options
from onebasin.api._matchers import AUTO
from onebasin.api._outputs import check_files_in, output_folder
from onebasin.api._symmetries import verified_symmetry
from onebasin.api.results import Summarized
from onebasin.errors import ArgumentError, check_choice, check_whole, public
from onebasin.evaluation.curves import LineNormalization
from onebasin.merging._transformed import LazyTransformed
from onebasin.symmetry.transformation import Transformation

if TYPE_CHECKING:
    from onebasin.evaluation.features import FeatureTable

MeasureName = Literal[
    "llfc", "additivity", "commutativity", "similarity", "error-bound", "interpolation", "all"
]
FORMS = ("csv", "json", "png")
OF_LOSSES = ("error-bound", "interpolation", "all")
OF_ENDS = ("additivity", "commutativity", "similarity")


@dataclass(frozen=True)
class _Options:
    measure: MeasureName
    split: Literal["train", "test"]
    layers: Sequence[str] | None
    normalization: LineNormalization
    batch_size: int

    def check(self) -> None:
        """Check that every option is valid and has an effect."""
        check_choice("measure", self.measure, MeasureName)
        check_whole("batch_size", self.batch_size, least=1)
        if self.layers and self.measure == "error-bound":
            raise ArgumentError(
                "layer= has no effect on measure='error-bound', which uses the outputs; remove it"
            )
        if self.normalization != "interpolated" and self.measure in OF_ENDS:
            raise ArgumentError(
                f"normalization= has no effect on measure={self.measure!r}, "
                "which uses only A and B; remove it"
            )


@dataclass(frozen=True, repr=False)
class FeatureComparison(Summarized):
    """Features of two networks, compared layer by layer; returned by `compare_features`.

    Args:
        tables: the measurements by name.
        data: name of the data.
        split: split of the data.
        files: the files that were written.
        permutation_file: the permutation that was applied to B, or None.
    """

    tables: Mapping[str, FeatureTable]
    data: str
    split: str
    files: tuple[Path, ...] = ()
    permutation_file: Path | None = None
    _matched: Matched | None = None

    def summary(self) -> str:
        """Return the text that `onebasin compare-features` prints."""
        if self._matched:
            first = self._matched.to_text()
        elif self.permutation_file is None:
            first = "B is not aligned"
        else:
            first = f"B is permuted by {self.permutation_file}"
        return "\n\n".join([first, *(_text(name, t) for name, t in self.tables.items())]) + "\n"

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain JSON values."""
        return {
            "data": self.data,
            "split": self.split,
            **matched_to_json(self._matched),
            "files": list(map(str, self.files)),
            "features": {name: table.to_json() for name, table in self.tables.items()},
        }


@public
@takes_method_options
def compare_features(
    model: Any,
    a: Any,
    b: Any,
    data: Any,
    *,
    output: str | os.PathLike[str] | None = None,
    measure: MeasureName = "llfc",
    split: Literal["train", "test"] = "test",
    permutation: str | os.PathLike[str] | None = None,
    align: bool = True,
    layer: Sequence[str] | None = None,
    normalization: LineNormalization = "interpolated",
    batch_size: int = 500,
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
) -> FeatureComparison:
    """Compare the features of two networks layer by layer (Zhou et al. 2023).

    B is aligned to A first. See `barrier` for the arguments that are not listed here.

    Args:
        output: folder for tables (`.csv`, `.json`) and plots (`.png`). Files of the same names
            are replaced.
        measure: "llfc" (layerwise linear feature connectivity of the midpoint), "additivity",
            "commutativity", "similarity", "error-bound" (the 2ε bound), "interpolation" or "all".
        split: split of the data.
        permutation: file of a permutation that is applied to B instead of aligning it.
        align: whether to align B to A first.
        layer: patterns of layer names, such as "layers.*".
        normalization: statistics between the networks.
        batch_size: number of examples per batch.

    Raises:
        OneBasinError: as `barrier` does; or the model has no layers for the measurement.
    """
    chosen = _Options(measure, split, layer, normalization, batch_size)
    chosen.check()
    job = Job.of(
        model,
        {"a": a, "b": b},
        data,
        NetworkOptions(arch_args, example_inputs, key, seed, progress),
        MatchingOptions(method, method_options, init, symmetry, verify, options, classes),
        aligns=align,
    )
    check_measurement(data, split, normalization)
    file = None if permutation is None else Path(permutation)
    _check_permutation(job, file, align)
    if output is not None:
        names = [f"{name}.{form}" for name in get_args(MeasureName) for form in FORMS]
        check_files_in(Path(output), names, job.input_files)
    needs_loss = measure in OF_LOSSES
    opening = open_with_data(
        job, data, normalization=normalization, split=split, needs_loss=needs_loss
    )
    if output is None:
        with opening as opened:
            return _compared(job, opened, chosen, file, None)
    with output_folder(Path(output), "output=") as folder, opening as opened:
        return _compared(job, opened, chosen, file, folder)


def _check_permutation(job: Job, file: Path | None, align: bool) -> None:
    if file is None:
        return
    if not align:
        raise ArgumentError("permutation= has no effect with align=False; remove one of them")
    given = job.method.given
    if given is not None:
        raise ArgumentError(f"{given} has no effect with permutation=; remove one of them")


def _compared(
    job: Job, opened: Opened, options: _Options, file: Path | None, folder: Path | None
) -> FeatureComparison:
    options = replace(options, split=splits_of(opened.data, options.split)[0])
    params_b, matched = _moved(job, opened, file)
    params = opened.networks.params_list[0], params_b
    tables = _measured(job, opened, params, options)
    if not tables:
        raise ArgumentError(f"the model has no layers for measure={options.measure!r}")
    files = () if folder is None else tuple(folder / f"{n}.{f}" for n in tables for f in FORMS)
    for path in files:
        tables[path.stem].save(path)
    return FeatureComparison(tables, opened.data.name, options.split, files, file, matched)


def _moved(
    job: Job, opened: Opened, file: Path | None
) -> tuple[Mapping[str, Tensor], Matched | None]:
    """Return B, aligned to A or permuted by a file, and the matching."""
    networks = opened.networks
    params_b = networks.params_list[1]
    if file is not None:
        verified = verified_symmetry(
            networks.architecture, job.symmetry, job.reporter, states=networks.params_list
        )
        return LazyTransformed(params_b, Transformation.load(file, verified.symmetry)), None
    if not job.aligns or networks.duplicates is not None:
        return params_b, None
    matched = match_networks(networks, job.symmetry, opened.matcher, job.reporter)
    return matched.apply(networks.params_list)[1], matched


def _measured(
    job: Job,
    opened: Opened,
    params: tuple[Mapping[str, Tensor], Mapping[str, Tensor]],
    options: _Options,
) -> dict[str, FeatureTable]:
    """Return the tables by name; all but interpolation need one pass over the data."""
    from onebasin.evaluation.features import interpolate_features

    data, module = opened.data, opened.networks.architecture.module
    train = data.batches("train", options.batch_size)
    batches = data.batches(options.split, options.batch_size)
    # Read into memory once: every batch needs them, and each read applies a permutation.
    params_a, params_b = ({name: each[name] for name in each} for each in params)
    tables: dict[str, FeatureTable] = {}
    if options.measure != "interpolation":
        tables |= _probed(job, module, (params_a, params_b), (batches, train), options)
    if options.measure in ("interpolation", "all"):
        with job.reporter.progress("interpolated features, each layer") as progress:
            tables["interpolation"] = interpolate_features(
                module,
                params_a,
                params_b,
                batches,
                layers=options.layers,
                normalization=options.normalization,
                statistics=train,
                progress=progress,
            )
    return tables


def _probed(
    job: Job,
    module: nn.Module,
    params: tuple[Mapping[str, Tensor], Mapping[str, Tensor]],
    batches: tuple[Iterable[Any], Iterable[Any]],
    options: _Options,
) -> dict[str, FeatureTable]:
    """Run the measurements that use the same networks in one pass."""
    from onebasin.evaluation.features import (
        additivity,
        commutativity,
        error_bound,
        llfc,
        similarity,
    )
    from onebasin.evaluation.features._probe import ALPHAS, FeatureProbe, path_between

    everything = options.measure == "all"
    makers: dict[str, Callable[[], Any]] = {
        "llfc": llfc.LLFCMetric,
        "additivity": lambda: additivity.AdditivityMetric(
            is_optional=everything,
            remedy="for other functions, use onebasin.evaluation.features.measure_additivity with "
            "operators=['all']",
        ),
        "commutativity": lambda: commutativity.CommutativityMetric(is_optional=everything),
        "similarity": similarity.SimilarityMetric,
        "error-bound": error_bound.ErrorBoundMetric,
    }
    measures = {n: make() for n, make in makers.items() if everything or n == options.measure}
    alphas = ALPHAS if {"llfc", "error-bound"} & measures.keys() else ()
    data, statistics = batches
    with job.reporter.counting(f"measuring {options.measure}, each batch", data) as show:
        path = path_between(
            module,
            *params,
            alphas,
            normalization=options.normalization,
            statistics=statistics,
        )
        probe = FeatureProbe(module, data, path, layers=options.layers)
        probe.run(list(measures.values()), show)
    tables = {name: measure.result() for name, measure in measures.items()}
    return {name: table for name, table in tables.items() if table.records}


def _text(name: str, table: FeatureTable) -> str:
    """Return a table as text: the means by layer, at the alpha closest to a half."""
    from onebasin.evaluation.features import ErrorBound

    alpha = table.middle
    title = name if alpha is None else f"{name}, α = {alpha:g}"
    if isinstance(table, ErrorBound):
        outcome = "violated, so LLFC does not hold at the outputs"
        if table.bound_satisfied:
            outcome = "satisfied"
        return (
            f"error bound: error of the endpoints at most {table.epsilon:.4f}, on the path at most "
            f"{table.path_error:.4f}; the bound of {table.bound:.4f} is {outcome}"
        )
    rows = [(title, *table.measures)]
    for layer in table.layers:
        by_measure = {r.measure: r for r in table.records if r.layer == layer and _shown(r, alpha)}
        rows.append(
            (
                layer,
                *(f"{by_measure[m].mean:.4f}" if m in by_measure else "" for m in table.measures),
            )
        )
    return columns(rows)


def _shown(record: Any, alpha: float | None) -> bool:
    # Both networks have alpha 0 or 1.
    return record.alpha in (None, alpha, 0.0, 1.0)
