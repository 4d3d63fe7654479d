"""Input sizes at which a model takes another branch.

A forward pass on symbolic sizes shows every condition on input sizes, such as `length > 20`.
The nearest sizes at which a condition changes are the inputs to try. Conditions inside PyTorch
functions do not change which functions a model calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from math import prod
from typing import Any

import sympy
import torch
from torch import Tensor, nn
from torch._dynamo.source import ConstantSource
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import (
    DimDynamic,
    ShapeEnv,
    StatelessSymbolicContext,
)
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from onebasin._checks import named_tensors
from onebasin.symmetry._inference.recording import exporting, name_of, quick_result
from onebasin.symmetry._inference.variations import Inputs, Place, Variation, resized_inputs
from onebasin.symmetry._modules import shallow_clone

NEAR = 64
"""Range of sizes that are tried one by one, for conditions such as `length % 12`."""

MAX_ENTRIES = 2**24
"""Maximum number of entries of inputs to try."""

MAX_VARIATIONS = 16

MAX_TERMS = 150
"""Maximum number of terms of a condition; symbolic sizes stop being followed at a larger one."""

PROBES = (4, 16, 64, 256)
"""Multiples of a size to try for a dimension that the model reads as a plain number."""


def variations_at_branches(
    model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> list[Variation]:
    """Return inputs at which a condition on their sizes changes.

    The model may reject them. A size that the model reads as a plain number, for example with
    `len`, has no conditions. Some multiples of it are returned instead.
    """
    inputs = (args, dict(kwargs))
    leaves = [leaf for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor)]
    env = _Conditions()
    try:
        symbolic = _run(model, inputs, env)
    # An input or a tensor of the model does not support symbolic sizes: quantized or nested.
    except (RuntimeError, AssertionError):
        return []
    places = _places(leaves, symbolic)
    sizes = {symbol: leaves[i].shape[dim] for symbol, ((i, dim), *_) in places.items()}
    branches = dict.fromkeys(_branches(env.conditions, sizes))
    variations = []
    for symbol, size in sorted(branches, key=lambda branch: branch[1]):
        chosen = dict.fromkeys(places[symbol], size)
        if _entries(leaves, chosen) <= MAX_ENTRIES:
            variations.append(resized_inputs(inputs, chosen))
    return variations[:MAX_VARIATIONS]


class _TooManyTerms(Exception):
    """A condition is too large to be simplified in reasonable time."""


class _Conditions(ShapeEnv):
    """Symbolic sizes that record the conditions on them.

    Attributes:
        conditions: conditions outside PyTorch functions, and sizes that become plain numbers.
        is_inside: whether a PyTorch function is running.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conditions: dict[sympy.Basic, None] = {}
        self.is_inside = False

    def evaluate_sym_node(self, sym_node: Any, *args: Any, **kwargs: Any) -> Any:
        """Record and evaluate a condition, or a size that becomes a plain number.

        Raises:
            _TooManyTerms: the condition has too many terms.
        """
        expr = sympy.sympify(sym_node._expr)
        terms = sympy.preorder_traversal(expr)
        if next(islice(terms, MAX_TERMS, None), None) is not None:
            raise _TooManyTerms
        if isinstance(expr, sympy.Expr) or not self.is_inside:
            self.conditions[expr] = None
        return super().evaluate_sym_node(sym_node, *args, **kwargs)


class _Functions(TorchFunctionMode):
    """Marks the calls of PyTorch functions, and skips slow ones."""

    def __init__(self, env: _Conditions) -> None:
        super().__init__()
        self._env = env

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        self._env.is_inside = True
        try:
            result = quick_result(name_of(func), args, kwargs)
            return func(*args, **kwargs) if result is None else result
        finally:
            self._env.is_inside = False


