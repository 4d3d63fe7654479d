"""Trace: from a module and example inputs to its symmetry.

Puts the parts of inference together: export, what is state and what is constant, the
solver, the groups, and the public layouts with their names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from onebasin.errors import OneBasinError
from onebasin.symmetry.inference.export import Exported, export_model
from onebasin.symmetry.inference.groups import find_nesting
from onebasin.symmetry.inference.publication import publish
from onebasin.symmetry.inference.solver import Solver
from onebasin.symmetry.inference.state import constant_buffers, doubled, tied_names
from onebasin.symmetry.symmetry import Symmetry


def trace(
    model: nn.Module,
    example_args: tuple[Any, ...] | Tensor,
    example_kwargs: Mapping[str, Any] | None = None,
    *,
    outputs: Callable[[Any], Any] | None = None,
) -> Symmetry:
    """Find the permutation symmetry of a model.

    Every dimension of every tensor gets a layout: operators are typing rules on the graph
    of `torch.export`, and unification finds the most general solution. Inputs and counted
    outputs stay fixed. The model is not changed; it may be on the meta device.

    Args:
        model: any module that `torch.export` can take; traced in evaluation mode.
        example_args: positional inputs, or one tensor. A batch of one is doubled, since a
            dimension of size one hides what it stands for.
        example_kwargs: keyword inputs.
        outputs: maps the model's return value to the tensors that must stay as they are; by
            default all but the caches of mapping-like outputs.

    Returns:
        The symmetry; prove it with `Symmetry.prove` before relying on it.

    Raises:
        OneBasinError: when the model has no parameters, or `torch.export` cannot take it.

    Example:
        >>> mlp = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> symmetry = trace(mlp, torch.zeros(2, 3))
        >>> symmetry.groups
        {'0': Group(name='0', size=8, within=())}
    """
    args = (example_args,) if isinstance(example_args, Tensor) else tuple(example_args)
    state = dict(model.state_dict(keep_vars=True))
    if not state:
        raise OneBasinError(f"trace: {type(model).__name__} has no parameters, so nothing can move")
    exported = _export(model, args, dict(example_kwargs or {}), outputs)
    aliases = tied_names(state)
    kept = {name: tensor for name, tensor in state.items() if name not in aliases}
    constant = constant_buffers(model, exported, kept, args, dict(example_kwargs or {}))
    solver = Solver(exported, kept, constant, aliases)
    solver.solve()
    nesting = find_nesting(solver.dims.values(), solver.tensors)
    parameters = frozenset(name for name, _ in model.named_parameters(remove_duplicate=False))
    return publish(solver, nesting, state, parameters, aliases)


def _export(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    outputs: Callable[[Any], Any] | None,
) -> Exported:
    """Export with a doubled batch where it is one, if the model takes that."""
    twice = doubled((args, kwargs))
    if twice is not None:
        try:
            return export_model(model, twice[0], twice[1], outputs)
        except OneBasinError:
            pass
    with torch.random.fork_rng(devices=[]):
        return export_model(model, args, kwargs, outputs)
