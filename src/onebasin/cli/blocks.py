"""Blocks: options that several commands have together, each block a dataclass.

Owns `with_blocks`, which gives a command the options of its blocks, and what the blocks stand
for. Nothing here imports torch before a command runs.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
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
    MethodArgs,
    MethodName,
    Normalize,
    NumTest,
    NumTrain,
    NumTrainFixed,
    Prove,
    Quiet,
    Restarts,
    Seed,
    SymmetryFile,
    TokenizerName,
)
from onebasin.errors import OneBasinError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from onebasin.cli.console import Console
    from onebasin.cli.evaluations import EvaluationChoice
    from onebasin.cli.measuring import DataChoice
    from onebasin.cli.request import Request


@dataclass(frozen=True)
class RunOptions:
    """What every command takes: the seed, and how it talks."""

    seed: Seed = 0
    as_json: Json = False
    quiet: Quiet = False

    def open_console(self) -> AbstractContextManager[Console]:
        """Give the command its console; see `onebasin.cli.console.open_console`."""
        return open_console(self.as_json, self.quiet)


@dataclass(frozen=True)
class DataOptions:
    """Where data come from and how they are read, besides `--data` itself."""

    data_root: DataRoot = None
    num_train: NumTrain = None
    normalize: Normalize = None
    image_size: ImageSize = None
    label_column: LabelColumn = None
    tokenizer: TokenizerName = None
    context: Context = None

    def choice(
        self, data: str, seed: int, splits: tuple[str, ...] = ("train", "test")
    ) -> DataChoice:
        """Return the choice of data.

        Args:
            data: `--data`.
            seed: random seed of the choice of examples.
            splits: "train", "test" or both.
        """
        from onebasin.cli.measuring import DataChoice
        from onebasin.training.datasets.read_options import ReadOptions

        options = ReadOptions(
            self.normalize, self.image_size, self.label_column, self.tokenizer, self.context
        )
        return DataChoice(data, self.data_root, splits, self.num_train, seed, options)

    def optional_choice(self, data: str | None, seed: int) -> DataChoice | None:
        """Return the choice of data, or None without `--data`.

        Raises:
            OneBasinError: when there are options for data, but no data.
        """
        if data is not None:
            return self.choice(data, seed)
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

    num_train: NumTrainFixed = None


@dataclass(frozen=True)
class EvaluationOptions:
    """Whether and on what the networks of a command are evaluated."""

    evaluate: Evaluate = True
    num_test: NumTest = None

    def choice(self, data: object) -> EvaluationChoice:
        """Return the choice.

        Args:
            data: what the user says about data, or None.

        Raises:
            OneBasinError: when a number of test examples has no effect.
        """
        from onebasin.cli.evaluations import EvaluationChoice

        if data is None:
            refuse_given("data", {"--num-test": self.num_test}, "without --data")
        if not self.evaluate:
            refuse_given("data", {"--num-test": self.num_test}, "with --no-evaluate")
        return EvaluationChoice(self.evaluate, self.num_test)


@dataclass(frozen=True)
class ArchitectureOptions:
    """How the architecture is built."""

    arch_arg: ArchArgs = None
    input_: Inputs = None
    key: Keys = None

    def request(
        self,
        call: str,
        words: Sequence[str],
        seed: int,
        *,
        minimum: int = 2,
        maximum: int | None = None,
    ) -> Request:
        """Return the networks that a command works on.

        Args:
            call: the command, for messages.
            words: the positional arguments, `[ARCH] A B ...`.
            seed: random seed of the command.
            minimum: fewest checkpoints.
            maximum: most checkpoints, or None for any number.

        Raises:
            OneBasinError: as `split_positionals` does.
        """
        from onebasin.cli.pairs import ArchitectureChoice
        from onebasin.cli.positionals import split_positionals
        from onebasin.cli.request import Request
        from onebasin.cli.symmetries import SymmetryChoice

        given = split_positionals(call, words, minimum=minimum, maximum=maximum)
        return Request(
            ArchitectureChoice.of(given.architecture, self.arch_arg, self.input_, seed),
            given.paths,
            SymmetryChoice(proves=False, seed=seed),
            keys=tuple(self.key or ()),
        )


@dataclass(frozen=True)
class MatchingOptions(ArchitectureOptions):
    """How the architecture is built, its symmetry inferred, and networks matched."""

    symmetry: SymmetryFile = None
    prove: Prove = True
    method: MethodName = None
    method_arg: MethodArgs = None
    restarts: Restarts = None
    init: Init = None

    def request(
        self,
        call: str,
        words: Sequence[str],
        seed: int,
        *,
        data: DataChoice | None = None,
        **limits: Any,
    ) -> Request:
        """Return the networks that a command works on, and how they are matched.

        Args:
            call: the command, for messages.
            words: the positional arguments, `[ARCH] A B ...`.
            seed: random seed of the command.
            data: data of a command that does not measure, or None.
            limits: numbers of checkpoints, as for `ArchitectureOptions.request`.
        """
        from onebasin.cli.methods import MethodChoice
        from onebasin.cli.symmetries import SymmetryChoice

        method = MethodChoice(
            self.method, self.method_arg, self.restarts, self.init, data=data, seed=seed
        )
        symmetry = SymmetryChoice(self.symmetry, self.prove, seed)
        return replace(
            super().request(call, words, seed, **limits), symmetry=symmetry, method=method
        )

    def refuse_useless(
        self,
        call: str,
        reason: str,
        *,
        before: Mapping[str, object] | None = None,
        after: Mapping[str, object] | None = None,
    ) -> None:
        """Refuse options of the alignment when the command does not align.

        Args:
            call: the command, for the message.
            reason: the cause, such as "with --no-align".
            before: further options by name, checked first.
            after: further options by name, checked last.

        Raises:
            OneBasinError: the message names the first given option.
        """
        own = {"--symmetry": self.symmetry}
        refuse_given(call, {**(before or {}), **own, **self.of_method, **(after or {})}, reason)

    @property
    def of_method(self) -> dict[str, object]:
        """The values of the options of the matching method, by name."""
        return {
            "--method": self.method,
            "--method-arg": self.method_arg,
            "--restarts": self.restarts,
            "--init": self.init,
        }


def refuse_given(call: str, given: Mapping[str, object], reason: str) -> None:
    """Refuse options that have no effect.

    Args:
        call: the command, for the message.
        given: values of the options by name.
        reason: the cause, such as "with --no-align".

    Raises:
        OneBasinError: the message names the first given option.
    """
    for option, value in given.items():
        if value:
            raise OneBasinError(f"{call}: {option} has no effect {reason}; remove one of them")


def with_blocks(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let a command take blocks: a parameter that is one becomes the options of its fields.

    Typer, and so `--help`, sees each option where the block stands among the parameters.

    Args:
        command: a function whose parameters typer understands, but for the blocks.
    """
    parameters: list[Parameter] = []
    blocks: dict[str, type[Any]] = {}
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        kind = parameter.annotation
        if isinstance(kind, type) and is_dataclass(kind):
            blocks[parameter.name] = kind
            parameters += _options(kind)
        else:
            parameters.append(parameter.replace(kind=Parameter.KEYWORD_ONLY))

    @functools.wraps(command)
    def run(**given: Any) -> Any:
        for name, block in blocks.items():
            given[name] = block(**{each.name: given.pop(each.name) for each in fields(block)})
        return command(**given)

    # Typer reads both.
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    run.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportFunctionMemberAccess, reportAttributeAccessIssue]
    return run


def _options(block: type[Any]) -> list[Parameter]:
    hints = get_type_hints(block, include_extras=True)
    return [
        Parameter(
            each.name, Parameter.KEYWORD_ONLY, default=each.default, annotation=hints[each.name]
        )
        for each in fields(block)
    ]
