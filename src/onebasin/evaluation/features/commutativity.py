"""Commutativity: comparison of both networks' weights on their own and on each other's inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from onebasin._checks import checks_arguments
from onebasin.errors import ArgumentError
from onebasin.evaluation.features._comparison import COSINE, DISTANCE, compare, wide
from onebasin.evaluation.features._probe import (
    Batch,
    FeatureMetric,
    FeatureProbe,
    Progress,
    run_metric,
)
from onebasin.evaluation.features.table import LayerTable
from onebasin.graph.graph import Call, Graph

WITH_BIAS = frozenset(
    {"linear", "conv1d", "conv2d", "conv3d", "convolution"}
    | {f"conv_transpose{n}d" for n in (1, 2, 3)}
)
"""Products whose first arguments are an input, a weight and a bias."""

PLAIN = frozenset({"matmul", "mm", "bmm"})
"""Products of two tensors, either of which may be the weight."""

ADDED = {"addmm": torch.ops.aten.mm.default, "baddbmm": torch.ops.aten.bmm.default}
"""Products that are added to their first argument, and the same without it."""


@dataclass(frozen=True)
class Commutativity(LayerTable):
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

    With \(W\) the weights of a layer and \(H\) its inputs, \(X = W_A H_A + W_B H_B\) is compared
    with \(Y = W_A H_B + W_B H_A\) for each example: `1-cos` and `distance` (see `compare`). Biases
    are the same on both sides and are left out.

    All nodes of the graph are included: every product of a data-dependent value with a value of
    parameters only. The products of attention are not.

    Args:
        model: any module that `torch.export` supports; not changed.
        params_a: parameters and buffers of A.
        params_b: parameters and buffers of B.
        data: batches `(inputs, labels)` or inputs.
        layers: patterns for names of layers, such as "layers.*"; all by default.
        progress: called with the number of batches done.

    Raises:
        OneBasinError: parameters, data or patterns are invalid, or the network has no such layer.
    """
    measure = CommutativityMetric()
    ends = params_a, params_b
    run_metric(measure, model, ends, data, layers=layers, progress=progress)
    return measure.result()


class CommutativityMetric(FeatureMetric):
    """Metric of `measure_commutativity`.

    Args:
        is_optional: whether the metric is skipped for a network without such a layer.
    """

    def __init__(self, *, is_optional: bool = False) -> None:
        """Initialize without examples."""
        self.is_optional = is_optional

    def start(self, probe: FeatureProbe) -> None:
        """Find the layers."""
        super().start(probe)
        self.names = probe.names
        products = find_products(probe.features.graph)
        self.products = {node: each for node, each in products.items() if probe.counts(node)}
        self.among = probe.among

    def pre_forward(self, batch: Batch, call: Call) -> None:
        """Multiply each network's weights by either network's inputs."""
        product = self.products.get(call.name)
        if product is None or call.name not in batch.axes:
            return
        (args_a, kwargs), (args_b, _) = call.arguments[:2]

        def apply(weights: tuple[Any, ...], inputs: tuple[Any, ...]) -> Tensor:
            value = product(call.operator, weights, inputs, kwargs)
            return wide(batch.by_example(call.name, value))

        x = apply(args_a, args_a) + apply(args_b, args_b)
        values = compare(x, apply(args_a, args_b) + apply(args_b, args_a))
        for measure in (COSINE, DISTANCE):
            self.sums.add((self.names[call.name], None, measure), values[measure])

    def result(self) -> Commutativity:
        """Return the result.

        Raises:
            OneBasinError: the network has no linear or convolutional layer.
        """
        if not self.sums and not self.is_optional:
            raise ArgumentError(f"{self.among} no linear or convolutional layer on the data")
        return Commutativity(self.sums.records(list(self.names.values())))


@dataclass(frozen=True)
class Product:
    """Positions of the arguments of a product.

    Args:
        inputs: position of the data-dependent argument.
        weights: position of the weights.
        bias: position of the summand, or None.
        plain: operator without a bias, if the original one requires it.
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
        """Return the product of one call's weights with another call's inputs."""
        args = list(weights)
        args[self.inputs] = inputs[self.inputs]
        if self.plain is not None:
            return self.plain(*args[1:3])
        if self.bias is not None and len(args) > self.bias:
            args[self.bias] = None
        return operator(*args, **{**kwargs, **({"bias": None} if "bias" in kwargs else {})})


def find_products(graph: Graph) -> dict[str, Product]:
    """Return the nodes that multiply features by weights, with the positions of their arguments."""
    products = {}
    for node in graph.traced.exported.graph_module.graph.nodes:
        if node.name in graph.nodes and node.name in graph.data_dependent_nodes:
            operator = graph.nodes[node.name].operator
            depends_on_data = [
                isinstance(a, torch.fx.Node) and a.name in graph.data_dependent_nodes
                for a in node.args
            ]
            product = _product(operator, depends_on_data)
            if product is not None:
                products[node.name] = product
    return products


def _product(operator: str, depends_on_data: list[bool]) -> Product | None:
    """Return the product of a node, given which of its arguments depend on the data."""
    if operator in WITH_BIAS and depends_on_data[:2] == [True, False]:
        return Product(0, 1, bias=2)
    first = 1 if operator in ADDED else 0
    if operator not in PLAIN | set(ADDED) or sorted(depends_on_data[first : first + 2]) != [
        False,
        True,
    ]:
        return None
    inputs = first + depends_on_data[first : first + 2].index(True)
    return Product(inputs, 2 * first + 1 - inputs, plain=ADDED.get(operator))
