"""Trace: from a module and example inputs to its symmetry.

Puts the parts of inference together: export, what is state and what is constant, the
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
from onebasin.errors import OneBasinError
from onebasin.symmetry._depth import raised_recursion_limit
from onebasin.symmetry._inference.atoms import Dims
from onebasin.symmetry._inference.calls import Value
from onebasin.symmetry._inference.export import Exported, export_model
from onebasin.symmetry._inference.graphs import graph_in_training, graphs_at_other_shapes
from onebasin.symmetry._inference.groups import find_nesting
from onebasin.symmetry._inference.partitions import differing_dims
from onebasin.symmetry._inference.publication import publish, refusals_in_training
from onebasin.symmetry._inference.solver import Solver
from onebasin.symmetry._inference.state import (
    constant_buffers,
    doubled,
    used_names,
    with_state_names,
)
from onebasin.symmetry._model_state import model_state
from onebasin.symmetry._ties import tied_names
from onebasin.symmetry.groups import UnsupportedOp
from onebasin.symmetry.symmetry import Symmetry

NODE = "node:"
"""Prefix that distinguishes the names of values from the names of tensors."""


def infer_symmetry(
    model: nn.Module,
    example_args: tuple[Any, ...] | Mapping[str, Any] | Tensor,
    example_kwargs: Mapping[str, Any] | None = None,
    *,
    outputs: Callable[[Any], Any] | None = None,
) -> Symmetry:
    """Find the permutation symmetry of a model.

    Every dimension of every tensor gets a layout: operators are typing rules on the graph
    of `torch.export`, and unification finds the most general solution. Inputs and counted
    outputs stay fixed. Where the model does something else at other input shapes, or uses more
    parameters in training mode, those graphs constrain the symmetry, too. The model and the
    global random states are not changed; the model may be on the meta device.

    A training graph is left out if `torch.export` cannot take it or if it has an operator that
    no rule reads. `Symmetry.unsupported_ops` names the operator. Tensors that only training uses
    are then `unused` and stay fixed, although the units that they read can move.

    Args:
        model: any module that `torch.export` can take; traced in evaluation mode.
        example_args: positional inputs, one tensor, or a mapping of keyword inputs such as a
            batch of a data loader. A batch of one is doubled, since a dimension of size one
            hides what it stands for.
        example_kwargs: keyword inputs.
        outputs: maps the model's return value to the tensors that must not change; by default
            all but the caches of mapping-like outputs.

    Returns:
        The symmetry; verify it with `verify` before use.

    Raises:
        OneBasinError: when the model has no parameters, or `torch.export` cannot take it.

    Example:
        >>> import torch
        >>> mlp = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> symmetry = infer_symmetry(mlp, torch.zeros(2, 3))
        >>> symmetry.groups
        {'0': Group(name='0', size=8, nested_in=())}
    """
    check_model("trace", model)
    with raised_recursion_limit(model, "trace"), random_state_kept(model):
        return _Inference(model, example_args, example_kwargs, outputs, doubles=True).symmetry()


@dataclass(frozen=True)
class TracedGraph:
    """A graph with the layouts of all that is in it.

    Args:
        exported: the graph.
        symmetry: of the model, as `infer_symmetry` returns it.
        features: the same groups, with the layouts of the values inside the graph, by the
            names of their nodes.
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
    """Find the symmetry of a model and the layout of every value in its graph.

    Takes and raises what `infer_symmetry` does, but does not double a batch of one: the graph runs
    on batches of these shapes. A dimension of size one hides which units it has.
    """
    check_model("trace", model)
    with raised_recursion_limit(model, "trace"), random_state_kept(model):
        return _Inference(model, example_args, example_kwargs, outputs, doubles=False).graph()


class _Inference:
    """Layouts solved for one model."""

    def __init__(
        self,
        model: nn.Module,
        example_args: tuple[Any, ...] | Mapping[str, Any] | Tensor,
        example_kwargs: Mapping[str, Any] | None,
        outputs: Callable[[Any], Any] | None,
        *,
        doubles: bool,
    ) -> None:
        args, kwargs = model_inputs("trace", model, example_args, example_kwargs)
        self.state = model_state(model)
        if not self.state.tensors:
            raise OneBasinError(
                f"infer_symmetry: {type(model).__name__} has no parameters, so nothing can move; "
                "give a model that has some"
            )
        self.exported, args, kwargs = _export(model, args, kwargs, outputs, doubles)
        self.aliases = tied_names(self.state.tensors)
        graphs, fixed = self._graphs(model, args, kwargs, outputs)
        build = self._solver(model, args, kwargs, graphs, fixed)
        self.solver = _solved(build, graphs)
        self.training_refusals: tuple[UnsupportedOp, ...] = ()
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
        """Return the graphs in evaluation mode and the tensors that no graph covers."""
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
        """Return the constructor of solvers that fix what differs between input shapes."""
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
        """Let the training graph constrain the symmetry, unless it has further unsupported_ops.

        An operator without a rule would fix what evaluation can move.
        """
        solver = _solved(build, [*graphs, *in_training])
        if solver.refusing() <= self.solver.refusing():
            self.solver = solver
            return
        used = used_names(in_training, self.aliases) - used_names(graphs, self.aliases)
        self.training_refusals = refusals_in_training(self.solver, solver, sorted(used))

    def _saved(self, module_names: Iterable[str]) -> Iterator[str]:
        names = self.state.state_names
        return (names[name] for name in module_names if name in names)

    def symmetry(self, features: Mapping[str, Dims] | None = None) -> Symmetry:
        """Return the public symmetry, with the layouts of the tensors and of some values."""
        symmetry = publish(
            self.solver,
            self.nesting,
            self.state.tensors,
            self.state.parameters,
            self.aliases,
            features,
        )
        return replace(
            symmetry, unsupported_ops=(*symmetry.unsupported_ops, *self.training_refusals)
        )

    def graph(self) -> TracedGraph:
        """Return the graph with its symmetry, and the layouts of the values apart."""
        found = {
            NODE + node.name: value.dims
            for node, value in self.solver.values.items()
            if isinstance(value, Value) and node.op == "call_function"
        }
        both = self.symmetry(found)
        own = {name: both.layouts[name] for name in self.state.tensors}
        inner = {name.removeprefix(NODE): both.layouts[name] for name in found}
        return TracedGraph(
            exported=self.exported,
            symmetry=replace(both, layouts=own),
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
    """Export, if wanted with a doubled batch where it is one and the model takes that.

    Returns:
        The graph and the inputs that it is for.
    """
    twice = doubled((args, kwargs)) if doubles else None
    if twice is not None:
        try:
            return export_model(model, twice[0], twice[1], outputs), twice[0], twice[1]
        except OneBasinError:
            pass
    return export_model(model, args, kwargs, outputs), args, kwargs
