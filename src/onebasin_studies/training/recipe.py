"""Training hyperparameters and learning rate schedules."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from onebasin.errors import ArgumentError, check_amount, check_choice, is_number, public

OptimizerName = Literal["adam", "adamw", "sgd"]
ScheduleName = Literal["constant", "cosine", "steps"]
Precision = Literal["auto", "float32", "bfloat16"]
Number = float | int


@dataclass(frozen=True)
class Recipe:
    """The hyperparameters of training on cross-entropy.

    Args:
        epochs: maximum number of passes over the training set.
        batch_size: examples per step; the last step of an epoch may have fewer. A last step of one
            example is skipped.
        optimizer: "adam", "adamw" (decoupled weight decay) or "sgd".
        learning_rate: maximum learning rate.
        schedule: "constant"; "cosine", to 0 after the last epoch; or "steps", a factor of `decay`
            at each of `milestones`.
        warmup_epochs: epochs of linear warm-up from 0, at most all epochs.
        milestones: epochs after which "steps" lowers the learning rate, all below `epochs`.
        decay: factor of each step of the schedule.
        momentum: momentum of "sgd".
        nesterov: whether to use Nesterov momentum.
        betas: coefficients of "adam" and "adamw".
        epsilon: denominator term of "adam" and "adamw".
        weight_decay: weight decay coefficient, times the learning rate.
        stop_loss: a network stops after an epoch with a mean training loss below this; None
            disables it.
        precision: "float32"; "bfloat16", by autocast; "auto" is bfloat16 on CUDA and float32
            elsewhere.

    Raises:
        OneBasinError: if a value is out of range.

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

    @public
    def __post_init__(self) -> None:
        """Check every value."""
        _check(vars(self))

    @public
    def replace(self, **options: Any) -> Recipe:
        """Return a recipe with some values replaced.

        Args:
            options: new values by name.

        Raises:
            OneBasinError: if a name is unknown, or a value is out of range.
        """
        known = [field.name for field in dataclasses.fields(self)]
        unknown = [name for name in options if name not in known]
        if unknown:
            raise ArgumentError(f"unknown option {unknown[0]!r}; a recipe has {', '.join(known)}")
        for name in ("milestones", "betas"):
            if isinstance(options.get(name), list):
                options[name] = tuple(options[name])
        # Checked before the values are used as numbers.
        _check({**vars(self), **options})
        return dataclasses.replace(self, **options)


def _check(values: Mapping[str, Any]) -> None:
    check_choice("optimizer", values["optimizer"], OptimizerName)
    check_choice("schedule", values["schedule"], ScheduleName)
    check_choice("precision", values["precision"], Precision)
    for name, least in (("epochs", 0), ("batch_size", 1)):
        value = values[name]
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise _wrong(name, value, f"a whole number of at least {least}")
    for name in ("learning_rate", "warmup_epochs", "weight_decay", "epsilon", "decay"):
        check_amount(name, values[name])
    if values["stop_loss"] is not None:
        check_amount("stop_loss", values["stop_loss"])
    if not _is_share(values["momentum"]):
        raise _wrong("momentum", values["momentum"], "at least 0 and below 1")
    betas, milestones = values["betas"], values["milestones"]
    if not isinstance(betas, tuple) or len(betas) != 2 or not all(map(_is_share, betas)):
        raise _wrong("betas", betas, "two numbers of at least 0 and below 1")
    are_numbers = isinstance(milestones, tuple) and all(map(is_number, milestones))
    if not are_numbers or any(not milestone > 0 for milestone in milestones):
        raise _wrong("milestones", milestones, "epochs above 0, such as (80, 120)")
    _check_combinations(values)


def _check_combinations(values: Mapping[str, Any]) -> None:
    if values["milestones"] and values["schedule"] != "steps":
        raise ArgumentError("milestones are given, so the schedule must be 'steps'")
    if values["schedule"] == "steps" and not values["milestones"]:
        raise ArgumentError("the schedule 'steps' needs milestones, such as (80, 120)")
    if values["optimizer"] != "sgd" and (values["momentum"] or values["nesterov"]):
        raise ArgumentError(
            f"momentum and nesterov require optimizer 'sgd' (got {values['optimizer']!r}); "
            "remove them or choose 'sgd'"
        )
    if values["nesterov"] and not values["momentum"]:
        raise ArgumentError("nesterov needs momentum, such as momentum=0.9")
    if values["epochs"]:
        _check_reached(values["epochs"], values["milestones"], values["warmup_epochs"])


def _check_reached(epochs: int, milestones: tuple[Number, ...], warmup: Number) -> None:
    """Check that the schedule fits into the epochs."""
    if any(milestone >= epochs for milestone in milestones):
        listed = ", ".join(f"{milestone:g}" for milestone in milestones)
        raise ArgumentError(
            f"milestones are {listed}, but there are {epochs} epochs; all must be below"
        )
    if warmup > epochs:
        raise ArgumentError(
            f"warmup_epochs is {warmup:g}, but there are {epochs} epochs; it must not be larger"
        )


def _is_share(value: Any) -> bool:
    return is_number(value) and 0 <= value < 1


def _wrong(name: str, value: object, expected: str) -> ArgumentError:
    return ArgumentError(f"{name} is {value!r}; it must be {expected}")


def learning_rate_at(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of a step.

    After the warm-up the cosine schedule is `learning_rate · (1 + cos(π t)) / 2`, with t from 0 to
    1.

    Args:
        recipe: the hyperparameters with the schedule.
        step: number of the step, from 0.
        steps_per_epoch: number of steps per epoch.

    Example:
        >>> recipe = Recipe(epochs=2, schedule="cosine", learning_rate=1.0, warmup_epochs=1)
        >>> [round(learning_rate_at(recipe, step, 2), 2) for step in range(4)]
        [0.5, 1.0, 1.0, 0.5]
    """
    warmup = recipe.warmup_epochs * steps_per_epoch
    if step + 1 <= warmup:
        return recipe.learning_rate * (step + 1) / warmup
    if recipe.schedule == "cosine":
        rest = recipe.epochs * steps_per_epoch - warmup
        return recipe.learning_rate * (1 + math.cos(math.pi * (step - warmup) / rest)) / 2
    if recipe.schedule == "steps":
        passed = sum(step >= epoch * steps_per_epoch for epoch in recipe.milestones)
        return recipe.learning_rate * recipe.decay**passed
    return recipe.learning_rate
