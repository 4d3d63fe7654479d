"""Inference of the symmetry of a module from example inputs.

Combines the steps of inference: export, the distinction between state and constants, the
solver, the groups, and the public layouts with their names.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from onebasin._checks import check_model, model_inputs
from onebasin._random import random_state_kept
from onebasin.errors import ArgumentError, OneBasinError, check_choice, public
from onebasin.symmetry._classes.classes import with_classes
from onebasin.symmetry._inference.build import build_symmetry, unsupported_in_training
from onebasin.symmetry._inference.calls import Value
from onebasin.symmetry._inference.constants import (
    constant_buffers,
    doubled,
    used_names,
    with_state_names,
)
from onebasin.symmetry._inference.export import Exported, export_model
from onebasin.symmetry._inference.graphs import graph_in_training, graphs_at_other_shapes
from onebasin.symmetry._inference.groups import find_nesting
from onebasin.symmetry._inference.solver import Solver
from onebasin.symmetry._inference.unread import differing_dims
from onebasin.symmetry._modules import model_state, raised_recursion_limit, tied_names
from onebasin.symmetry.actions import Classes
from onebasin.symmetry.groups import UnsupportedOp
from onebasin.symmetry.symmetry import Symmetry

NODE = "node:"
"""Prefix that distinguishes names of graph values from names of tensors."""


@public
def infer_symmetry(
    model: nn.Module,
    example_args: tuple[Any, ...] | Mapping[str, Any] | Tensor,
    example_kwargs: Mapping[str, Any] | None = None,
    *,
    outputs: Callable[[Any], Any] | None = None,
    classes: Classes = "all",
) -> Symmetry:
    """Infer the symmetry of a model: groups of units, and the class of the maps of each group.

    Every dimension of every tensor gets a layout. Operators are typing rules on the graph of
    `torch.export`, and unification computes the most general solution. Inputs and selected
    outputs are fixed. If the model behaves differently at other input shapes, or uses more
    parameters in training mode, these graphs constrain the symmetry, too. The model and the
    global random states are not changed. The model may be on the meta device.

    A training graph is ignored if `torch.export` does not support it, or if it contains an
    unsupported operator. `Symmetry.unsupported_ops` then names the operator. Tensors that only
    training uses are `unused` and fixed, although the units that they read are not fixed.

    The class of a group is the largest known set of linear maps of its units that all operators
    admit; see `SymmetryClass`. With `classes="permutation"`, all groups have permutations only.

    Args:
        model: any module that `torch.export` supports; exported in evaluation mode.
        example_args: positional inputs, one tensor, or a mapping of keyword inputs such as a
            batch of a data loader. A batch of one is doubled, because the role of a
            dimension of size one is ambiguous.
        example_kwargs: keyword inputs.
        outputs: function from the model's return value to the tensors that must be preserved;
            by default all tensors except caches.
        classes: "all", or "permutation" to exclude maps that scale or mix units.

    Returns:
        The symmetry; verify it with `verify` before use.

    Raises:
        OneBasinError: when the model has no parameters, or `torch.export` does not support it.

    Example:
        >>> import torch
        >>> mlp = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> symmetry = infer_symmetry(mlp, torch.zeros(2, 3))
        >>> symmetry.groups
        {'0': Group(name='0', size=8, nested_in=(), symmetry_class='positive scales')}
    """
    check_model(model)
    check_choice("classes", classes, Classes)
    with raised_recursion_limit(model), random_state_kept(model):
        inference = _Inference(model, example_args, example_kwargs, outputs, doubles=True)
        return inference.symmetry(has_classes=classes == "all")


@dataclass(frozen=True)
class TracedGraph:
    """A graph with the layouts of its tensors and values.

    Args:
        exported: the graph.
        symmetry: the symmetry of the model, as returned by `infer_symmetry`.
        features: the same groups, with the layouts of the values inside the graph by node
            name.
    """

    exported: Exported
    symmetry: Symmetry
    features: Symmetry


def trace_graph(
    model: nn.Module,
    example_args: tuple[Any, ...] | Mapping[str, Any] | Tensor,
    example_kwargs: Mapping[str, Any] | None = None,
    *,
    outputs: Callable[[Any], Any] | None = None,
) -> TracedGraph:
    """Infer the symmetry of a model and the layout of every value in its graph.

    Arguments and errors are those of `infer_symmetry`. A batch of one is not doubled, because
    the graph is for inputs of these shapes. A dimension of size one has no units.
    """
    check_model(model)
    with raised_recursion_limit(model), random_state_kept(model):
        return _Inference(model, example_args, example_kwargs, outputs, doubles=False).graph()


class _Inference:
    """The inference of the symmetry of one model."""

    def __init__(
        self,
        model: nn.Module,
        example_args: tuple[Any, ...] | Mapping[str, Any] | Tensor,
        example_kwargs: Mapping[str, Any] | None,
        outputs: Callable[[Any], Any] | None,
        *,
        doubles: bool,
    ) -> None:
        args, kwargs = model_inputs(model, example_args, example_kwargs)
        self.state = model_state(model)
        if not self.state.tensors:
            raise ArgumentError(
                f"{type(model).__name__} has no parameters; pass a model with parameters"
            )
        self.exported, args, kwargs = _export(model, args, kwargs, outputs, doubles)
        self.aliases = tied_names(self.state.tensors)
        graphs, fixed = self._graphs(model, args, kwargs, outputs)
        build = self._solver(model, args, kwargs, graphs, fixed)
        self.solver = _solved(build, graphs)
        self.unsupported_in_training: tuple[UnsupportedOp, ...] = ()
        unused = self.state.parameters - self.aliases.keys() - used_names(graphs, self.aliases)
        trained = graph_in_training(model, args, kwargs, outputs, unused)
        if trained:
            in_training = [with_state_names(graph, model, self.state) for graph in trained]
            self._add_training(build, graphs, in_training)
        self.nesting = find_nesting(self.solver.dims.values(), self.solver.tensors)

    def _graphs(
        self,
        model: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        outputs: Callable[[Any], Any] | None,
    ) -> tuple[list[Exported], set[str]]:
        """Return the graphs in evaluation mode, and the tensors that no graph covers."""
        others = graphs_at_other_shapes(model, args, kwargs, outputs)
        graphs = [self.exported, *others.graphs]
        fixed = {self.aliases.get(name, name) for name in self._saved(others.fixed)}
        return [with_state_names(graph, model, self.state) for graph in graphs], fixed

    def _solver(
        self,
        model: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        graphs: Sequence[Exported],
        fixed: Collection[str],
    ) -> Callable[[Sequence[Exported]], Solver]:
        """Return a constructor of solvers that fix dimensions read differently at other shapes."""
        kept = {n: t for n, t in self.state.tensors.items() if n not in self.aliases}
        constant = constant_buffers(model, self.state, graphs[0], args, kwargs)
        build = partial(Solver, state=kept, constant=constant, aliases=self.aliases)
        dims = _differing_dims(build, graphs) | {n: range(kept[n].dim()) for n in fixed}
        return partial(build, fixed=dims)

    def _add_training(
        self,
        build: Callable[[Sequence[Exported]], Solver],
        graphs: Sequence[Exported],
        in_training: Sequence[Exported],
    ) -> None:
        """Add the training graph to the constraints, unless it has more unsupported operators.

        An unsupported operator would fix groups that are valid in evaluation mode.
        """
        solver = _solved(build, [*graphs, *in_training])
        if solver.unsupported_operators() <= self.solver.unsupported_operators():
            self.solver = solver
            return
        used = used_names(in_training, self.aliases) - used_names(graphs, self.aliases)
        self.unsupported_in_training = unsupported_in_training(self.solver, solver, sorted(used))

    def _saved(self, module_names: Iterable[str]) -> Iterator[str]:
        names = self.state.state_names
        return (names[name] for name in module_names if name in names)

    def symmetry(self, *, has_classes: bool) -> Symmetry:
        """Return the public symmetry, with the classes of groups or with permutations only."""
        return self.graph(has_classes=has_classes).symmetry

    def graph(self, *, has_classes: bool = True) -> TracedGraph:
        """Return the graph with its symmetry, and separately the layouts of its values."""
        dims = {
            NODE + node.name: value.dims
            for node, value in self.solver.values.items()
            if isinstance(value, Value) and node.op == "call_function"
        }
        both = build_symmetry(
            self.solver,
            self.nesting,
            self.state.tensors,
            self.state.parameters,
            self.aliases,
            dims,
        )
        own = {name: both.layouts[name] for name in self.state.tensors}
        inner = {name.removeprefix(NODE): both.layouts[name] for name in dims}
        unsupported = (*both.unsupported_ops, *self.unsupported_in_training)
        symmetry = replace(both, layouts=own, unsupported_ops=unsupported)
        names = self.state.state_names
        tensors = {node: names.get(n, n) for node, n in self.exported.tensors.items()}
        if has_classes:
            symmetry = with_classes(symmetry, self.exported, inner, tensors)
        return TracedGraph(
            exported=self.exported,
            symmetry=symmetry,
            features=Symmetry(both.groups, inner, both.axes),
        )


def _differing_dims(
    solver: Callable[[Sequence[Exported]], Solver], graphs: Sequence[Exported]
) -> dict[str, Collection[int]]:
    """Return the dimensions that graphs at different input shapes divide differently."""
    if len(graphs) == 1:
        return {}
    separate = [_solved(solver, [graph]) for graph in graphs]
    return {**differing_dims([(each.dims, each.live_names()[0]) for each in separate])}


def _solved(build: Callable[[Sequence[Exported]], Solver], graphs: Sequence[Exported]) -> Solver:
    solver = build(graphs)
    solver.solve()
    return solver


def _export(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    outputs: Callable[[Any], Any] | None,
    doubles: bool,
) -> tuple[Exported, tuple[Any, ...], dict[str, Any]]:
    """Export a model, with a doubled batch if requested, possible and accepted by the model.

    Returns:
        The graph and its inputs.
    """
    twice = doubled((args, kwargs)) if doubles else None
    if twice is not None:
        try:
            return export_model(model, twice[0], twice[1], outputs), twice[0], twice[1]
        except OneBasinError:
            pass
    return export_model(model, args, kwargs, outputs), args, kwargs
