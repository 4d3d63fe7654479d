"""Options of the training recipe, and lists of numbers in options."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import typer

from onebasin.errors import OneBasinError


@dataclass(frozen=True)
class RecipeOptions:
    """How networks are trained; the recipe has defaults for all options."""

    epochs: Annotated[int | None, typer.Option(help="Maximum number of epochs.")] = None
    batch_size: Annotated[int | None, typer.Option(help="Examples per step.")] = None
    optimizer: Annotated[
        Literal["adam", "adamw", "sgd"] | None, typer.Option(help="Optimizer; default: adam.")
    ] = None
    lr: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None
    schedule: Annotated[
        Literal["constant", "cosine", "steps"] | None,
        typer.Option(help="Learning rate schedule; default: constant."),
    ] = None
    milestones: Annotated[
        str | None,
        typer.Option(
            metavar="EPOCHS",
            help="Epochs at which --schedule steps lowers the learning rate: 80,120.",
        ),
    ] = None
    warmup: Annotated[
        float | None, typer.Option(metavar="EPOCHS", help="Epochs of linear learning rate warmup.")
    ] = None
    momentum: Annotated[float | None, typer.Option(help="Momentum of sgd.")] = None
    weight_decay: Annotated[float | None, typer.Option(help="Weight decay, for any optimizer.")] = (
        None
    )
    stop_loss: Annotated[
        str | None,
        typer.Option(
            metavar="LOSS", help="Stop a network below this training loss, such as 0.01, or none."
        ),
    ] = None

    def keywords(self) -> dict[str, Any]:
        """Return the given values of `Recipe`.

        Raises:
            OneBasinError: the milestones or the loss are not numbers.
        """
        values = {
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "optimizer": self.optimizer,
            "learning_rate": self.lr,
            "schedule": self.schedule,
            "milestones": None if self.milestones is None else _milestones(self.milestones),
            "warmup_epochs": self.warmup,
            "momentum": self.momentum,
            "weight_decay": self.weight_decay,
        }
        given = {name: value for name, value in values.items() if value is not None}
        return given if self.stop_loss is None else {**given, "stop_loss": _loss(self.stop_loss)}


def _milestones(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise OneBasinError(
            f"--milestones: invalid epochs {text!r}; expected e.g. 80,120"
        ) from error


def _loss(text: str) -> float | None:
    try:
        return None if text.lower() == "none" else float(text)
    except ValueError as error:
        raise OneBasinError(
            f"--stop-loss: invalid loss {text!r}; expected e.g. 0.01, or none"
        ) from error


MOST = 100_000


def numbers_of(text: str, option: str) -> list[int]:
    """Return the numbers of a text such as `1..20` or `1,2,5..7`, endpoints included.

    Args:
        text: the value of the option.
        option: name of the option, for messages.

    Raises:
        OneBasinError: if the text is invalid, a range is empty, or a number is repeated.

    Example:
        >>> numbers_of("1..3,7", "--seeds")
        [1, 2, 3, 7]
    """
    numbers: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:\.\.(\d+))?\s*", part)
        if match is None:
            raise OneBasinError(
                f"{option}: invalid numbers {text!r}; expected a range such as 1..20 or a list "
                "such as 1,2,5"
            )
        first = int(match[1])
        last = int(match[2]) if match[2] else first
        if not first <= last < first + MOST:
            raise OneBasinError(
                f"{option}: {part.strip()!r} has no numbers, or too many; give the lower end first"
            )
        numbers += range(first, last + 1)
    if len(set(numbers)) < len(numbers):
        raise OneBasinError(f"{option}: {text!r} names a number twice; give each once")
    return numbers
