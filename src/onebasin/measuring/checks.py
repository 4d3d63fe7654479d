"""Checks: what measures ask of a model before any work, in one line."""

from __future__ import annotations

from typing import Any

from torch import nn

from onebasin.checkpoints.messages import described
from onebasin.errors import OneBasinError


def check_model(call: str, model: Any) -> None:
    """Check that an architecture is a module.

    Args:
        call: the public function that is running, for the message.
        model: what was given.

    Raises:
        OneBasinError: when it is something else, a name for example.
    """
    if not isinstance(model, nn.Module):
        raise OneBasinError(f"{call}: model is {described(model)}; pass a torch.nn.Module")
