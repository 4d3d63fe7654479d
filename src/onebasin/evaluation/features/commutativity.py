"""Commutativity: whether the weights of two networks may change their inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from onebasin._checks import checks_arguments
from onebasin.errors import OneBasinError
from onebasin.evaluation.features.comparison import COSINE, DISTANCE, compare, wide
from onebasin.evaluation.features.moments import Sums
from onebasin.evaluation.features.survey import (
    Batch,
    Measure,
    Progress,
    Survey,
    run_measure,
)
from onebasin.evaluation.features.table import FeatureTable
from onebasin.graph.graph import Call, Graph

WITH_BIAS = frozenset(
    {"linear", "conv1d", "conv2d", "conv3d", "convolution"}
    | {f"conv_transpose{n}d" for n in (1, 2, 3)}
)
"""Products that take an input, a weight and a bias first; other arguments follow."""

PLAIN = frozenset({"matmul", "mm", "bmm"})
"""Products of two tensors, of which either may hold the weights."""

ADDED = {"addmm": torch.ops.aten.mm.default, "baddbmm": torch.ops.aten.bmm.default}
"""Products that are added to their first argument, and what they are without it."""


@dataclass(frozen=True)
class Commutativity(FeatureTable):
    """Commutativity at every linear and convolutional layer; made by `measure_commutativity`.

    Its measures are `1-cos` and `distance`.
    """


@checks_arguments
def measure_commutativity(
    model: nn.Module,
    params_a: Mapping[str, Tensor],
    params_b: Mapping[str, Tensor],
    data: Iterable[Any],
    *,
    layers: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Commutativity:
    r"""Measure commutativity at every linear and convolutional layer (Zhou et al. 2023, Def. 4).

    With \(W\) the weights of a layer and \(H\) what enters it, \(X = W_A H_A + W_B H_B\) is
    compared with \(Y = W_A H_B + W_B H_A\), example by example: `1-cos` and `distance` (see
    `compare`). Biases would be the same on both sides and are left out.

    The nodes of the graph count: every product of what depends on the examples with what
    depends on parameters alone, so that attention's own products are none.

    Args:
        model: any module that `torch.export` can take; not changed.
        params_a: parameters and buffers of A.
        params_b: those of B.
        data: batches `(inputs, labels)` or inputs alone.
        layers: patterns for names of layers (see `find_layers`); all without it.
        progress: called with the number of batches done.

    Raises:
        OneBasinError: when parameters, data or patterns do not fit, or the network has no
            such layer.
    """
    measure = CommutativityMeasure()
    ends = params_a, params_b
    run_measure(measure, model, ends, data, call="commutativity", layers=layers, progress=progress)
    return measure.result()


class CommutativityMeasure(Measure):
    """What `measure_commutativity` adds up, for a survey of several measures.

    Args:
        is_optional: whether a network without any such layer is no error.
    """

    def __init__(self, *, is_optional: bool = False) -> None:
        """Take nothing yet."""
        self.is_optional = is_optional

    def begin(self, survey: Survey) -> None:
        """Find the layers."""
        self.names = survey.names
        products = find_products(survey.features.graph)
        self.products = {node: each for node, each in products.items() if survey.counts(node)}
        self.among = survey.among
        self.sums = Sums()

    def enter(self, batch: Batch, call: Call) -> None:
        """Multiply each network's weights with either network's inputs."""
        product = self.products.get(call.name)
        if product is None or call.name not in batch.axes:
            return
        (args_a, kwargs), (args_b, _) = call.arguments[:2]

        def apply(weights: tuple[Any, ...], inputs: tuple[Any, ...]) -> Tensor:
            value = product(call.operator, weights, inputs, kwargs)
            return wide(batch.by_example(call.name, value))

        x = apply(args_a, args_a) + apply(args_b, args_b)
        found = compare(x, apply(args_a, args_b) + apply(args_b, args_a))
        for measure in (COSINE, DISTANCE):
            self.sums.add((self.names[call.name], None, measure), found[measure])

    def result(self) -> Commutativity:
        """Return what was measured.

        Raises:
            OneBasinError: when the network has no linear or convolutional layer.
        """
        if not self.sums and not self.is_optional:
            raise OneBasinError(
                f"commutativity: {self.among} no linear or convolutional layer that sees the data"
            )
        return Commutativity(self.sums.records(list(self.names.values())))


@dataclass(frozen=True)
class Product:
    """Where a product takes its inputs and weights from.

    Args:
        inputs: position of what depends on the examples.
        weights: position of what depends on parameters alone.
        bias: position of what is added, or None.
        plain: what to call in place of the operator, which cannot do without a bias.
    """

    inputs: int
    weights: int
    bias: int | None = None
    plain: Callable[..., Any] | None = None

    def __call__(
        self,
        operator: Callable[..., Any],
        weights: tuple[Any, ...],
        inputs: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> Tensor:
        """Return the product of the weights of one call with the inputs of another."""
        args = list(weights)
        args[self.inputs] = inputs[self.inputs]
        if self.plain is not None:
            return self.plain(*args[1:3])
        if self.bias is not None and len(args) > self.bias:
            args[self.bias] = None
        return operator(*args, **{**kwargs, **({"bias": None} if "bias" in kwargs else {})})


def find_products(graph: Graph) -> dict[str, Product]:
    """Return the nodes that multiply features with weights, and how they are called."""
    found = {}
    for node in graph.traced.exported.graph_module.graph.nodes:
        if node.name in graph.nodes and node.name in graph.fed:
            operator = graph.nodes[node.name].operator
            fed = [isinstance(a, torch.fx.Node) and a.name in graph.fed for a in node.args]
            product = _product(operator, fed)
            if product is not None:
                found[node.name] = product
    return found


def _product(operator: str, fed: list[bool]) -> Product | None:
    """Return how a node multiplies, from which of its arguments depend on the examples."""
    if operator in WITH_BIAS and fed[:2] == [True, False]:
        return Product(0, 1, bias=2)
    first = 1 if operator in ADDED else 0
    if operator not in PLAIN | set(ADDED) or sorted(fed[first : first + 2]) != [False, True]:
        return None
    inputs = first + fed[first : first + 2].index(True)
    return Product(inputs, 2 * first + 1 - inputs, plain=ADDED.get(operator))
