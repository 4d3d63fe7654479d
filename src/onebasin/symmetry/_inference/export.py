"""Export of a module with example inputs to a graph of core ATen operators.

Wraps `torch.export` (non-strict), keeps the nodes that selected outputs depend on, and
classifies graph inputs as parameters, trained buffers, constants or user data.
"""

from __future__ import annotations

import logging
import operator
import re
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.export.graph_signature import InputKind, OutputKind
from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree

from onebasin.errors import ArgumentError
from onebasin.symmetry._inference.aliasing import (
    needs_functionalization,
    replace_evaluation_dropout,
)
from onebasin.symmetry._inference.rules import rule_for
from onebasin.symmetry._modules import select_outputs, shallow_clone

PREFIX = "model."

WHOLE = ("scaled_dot_product_attention", "linear", "matmul", "roll", "stack")
"""Composite operators with their own rule, not decomposed: the graph is smaller and faster."""


@dataclass(frozen=True)
class Exported:
    """A model as a graph.

    Args:
        graph_module: the graph, including submodules of control flow.
        tensors: name of the parameter or buffer by placeholder name.
        constants: tensors that are neither parameter nor state, by placeholder name.
        live: nodes that a selected output depends on.
        outputs: the selected outputs.
        inputs: placeholder names of the user's inputs, in the order of their leaves.
        mutations: pairs of (new value, placeholder name) for the parameters, buffers and
            constants that forward writes.
    """

    graph_module: GraphModule
    tensors: Mapping[str, str]
    constants: Mapping[str, Tensor]
    live: frozenset[Node]
    outputs: Sequence[Node]
    inputs: Sequence[str]
    mutations: Sequence[tuple[Node, str]] = field(default=())


class _ModelError(Exception):
    """Wraps an error of the user's model, which is its cause.

    For errors of known types, torch.export would print the whole graph to stderr.
    """


class _SelectedOutputs(nn.Module):
    """A model that returns only the selected output tensors."""

    def __init__(self, model: nn.Module, outputs: Callable[[Any], Any] | None) -> None:
        super().__init__()
        self.model = model
        self.outputs = outputs

    def forward(self, *args: Any, **kwargs: Any) -> list[Tensor]:
        try:
            outputs = self.model(*args, **kwargs)
        except RuntimeError as error:
            raise _ModelError from error
        return select_outputs(outputs, outputs=self.outputs)


def export_model(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    outputs: Callable[[Any], Any] | None,
) -> Exported:
    """Export a model in evaluation mode without printing; the model is not changed.

    Raises:
        OneBasinError: when the model fails on the inputs, or `torch.export` does not support
            it.
    """
    with shallow_clone(model) as own, torch.no_grad(), silenced(), _unchecked():
        try:
            program = _export(own, args, kwargs, outputs, training=False)
        except Exception as error:
            cause = error.__cause__ if isinstance(error, _ModelError) else error
            failure = _failure(own, args, kwargs)
            text = (
                _explain(model, cause or error)
                if failure is None
                else _locate_failure(model, failure)
            )
            raise ArgumentError(text) from cause
    exported = _describe(program)
    _reject_unknown_sizes(model, exported)
    return exported


def export_variant(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    outputs: Callable[[Any], Any] | None,
    *,
    training: bool = False,
) -> Exported | None:
    """Export a model again, at other inputs or in training mode.

    Returns:
        The graph, or None if `torch.export` does not support the model this way.
    """
    with shallow_clone(model) as own, torch.no_grad(), silenced(), _unchecked():
        try:
            program = _export(own, args, kwargs, outputs, training=training)
            exported = _describe(program)
            _reject_unknown_sizes(model, exported)
        except Exception:  # the model need not accept these inputs
            return None
    return exported


def _export(
    own: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    outputs: Callable[[Any], Any] | None,
    *,
    training: bool,
) -> torch.export.ExportedProgram:
    counted = _SelectedOutputs(own, outputs).train(training)
    program = torch.export.export(counted, args, dict(kwargs), strict=False)
    if not _has_rules(program.graph_module):
        replace_evaluation_dropout(program.graph_module)
        program = program.run_decompositions(_decompositions())
        if needs_functionalization(program.graph_module):
            raise RuntimeError("torch.export leaves in-place writes that another alias reads")
    return program


@contextmanager
def silenced() -> Iterator[None]:
    """Suppress the warnings and logs of torch.export.

    Logs below the warning level, which TORCH_LOGS enables, are still written.
    """
    logger = logging.getLogger("torch")
    level = logger.level
    try:
        if level >= logging.WARNING:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def _unchecked() -> Iterator[None]:
    """Disable the argument validation of distributions, which cannot be exported."""
    checks = Distribution._validate_args
    try:
        Distribution.set_default_validate_args(False)
        yield
    finally:
        Distribution.set_default_validate_args(checks)


def _has_rules(graph_module: GraphModule) -> bool:
    """Return whether every operator has a rule, so that no decomposition is needed."""
    nodes = [n for n in graph_module.graph.nodes if n.op == "call_function"]
    targets = {n.target for n in nodes}
    known = all(rule_for(t) is not None for t in targets - {operator.getitem})
    return known and not needs_functionalization(graph_module)


