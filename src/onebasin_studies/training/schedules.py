"""Learning rate schedules."""

from __future__ import annotations

import math

from onebasin_studies.training.recipe import Recipe


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