def _run(model: nn.Module, inputs: Inputs, env: _Conditions) -> list[Tensor]:
    """Run a model on inputs with symbolic sizes as far as possible, and return these inputs."""
    mode = FakeTensorMode(shape_env=env, allow_non_fake_inputs=True)
    numbers = iter(range(len(pytree.tree_leaves(inputs))))

    def symbolic(tensor: Tensor) -> Tensor:
        context = StatelessSymbolicContext([DimDynamic.DYNAMIC] * tensor.dim())
        source = ConstantSource(f"input_{next(numbers)}")
        return mode.from_tensor(tensor, source=source, symbolic_context=context)

    known: dict[str, Tensor] = {
        name: mode.from_tensor(tensor.detach(), static_shapes=True)
        for name, tensor in named_tensors(model)
    }
    args, kwargs = pytree.tree_map_only(Tensor, symbolic, inputs)
    with shallow_clone(model) as own, torch.no_grad(), exporting(), mode, _Functions(env):
        try:
            torch.func.functional_call(own, known, args, kwargs)
        except Exception:  # of the user's code, or a large condition; those so far are used
            pass
    return [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]


def _places(leaves: list[Tensor], symbolic: list[Tensor]) -> dict[sympy.Symbol, list[Place]]:
    """Return the dimensions of each symbol."""
    places: dict[sympy.Symbol, list[Place]] = {}
    for i in range(len(leaves)):
        for dim, size in enumerate(symbolic[i].shape):
            if isinstance(size, torch.SymInt) and isinstance(size.node._expr, sympy.Symbol):
                places.setdefault(size.node._expr, []).append((i, dim))
    return places


def _branches(
    conditions: Iterable[sympy.Basic], sizes: Mapping[sympy.Symbol, int]
) -> Iterator[tuple[sympy.Symbol, int]]:
    """Yield the nearest larger and smaller size at which each condition changes."""
    for condition in conditions:
        for symbol, size in sizes.items():
            if symbol not in condition.free_symbols:
                continue
            if isinstance(condition, sympy.Expr):  # the size became a plain number
                yield from ((symbol, size * factor) for factor in PROBES)
                continue
            others = {s: sympy.Integer(n) for s, n in sizes.items() if s != symbol}
            for own in _with_inequalities(condition.xreplace(others)):
                yield from ((symbol, n) for n in _changes(_at(own, symbol), size))


def _with_inequalities(condition: sympy.Basic) -> Iterator[sympy.Basic]:
    """Yield a condition; for an equation also both inequalities, which change at its solution."""
    yield condition
    if isinstance(condition, sympy.Eq | sympy.Ne):
        yield sympy.Ge(condition.lhs, condition.rhs)
        yield sympy.Gt(condition.lhs, condition.rhs)


def _at(condition: sympy.Basic, symbol: sympy.Symbol) -> Callable[[int], bool | None]:
    """Return a condition as a function of one size; None if it is undefined."""

    def holds(size: int) -> bool | None:
        try:
            return bool(condition.xreplace({symbol: sympy.Integer(size)}))
        except (ArithmeticError, AssertionError, TypeError, ValueError):
            return None

    return holds


def _changes(holds: Callable[[int], bool | None], size: int) -> Iterator[int]:
    """Yield the nearest larger and smaller size at which a condition changes.

    Beyond the nearby sizes, the condition is assumed to change at most once.
    """
    other = not holds(size)
    far = [size + NEAR * 2**i for i in range(16)]
    for tried in (range(size + 1, size + NEAR), far, range(size - 1, max(size - NEAR, 0), -1), [1]):
        last = size
        for n in tried:
            if n > 0 and holds(n) is other:
                yield _bisected(lambda m: holds(m) is other, last, n)
                break
            last = n


def _bisected(changed: Callable[[int], bool], same: int, other: int) -> int:
    """Return the first changed size, by bisection."""
    while abs(other - same) > 1:
        middle = (same + other) // 2
        if changed(middle):
            other = middle
        else:
            same = middle
    return other


def _entries(leaves: list[Tensor], sizes: Mapping[Place, int]) -> int:
    return sum(
        prod(sizes.get((i, dim), n) for dim, n in enumerate(leaf.shape))
        for i, leaf in enumerate(leaves)
    )
