"""Isolation: a model to run without leaving a trace in the user's.

A forward pass may write more than tensors: attributes, tables kept from call to call,
training flags. An isolated model has attributes of its own and shares only the tensors.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def isolated(model: nn.Module) -> Iterator[nn.Module]:
    """Yield a copy of a model in evaluation mode that shares its parameters and buffers.

    The copy has been in training mode for a moment, so that what a module keeps from
    evaluation to evaluation is gone. A model that cannot be copied is yielded itself, and
    its modules get their own training flags back.
    """
    shared = {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]}
    flags = [(module, module.training) for module in model.modules()]
    try:
        own = copy.deepcopy(model, dict(shared))
    except Exception:  # attributes that cannot be copied are no business of ours
        own = model
    try:
        yield own.train().eval()
    finally:
        for module, training in flags:
            module.training = training
