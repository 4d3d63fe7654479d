"""Pairs: an architecture and two checkpoints of it, checked before any work starts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from onebasin.checkpoints import (
    Architecture,
    Checkpoint,
    TiedView,
    build_architecture,
    check_all_finite,
    check_fits,
    check_same_architecture,
    is_same_checkpoint,
    open_checkpoint,
    open_checkpoint_for,
    tied_names,
)
from onebasin.cli.console import Console
from onebasin.errors import OneBasinError

LARGE = 1_000_000_000


@dataclass(frozen=True)
class ArchitectureChoice:
    """What the user said about the architecture.

    Args:
        spec: ARCH.
        arguments: `KEY=VALUE` texts.
        inputs: texts of example inputs.
        seed: of random weights and inputs.
    """

    spec: str
    arguments: Sequence[str] | None = None
    inputs: Sequence[str] | None = None
    seed: int = 0

    def build(self, device: str = "cpu") -> Architecture:
        """Build the architecture, on the CPU or without memory on "meta"."""
        return build_architecture(
            self.spec,
            arch_args=list(self.arguments or ()),
            input_spec=list(self.inputs) if self.inputs else None,
            device=device,
            seed=self.seed,
        )


@dataclass(frozen=True)
class Pair:
    """Two checkpoints that fit an architecture.

    Args:
        architecture: with its module and example inputs.
        checkpoint_a: the reference, as stored.
        checkpoint_b: the one to move, as stored.
        params_a: A under all names of tied tensors.
        params_b: B under all names of tied tensors.
        is_same: whether they hold the same tensors.
    """

    architecture: Architecture
    checkpoint_a: Checkpoint
    checkpoint_b: Checkpoint
    params_a: TiedView
    params_b: TiedView
    is_same: bool


@contextlib.contextmanager
def open_pair(
    choice: ArchitectureChoice,
    paths: tuple[Path, Path],
    *,
    call: str,
    console: Console,
    is_run: bool = True,
) -> Iterator[Pair]:
    """Open two checkpoints of an architecture for the time of a block.

    Args:
        choice: of the architecture.
        paths: A and B.
        call: the command, for messages.
        console: where progress is shown.
        is_run: whether the module will be run; where not, a large one is built without memory.

    Raises:
        OneBasinError: when the architecture cannot be built, a checkpoint cannot be read, does
            not fit, or holds NaN or Inf.
    """
    size = min(_num_entries(path) for path in paths)
    with console.progress(f"building {choice.spec}"):
        architecture = choice.build("cpu" if is_run or size < LARGE else "meta")
    with contextlib.ExitStack() as stack:
        module = architecture.module
        a, b = (stack.enter_context(open_checkpoint_for(architecture, p)) for p in paths)
        ties = tied_names(module)
        for checkpoint in (a, b):
            check_fits(checkpoint, module, call=call)
        check_same_architecture(a, b, call=call, ties=ties)
        with console.progress("reading both checkpoints"):
            for checkpoint in (a, b):
                check_all_finite(checkpoint)
            is_same = is_same_checkpoint(a, b)
        yield Pair(architecture, a, b, TiedView(a, ties), TiedView(b, ties), is_same)


def _num_entries(path: Path) -> int:
    """Count the entries of a checkpoint's tensors; this finds unreadable files early, too."""
    with open_checkpoint(path) as checkpoint:
        return sum(prod(checkpoint.metadata(name).shape) for name in checkpoint)


def refuse_same(pair: Pair, call: str) -> None:
    """Refuse two checkpoints that hold the same tensors.

    Raises:
        OneBasinError: when they do.
    """
    if pair.is_same:
        a, b = pair.checkpoint_a.path, pair.checkpoint_b.path
        raise OneBasinError(
            f"{call}: {a} and {b} hold the same tensors, so there is nothing to {call}; "
            "give two networks that were trained apart"
        )