def _decompositions() -> Any:
    table = torch.export.default_decompositions()
    for name in WHOLE:
        del table[getattr(torch.ops.aten, name).default]
    return table


def _reject_unknown_sizes(model: nn.Module, exported: Exported) -> None:
    for node in exported.graph_module.graph.nodes:
        if node not in exported.live:  # an assertion, or not needed for an output
            continue
        for value in pytree.tree_leaves(node.meta.get("val")):
            sizes = value.shape if isinstance(value, Tensor) else ()
            if not all(isinstance(size, int) for size in sizes):
                raise ArgumentError(
                    f"{type(model).__name__} creates a tensor of data-dependent "
                    f"size (got {node.target} at {location_of(node) or 'an unknown location'}); "
                    "compute the size from shapes only, or pass a hand-written symmetry"
                )


def _describe(program: torch.export.ExportedProgram) -> Exported:
    signature, graph = program.graph_signature, program.graph
    nodes = {node.name: node for node in graph.nodes}
    tensors, constants = {}, {}
    placeholders: dict[str | None, list[str]] = defaultdict(list)
    for spec in signature.input_specs:
        name, target = getattr(spec.arg, "name", ""), spec.target or ""
        placeholders[spec.target].append(name)
        if spec.kind is InputKind.PARAMETER or (spec.kind is InputKind.BUFFER and spec.persistent):
            tensors[name] = target.removeprefix(PREFIX)
        elif spec.kind in (InputKind.BUFFER, InputKind.CONSTANT_TENSOR):
            value = program.constants.get(target)
            if isinstance(value, Tensor):
                constants[name] = value
    outputs, mutations = [], []
    for spec in signature.output_specs:
        node = nodes.get(getattr(spec.arg, "name", ""))
        if node is None:
            continue
        if spec.kind is OutputKind.USER_OUTPUT:
            outputs.append(node)
        elif spec.kind in (OutputKind.BUFFER_MUTATION, OutputKind.PARAMETER_MUTATION):
            mutations += [(node, name) for name in placeholders.get(spec.target, ())]
    inputs = [
        getattr(spec.arg, "name", "")
        for spec in signature.input_specs
        if spec.kind is InputKind.USER_INPUT
    ]
    live = _live(outputs, mutations)
    return Exported(
        program.graph_module, tensors, constants, live, outputs, inputs, tuple(mutations)
    )


def _live(outputs: Sequence[Node], mutations: Sequence[tuple[Node, str]] = ()) -> frozenset[Node]:
    """Return the nodes that outputs depend on, including writes to tensors that they read.

    A later call reads the values that an earlier call writes.
    """
    live: set[Node] = set()
    pending = list(outputs)
    while pending:
        while pending:
            node = pending.pop()
            if node not in live:
                live.add(node)
                pending += node.all_input_nodes
        names = {node.name for node in live}
        pending = [node for node, name in mutations if name in names and node not in live]
    return frozenset(live)


def location_of(node: Node) -> str:
    """Return file, line and code of the innermost frame outside of PyTorch, or ""."""
    frames = re.findall(
        r'File "([^"]+)", line (\d+), in (\S+)\n\s*([^\n]*)', node.meta.get("stack_trace") or ""
    )
    own = [frame for frame in frames if "/torch/" not in frame[0]] or frames
    if not own:
        return ""
    file, line, function, code = own[-1]
    return f"{file}:{line} in {function}: {code.strip()}"


def _failure(
    model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Exception | None:
    """Return the exception of an ordinary run of a model, or None if it succeeds or is on meta."""
    if any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers())):
        return None
    try:
        model(*args, **kwargs)
    except Exception as error:  # raised by the user's code
        return error
    return None


def _locate_failure(model: nn.Module, error: Exception) -> str:
    """Return a one-line message for a failure of the model itself, with its location."""
    return (
        f"{type(model).__name__} failed on the example inputs"
        f"{_place_in(error)} (got {_reason(error)}); pass inputs that it accepts, or fix the model"
    )


def _explain(model: nn.Module, error: BaseException) -> str:
    """Return a one-line message for a model that torch.export does not support."""
    return (
        f"torch.export does not support {type(model).__name__}{_place_in(error)} "
        f"(got {_reason(error)}); make its control flow independent of the data, or pass a "
        "hand-written symmetry"
    )


def _reason(error: BaseException) -> str:
    """Return an error's type and the first sentence of its message."""
    sentence = " ".join(str(error).split()).split(". ")[0][:300].rstrip(".")
    return f"{type(error).__name__}: {sentence}" if sentence else type(error).__name__


def _place_in(error: BaseException) -> str:
    """Return the innermost frame of the user's code in the traceback of an error."""
    texts = re.findall(r'File "([^"]+)", line (\d+), in (\S+)', str(error))
    traceback, frames = error.__traceback__, []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        frames.append((code.co_filename, str(traceback.tb_lineno), code.co_name))
        traceback = traceback.tb_next
    for file, line, function in [*reversed(texts), *reversed(frames)]:
        if not any(part in file for part in ("/torch/", "onebasin/symmetry", "<", "/sympy/")):
            return f" at {file}:{line} in {function}"
    return ""
