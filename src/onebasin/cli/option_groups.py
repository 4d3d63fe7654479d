"""Groups of options that several commands share, each a dataclass.

Nothing here imports torch before a command runs.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from inspect import Parameter
from typing import TYPE_CHECKING, Any, get_type_hints

from onebasin.cli.console import open_console
from onebasin.cli.options import (
    ArchArgs,
    Context,
    DataRoot,
    Evaluate,
    ImageSize,
    Init,
    Inputs,
    Json,
    Keys,
    LabelColumn,
    MaxTestExamples,
    MaxTrainExamples,
    MaxTrainExamplesFixed,
    MethodArgs,
    MethodName,
    Normalize,
    Quiet,
    Restarts,
    Seed,
    SymmetryFile,
    TokenizerName,
    Verify,
)
from onebasin.errors import OneBasinError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from onebasin.api import DataSource
    from onebasin.cli.console import Console


@dataclass(frozen=True)
class RunOptions:
    """Options of every command."""

    seed: Seed = 0
    as_json: Json = False
    quiet: Quiet = False

    def open_console(self) -> AbstractContextManager[Console]:
        """Open the console of the command."""
        return open_console(self.as_json, self.quiet)

    @property
    def keywords(self) -> dict[str, Any]:
        """The arguments of the library function."""
        return {"seed": self.seed, "progress": not self.quiet and sys.stderr.isatty()}


@dataclass(frozen=True)
class DataOptions:
    """How data are read."""

    data_root: DataRoot = None
    max_train_examples: MaxTrainExamples = None
    normalize: Normalize = None
    image_size: ImageSize = None
    label_column: LabelColumn = None
    tokenizer: TokenizerName = None
    context: Context = None

    def source(self, data: str, seed: int) -> DataSource:
        """Return the data.

        Args:
            data: `--data`.
            seed: random seed of the choice of training examples.
        """
        from onebasin.api import DataSource

        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return DataSource(data, root=given.pop("data_root"), seed=seed, **given)

    def optional_source(self, data: str | None, seed: int) -> DataSource | None:
        """Return the data, or None without `--data`.

        Raises:
            OneBasinError: there are options for data, but no data.
        """
        if data is not None:
            return self.source(data, seed)
        for field in fields(self):
            if getattr(self, field.name) is not None:
                option = "--" + field.name.replace("_", "-")
                raise OneBasinError(
                    f"data: {option} has no effect without --data; remove it or give --data"
                )
        return None


@dataclass(frozen=True)
class TrainingDataOptions(DataOptions):
    """Data options of `train`, whose examples do not depend on a seed."""

    max_train_examples: MaxTrainExamplesFixed = None


@dataclass(frozen=True)
class EvaluationOptions:
    """Whether and on what the networks of a command are evaluated."""

    evaluate: Evaluate = True
    max_test_examples: MaxTestExamples = None

    @property
    def keywords(self) -> dict[str, Any]:
        """The arguments of the library function."""
        return {"evaluate": self.evaluate, "max_test_examples": self.max_test_examples}


@dataclass(frozen=True)
class ArchitectureOptions:
    """How the architecture is built, and which state dicts are read."""

    arch_arg: ArchArgs = None
    input_: Inputs = None
    key: Keys = None

    def networks(
        self, call: str, words: Sequence[str], *, minimum: int = 2, maximum: int | None = None
    ) -> tuple[str, list[Path]]:
        """Return ARCH and the paths of the checkpoints.

        Args:
            call: the command, for messages.
            words: the positional arguments, `[ARCH] A B ...`.
            minimum: smallest number of checkpoints.
            maximum: largest number of checkpoints, or None.

        Raises:
            OneBasinError: as `split_positionals` does.
        """
        from onebasin.cli.positionals import split_positionals

        given = split_positionals(call, words, minimum=minimum, maximum=maximum)
        return given.model, list(given.paths)

    @property
    def keywords(self) -> dict[str, Any]:
        """The arguments of the library function."""
        return {"arch_args": self.arch_arg, "example_inputs": self.input_, "key": self.key}


@dataclass(frozen=True)
class MatchingOptions(ArchitectureOptions):
    """How the architecture is built, its symmetry inferred, and networks matched."""

    symmetry: SymmetryFile = None
    verify: Verify = True
    method: MethodName = None
    method_arg: MethodArgs = None
    restarts: Restarts = None
    init: Init = None

    @property
    def keywords(self) -> dict[str, Any]:
        """The arguments of the library function."""
        return {
            **super().keywords,
            "symmetry": self.symmetry,
            "verify": self.verify,
            "method": self.method or "auto",
            "init": self.init,
            "method_options": self._method_options(),
        }

    def _method_options(self) -> dict[str, Any]:
        from onebasin.checkpoints.arguments import parse_arguments

        options = parse_arguments(self.method_arg, option="--method-arg", example="max_sweeps=20")
        return options if self.restarts is None else {**options, "restarts": self.restarts}


def reject_options(call: str, given: Mapping[str, object], reason: str) -> None:
    """Reject options that have no effect.

    Args:
        call: the command, for the message.
        given: values of the options by name.
        reason: the cause, such as "with --no-align".

    Raises:
        OneBasinError: one of them is given.
    """
    for option, value in given.items():
        if value:
            raise OneBasinError(f"{call}: {option} has no effect {reason}; remove one of them")


def with_option_groups(command: Callable[..., Any]) -> Callable[..., Any]:
    """Replace each parameter of a command that is an option group by the fields of the group.

    Typer, and so `--help`, shows the options at the position of the group.

    Args:
        command: a function with parameters that typer understands, and option groups.
    """
    parameters: list[Parameter] = []
    groups: dict[str, type[Any]] = {}
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        kind = parameter.annotation
        if isinstance(kind, type) and is_dataclass(kind):
            groups[parameter.name] = kind
            parameters += _options(kind)
        else:
            parameters.append(parameter.replace(kind=Parameter.KEYWORD_ONLY))

    @functools.wraps(command)
    def run(**given: Any) -> Any:
        for name, group in groups.items():
            given[name] = group(**{each.name: given.pop(each.name) for each in fields(group)})
        return command(**given)

    # Typer reads both.
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    run.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportFunctionMemberAccess, reportAttributeAccessIssue]
    return run


def _options(group: type[Any]) -> list[Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        Parameter(
            each.name, Parameter.KEYWORD_ONLY, default=each.default, annotation=hints[each.name]
        )
        for each in fields(group)
    ]
