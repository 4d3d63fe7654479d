"""Request: which networks a command is to work on, and what opening them with data gives."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

from onebasin.cli.console import Console
from onebasin.cli.data import fitted, laid_out, note_normalization
from onebasin.cli.measuring import DataChoice
from onebasin.cli.methods import Matcher, MethodChoice
from onebasin.cli.pairs import ArchitectureChoice, Networks, open_networks
from onebasin.cli.symmetries import SymmetryChoice
from onebasin.forward.normalization import layers_with_statistics
from onebasin.measuring.curves import LineNormalization
from onebasin.training.datasets.data import Data


@dataclass(frozen=True)
class Request:
    """What the user said about the networks and how they are matched.

    Args:
        architecture: of all.
        paths: the checkpoints, the reference first.
        symmetry: where the symmetry comes from.
        method: how to match.
        aligns: whether they are matched at all.
        keys: `--key`: which state dict of each file to read.
    """

    architecture: ArchitectureChoice
    paths: tuple[Path, ...]
    symmetry: SymmetryChoice
    method: MethodChoice = field(default_factory=MethodChoice)
    aligns: bool = True
    keys: tuple[str, ...] = ()

    def unaligned(self) -> Request:
        """Return the same without aligning."""
        return replace(self, aligns=False)

    @property
    def is_fitted(self) -> bool:
        """Whether the architecture was fitted to data, which are of use then for any method."""
        return bool(self.architecture.sizes)

    def load(self, choice: DataChoice, *, call: str) -> tuple[Request, Data]:
        """Load data, and return the same with an architecture that takes them, and the data.

        Example inputs come from the data, unless the user gives --input.

        Args:
            choice: what the user says about data.
            call: the command, for messages.

        Raises:
            OneBasinError: when there are no such data, or the architecture cannot take them.
        """
        sizes, data = fitted(self.architecture.spec, choice.load(self.architecture.spec))
        architecture = replace(self.architecture, sizes=sizes, data=data, call=call)
        return replace(self, architecture=architecture), data

    def load_optional(self, *, call: str) -> tuple[Request, Data | None]:
        """Do the same with the data of the method, if there are any."""
        return (self, None) if self.method.data is None else self.load(self.method.data, call=call)

    def open(
        self, *, call: str, console: Console, is_run: bool = True
    ) -> AbstractContextManager[Networks]:
        """Open the networks for the time of a block; see `open_networks`.

        Args:
            call: the command, for messages.
            console: where progress is shown.
            is_run: whether the module will be run for another reason than the proof.
        """
        proves = self.aligns and self.symmetry.proves
        return open_networks(
            self.architecture,
            self.paths,
            call=call,
            console=console,
            is_run=is_run or proves,
            keys=self.keys,
        )


@dataclass(frozen=True)
class Opened:
    """Networks that run on data, and the method that is to match them.

    Args:
        networks: open while the block runs.
        data: what they can be run on.
        matcher: sees that data, too, where it looks at any.
    """

    networks: Networks
    data: Data
    matcher: Matcher


@contextlib.contextmanager
def open_with_data(
    request: Request,
    data_choice: DataChoice,
    *,
    normalization: LineNormalization,
    call: str,
    console: Console,
    needs_loss: bool = True,
) -> Iterator[Opened]:
    """Load data and open the networks that are to be measured on it, for the time of a block.

    Args:
        request: which networks.
        data_choice: what to measure on.
        normalization: where the statistics between the networks will come from.
        call: the command, for messages.
        console: where progress and notes are shown.
        needs_loss: whether a loss is measured, which needs labels.

    Raises:
        OneBasinError: `--num-train` has no effect, or as `DataChoice.load`,
            `MethodChoice.prepare`, `open_networks` and `laid_out` do.
    """
    request, data = request.load(data_choice, call=call)
    data_choice.note_splits(data, console)
    if normalization == "interpolated":  # what the papers measure
        matcher = request.method.prepare(call=call, data=data, is_of_use=True, with_data="weights")
    else:  # as `merge` matches what it will repair
        matcher = request.method.prepare(call=call, data=data, is_of_use=True)
        matcher = matcher.preferring(normalization="batch")
    uses_training_data = normalization != "interpolated" or (request.aligns and matcher.sees_data)
    if not uses_training_data and "train" not in data_choice.available(data):
        data_choice.refuse_num_train(call)
    with request.open(call=call, console=console) as networks:
        data = laid_out(networks.architecture, data, call=call, has_classes=needs_loss)
        note_normalization(networks.architecture, networks.params_list[0], data, console)
        if normalization == "interpolated" and layers_with_statistics(networks.architecture.module):
            console.note(
                "running statistics are interpolated; merge --data resets them, which "
                "--normalization reset measures"
            )
        yield Opened(networks, data, matcher.seeing(data))
