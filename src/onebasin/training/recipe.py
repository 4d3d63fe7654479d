"""Recipes: how a network is trained, apart from what it is and what it is trained on.

Owns the defaults and the ranges of every number.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

from onebasin.errors import OneBasinError, check_choice

OptimizerName = Literal["adam", "adamw", "sgd"]
ScheduleName = Literal["constant", "cosine", "steps"]
Precision = Literal["auto", "float32", "bfloat16"]
Number = float | int


@dataclass(frozen=True)
class Recipe:
    """Everything that decides how a network is trained on cross-entropy.

    Args:
        epochs: passes over the training set, at most.
        batch_size: examples in a step; the last step of an epoch may have fewer, and one that
            would have a single example is left out.
        optimizer: "adam", "adamw" (weight decay apart from the gradient) or "sgd".
        learning_rate: the highest one.
        schedule: "constant"; "cosine", down to 0 after the last epoch; or "steps", times
            `decay` at each of `milestones`.
        warmup_epochs: the learning rate first rises from 0 in a line over this many epochs.
        milestones: epochs after which the learning rate of "steps" falls.
        decay: factor of each fall.
        momentum: of "sgd".
        nesterov: whether that momentum looks ahead.
        betas: of "adam" and "adamw".
        epsilon: of "adam" and "adamw".
        weight_decay: share of the weights that a step takes away, times the learning rate.
        stop_loss: a network stops after the epoch whose mean training cross-entropy, as met on
            the way, is below this; None never stops one.
        precision: "float32"; "bfloat16", by autocast; "auto" is bfloat16 on CUDA and float32
            elsewhere.

    Raises:
        OneBasinError: when a value is out of range.

    Example:
        >>> Recipe(epochs=160, optimizer="sgd", learning_rate=0.1, momentum=0.9).momentum
        0.9
    """

    epochs: int = 50
    batch_size: int = 100
    optimizer: OptimizerName = "adam"
    learning_rate: Number = 1e-3
    schedule: ScheduleName = "constant"
    warmup_epochs: Number = 0.0
    milestones: tuple[Number, ...] = ()
    decay: Number = 0.1
    momentum: Number = 0.0
    nesterov: bool = False
    betas: tuple[Number, Number] = (0.9, 0.999)
    epsilon: Number = 1e-8
    weight_decay: Number = 0.0
    stop_loss: Number | None = 0.01
    precision: Precision = "auto"

    def __post_init__(self) -> None:
        """Check every value."""
        check_choice("train", "optimizer", self.optimizer, OptimizerName)
        check_choice("train", "schedule", self.schedule, ScheduleName)
        check_choice("train", "precision", self.precision, Precision)
        for name, least in (("epochs", 0), ("batch_size", 1)):
            value: Any = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise _wrong(name, value, f"a whole number of at least {least}")
        for name in ("learning_rate", "warmup_epochs", "weight_decay", "epsilon", "decay"):
            _check_positive(name, getattr(self, name))
        for name, share in (("momentum", self.momentum), ("betas", max(self.betas))):
            if not 0 <= share < 1:
                raise _wrong(name, share, "at least 0 and below 1")
        if self.stop_loss is not None:
            _check_positive("stop_loss", self.stop_loss)
        self._check_combinations()

    def _check_combinations(self) -> None:
        if any(not milestone > 0 for milestone in self.milestones):
            raise _wrong("milestones", self.milestones, "epochs above 0")
        if self.milestones and self.schedule != "steps":
            raise OneBasinError("train: milestones are given, so the schedule must be 'steps'")
        if self.schedule == "steps" and not self.milestones:
            raise OneBasinError("train: the schedule 'steps' needs milestones, such as (80, 120)")
        if self.optimizer != "sgd" and (self.momentum or self.nesterov):
            raise OneBasinError(
                f"train: momentum and nesterov are of 'sgd', but the optimizer is "
                f"{self.optimizer!r}; leave them out or choose 'sgd'"
            )
        if self.nesterov and not self.momentum:
            raise OneBasinError("train: nesterov needs momentum, such as momentum=0.9")

    def replace(self, **options: Any) -> Recipe:
        """Return a recipe that differs in some values.

        Args:
            options: values by name.

        Raises:
            OneBasinError: when there is no value of that name, or one is out of range.
        """
        known = [field.name for field in dataclasses.fields(self)]
        unknown = [name for name in options if name not in known]
        if unknown:
            raise OneBasinError(
                f"train: unknown option {unknown[0]!r}; a recipe has {', '.join(known)}"
            )
        for name in ("milestones", "betas"):
            if isinstance(options.get(name), list):
                options[name] = tuple(options[name])
        return dataclasses.replace(self, **options)


def _check_positive(name: str, value: Number) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise _wrong(name, value, "at least 0 and finite")


def _wrong(name: str, value: object, expected: str) -> OneBasinError:
    return OneBasinError(f"train: {name} is {value!r}; it must be {expected}")
