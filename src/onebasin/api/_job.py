"""A job: networks of one architecture, options of the matching, and data."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from onebasin.api._architectures import (
    AnyArchitecture,
    NamedArchitecture,
    architecture_of,
    check_is_architecture,
)
from onebasin.api._data import (
    DataSource,
    as_data,
    fitted,
    laid_out,
    note_normalization,
    splits_of,
)
from onebasin.api._evaluation import check_max_train_examples
from onebasin.api._matchers import (
    AUTO,
    Matcher,
    MethodOptions,
    checked_name,
    joined_options,
)
from onebasin.api._networks import Networks, open_networks
from onebasin.api._reporter import Reporter
from onebasin.api._sources import Source, sources_of
from onebasin.api._symmetries import SymmetryOptions
from onebasin.checkpoints._metadata import ArchitectureRecord, merged_arguments, shared_record
from onebasin.data.data import Data
from onebasin.errors import ArgumentError, check_whole
from onebasin.evaluation.curves import LineNormalization
from onebasin.evaluation.evaluator import Evaluator, evaluator_of

MAX_SEED = 2**63 - 1


@dataclass(frozen=True)
class NetworkOptions:
    """Arguments of a public function about the architecture and its networks; see `align`.

    Args:
        arch_args: arguments of a named architecture.
        example_inputs: the inputs of one call of the module.
        key: key of the state dict in a file, one or one for each network.
        seed: random seed of the search and the verification.
        progress: whether to show progress bars.
    """

    arch_args: Mapping[str, Any] | Iterable[str] | None
    example_inputs: Any
    key: str | Sequence[str] | None
    seed: int
    progress: bool


@dataclass(frozen=True)
class MatchingOptions:
    """Arguments of a public function about the matching; see `align`.

    Args:
        method: name of the matching method.
        options: options of the method by name, or None.
        init: name of the method whose permutation initializes the search.
        symmetry: a `Symmetry` or the path of its JSON file, instead of inference.
        verify: whether to verify the symmetry.
        keywords: options of the method that were passed as keywords.
        classes: "permutation" to only permute units.
    """

    method: str = AUTO
    options: Mapping[str, Any] | None = None
    init: str | None = None
    symmetry: Any = None
    verify: bool = True
    keywords: Mapping[str, Any] = field(default_factory=dict)
    classes: Any = "all"


@dataclass(frozen=True)
class Job:
    """The networks of a public function, and the options of their matching.

    Args:
        architecture: architecture of all networks.
        sources: the networks, the reference first.
        reporter: shows progress and notes.
        symmetry: source of the symmetry.
        method: the matching method.
        aligns: whether the networks are matched.
        data: the loaded data, or None.
        data_files: files of the data.
        keys: keys of the state dicts, as given by the user.
        names_data: whether the data are given by name, not as batches.
    """

    architecture: AnyArchitecture
    sources: tuple[Source, ...]
    reporter: Reporter
    symmetry: SymmetryOptions
    method: MethodOptions
    aligns: bool = True
    data: Data | None = None
    data_files: tuple[Path, ...] = ()
    keys: tuple[str, ...] = ()
    names_data: bool = False

    @classmethod
    def of(
        cls,
        model: Any,
        networks: Any,
        data: Any,
        options: NetworkOptions,
        matching: MatchingOptions,
        *,
        aligns: bool = True,
    ) -> Job:
        """Return a job with checked arguments; nothing is loaded yet.

        Args:
            model: the argument `model` of the public function.
            networks: the networks, the reference first; a mapping names them in errors.
            data: the argument `data` of the public function.
            options: arguments about the architecture and its networks.
            matching: arguments about the matching.
            aligns: whether the networks are matched.

        Raises:
            OneBasinError: an argument is invalid, or has no effect without alignment.
        """
        seed = check_whole("seed", options.seed, least=0, most=MAX_SEED)
        check_is_architecture(model)
        sources = sources_of(networks, options.key)
        record = shared_record([each.path for each in sources if each.path is not None])
        architecture = architecture_of(
            model,
            arch_args=options.arch_args,
            example_inputs=options.example_inputs,
            seed=seed,
            record=None if record is None else _of_model(record, model),
        )
        method = checked_name(matching.method)
        method_options = joined_options(matching.options, matching.keywords)
        named = DataSource(data) if isinstance(data, str) else data
        job = cls(
            architecture,
            sources,
            Reporter(options.progress),
            SymmetryOptions.of(matching.symmetry, matching.verify, seed, matching.classes),
            MethodOptions(method, method_options, matching.init, seed),
            aligns,
            data_files=named.files if isinstance(named, DataSource) else (),
            keys=(options.key,) if isinstance(options.key, str) else tuple(options.key or ()),
            names_data=isinstance(named, DataSource),
        )
        if not aligns:
            job.reject_matching("with align=False", "pass align=True, or remove it")
        return job

    def reject_matching(self, reason: str, remedy: str) -> None:
        """Raise an error if options of the matching were given.

        Args:
            reason: the reason for the missing effect, such as "with align=False".
            remedy: how to correct the call.
        """
        given = "symmetry=" if self.symmetry.symmetry is not None else self.method.given
        if given is not None:
            raise ArgumentError(f"{given} has no effect {reason}; {remedy}")

    @property
    def input_files(self) -> tuple[Path, ...]:
        """The files and folders that are read, which an output must not replace."""
        paths = [source.path for source in self.sources if source.path is not None]
        return (*paths, *self.architecture.files, *self.symmetry.files, *self.data_files)

    @property
    def labels(self) -> list[str]:
        """The names of the networks for reports."""
        return [source.label for source in self.sources]

    @property
    def is_fitted(self) -> bool:
        """Whether the data determined arguments of the architecture."""
        return isinstance(self.architecture, NamedArchitecture) and bool(self.architecture.sizes)

    def load(self, data: Any) -> Job:
        """Load data, and return the job with an architecture that takes them.

        Args:
            data: the argument `data` of the public function; None for none.

        Raises:
            OneBasinError: the data do not exist, or the architecture cannot take them.
        """
        if data is None:
            return self
        named = isinstance(self.architecture, NamedArchitecture)
        spec = self.architecture.spec if named else None
        loaded = as_data(data, spec)
        sizes, loaded = fitted(spec, loaded) if spec else ({}, loaded)
        architecture = self.architecture.with_data(loaded, sizes)
        return replace(self, architecture=architecture, data=loaded)

    def note_splits(self, split: str) -> None:
        """Note that the named data have no test split, if it is needed."""
        assert self.data is not None
        if self.names_data and split != "train" and self.data.test is None:
            self.reporter.note(
                f"{self.data.name} has no test split; its training examples are used"
            )

    def open(self, *, is_run: bool = True) -> AbstractContextManager[Networks]:
        """Open the networks for the time of a block; see `open_networks`.

        Args:
            is_run: whether the module is run, apart from verification.
        """
        verifies = self.aligns and self.symmetry.verify
        return open_networks(
            self.architecture,
            self.sources,
            reporter=self.reporter,
            is_run=is_run or verifies,
        )


def _of_model(record: ArchitectureRecord, model: Any) -> ArchitectureRecord | None:
    """Return the record for the architecture of the user, which must not contradict it."""
    if not isinstance(model, str | os.PathLike):
        return None
    spec = os.fspath(model)
    return replace(record, spec=spec, arguments=merged_arguments(record, spec, {}))


@dataclass(frozen=True)
class Opened:
    """Open networks, data for them, and the matching method.

    Args:
        networks: the networks, open while the block runs.
        data: data in a form that the architecture takes.
        matcher: the method, with these data if it uses any.
    """

    networks: Networks
    data: Data
    matcher: Matcher

    def evaluators(self, split: str) -> dict[str, Evaluator]:
        """Return a function for each split that evaluates a model on it.

        Args:
            split: "train", "test" or "both".
        """
        return {name: evaluator_of(self.data, name) for name in splits_of(self.data, split)}


@contextlib.contextmanager
def open_with_data(
    job: Job,
    data: Any,
    *,
    normalization: LineNormalization,
    split: str,
    needs_loss: bool = True,
) -> Iterator[Opened]:
    """Open networks and data for the time of a block.

    Args:
        job: the networks.
        data: the argument `data` of the public function.
        normalization: source of the statistics between the networks.
        split: "train", "test" or "both".
        needs_loss: whether a loss is evaluated, which needs labels.

    Raises:
        OneBasinError: as `MethodOptions.prepare`, `open_networks` and `laid_out` do.
    """
    job = job.load(data)
    assert job.data is not None
    job.note_splits(split)
    matcher = matcher_between(job, normalization)
    uses_training_data = normalization != "interpolated" or (job.aligns and matcher.uses_data)
    if not uses_training_data and "train" not in splits_of(job.data, split):
        check_max_train_examples(data)
    with job.open() as networks:
        data = laid_out(networks.architecture, job.data, has_classes=needs_loss)
        note_normalization(networks.architecture, networks.params_list[0], data, job.reporter)
        yield Opened(networks, data, matcher.with_data(data))
        # The work may still find errors in the inputs.
        if normalization == "interpolated" and networks.has_statistics:
            job.reporter.note(
                "BatchNorm statistics are interpolated; pass normalization='reset' to recompute "
                "them from the training data"
            )


def matcher_between(job: Job, normalization: LineNormalization) -> Matcher:
    """Return the method that aligns networks before a measurement between them.

    Args:
        job: the networks, with loaded data.
        normalization: source of the statistics between the networks.
    """
    if normalization == "interpolated":  # as in the papers
        return job.method.prepare(data=job.data, data_is_used=True, default_with_data="weights")
    # as in `merge` with data
    matcher = job.method.prepare(data=job.data, data_is_used=True)
    return matcher.with_defaults(normalization="batch")
