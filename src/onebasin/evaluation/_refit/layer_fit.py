"""The regression of one layer of the merged network, and the change of its parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, inf
from typing import Any, NoReturn

import torch
from torch import Tensor

from onebasin._dtypes import all_finite
from onebasin.errors import ArgumentError
from onebasin.evaluation._refit.equations import NormalEquations, Solution, choose
from onebasin.evaluation._refit.held_out import HELD_OUT
from onebasin.evaluation._refit.joint import TiedUse
from onebasin.evaluation._refit.layers import RefitLayer
from onebasin.evaluation._refit.norms import TENSORS, FoldedNorm
from onebasin.evaluation._refit.operator_table import regression_of
from onebasin.evaluation._refit.operators import Operator, Scale
from onebasin.evaluation._refit.targets import Spread, Targets, mean_of_values
from onebasin.graph._network_run import Bound, NetworkRun
from onebasin.graph.features import BatchContext
from onebasin.graph.graph import Graph
from onebasin.symmetry._inference.nodes import named_arguments

ROWS_PER_UNKNOWN = 500
"""Maximum number of rows for each input of a layer; they are drawn at random from all batches."""

MIN_ROWS = 50_000
"""Number of rows that are used in any case."""


@dataclass
class LayerFit:
    """The regression of a layer, or of a block of its inputs.

    Args:
        layer: the layer.
        merged: tensors of the merged network; overwritten by `finish`.
        targets: values that the layer is fit to.
        fractions: weights of the sources.
        block: range of the inputs that are refit.
        num_batches: number of batches; None if it is unknown, so that all rows are used.
        fitted, held_out: equations of the rows.
    """

    layer: RefitLayer
    merged: Bound
    targets: Targets
    fractions: Sequence[float]
    block: slice
    num_batches: int | None
    fitted: NormalEquations = field(init=False)
    held_out: NormalEquations = field(init=False)

    def __post_init__(self) -> None:
        """Initialize without rows."""
        has_bias = self.layer.bias is not None or self.layer.norm is not None
        self.fitted, self.held_out = (NormalEquations(has_bias=has_bias) for _ in range(2))
        self._given: dict[str, Any] = {}
        self._num_batches = 0
        self._spread = Spread(self.fractions)

    def add(self, context: BatchContext, runs: Sequence[NetworkRun]) -> None:
        """Add a batch.

        Args:
            context: the batch.
            runs: runs of the sources and of the merged network. The sources are run up to the
                target, the merged network is run up to the input of the layer.
        """
        *sources, merged = runs
        layer, graph = self.layer, context.graph
        values = [run.run_through(layer.target) for run in sources]
        values = self.targets.values(graph, layer.target, values)
        merged.run_before(layer.node)
        given = merged.arguments(layer.node)
        own = merged.fork().run_through(layer.target)
        operator = regression_of(graph.nodes[layer.node].operator, given)
        target = self._target(graph, [operator.outputs(each) for each in values], context.weight)
        rows = target - operator.outputs(own)
        index = self._sample(rows.shape[1])
        weight = context.weight
        if index is not None:
            weight *= rows.shape[1] / len(index)
            rows = rows[:, index]
        self._num_batches += 1
        equations = self.fitted if self._num_batches % HELD_OUT else self.held_out
        plain = _without_scale(graph, layer, operator, given)
        operator.add_to(equations, plain, rows, index, self.block, weight)
        if not equations.is_finite:
            given = [each for each in plain.values() if isinstance(each, Tensor)]
            self._refuse(graph, [*values, own, *given])
        self._given, self._operator, self._graph = given, operator, graph

    def _target(self, graph: Graph, values: Sequence[Tensor], weight: float) -> Tensor:
        """Return the rows that the layer is fit to, from those of the sources."""
        mean = mean_of_values(values, self.fractions)
        if self.layer.norm is None or not graph.readers[self.layer.target]:
            return mean
        return self._spread.rescaled(mean, values, weight)

    def _refuse(self, graph: Graph, features: Sequence[Tensor]) -> NoReturn:
        """Raise the error for sums that are not finite."""
        where = f"the features at {graph.describe_node(self.layer.node)}"
        if all(map(all_finite, features)):
            largest = max(float(each.abs().max()) for each in features)
            raise ArgumentError(
                f"{where} are too large to be refit (up to {largest:.0e}); normalize the data"
            )
        raise ArgumentError(
            f"{where} are not finite; check the weights of the networks and the data"
        )

    def _sample(self, num_rows: int) -> Tensor | None:
        """Return the rows of a batch that are used, in order; None for all."""
        if self.num_batches is None:
            return None
        unknowns = self.block.stop - self.block.start
        most = ceil(max(ROWS_PER_UNKNOWN * unknowns, MIN_ROWS) / self.num_batches)
        if num_rows <= most:
            return None
        generator = torch.Generator().manual_seed(self._num_batches)
        return torch.randperm(num_rows, generator=generator)[:most].sort().values

    def use(self) -> TiedUse:
        """Return the regression as one of several uses of a weight."""
        return TiedUse(self.layer, self._operator, self.fitted, self.held_out)

    def finish(self) -> Solution:
        """Solve the regression, change the parameters of the merged network, return the change."""
        total = self.fitted + self.held_out
        if not bool(total.cross.any()):  # equal networks: rounding must not change them
            return Solution(torch.zeros_like(total.cross), 0, inf)
        layer, given, operator = self.layer, self._given, self._operator
        weight = None if layer.weight is None else given[layer.weight]
        bias = None if layer.bias is None else given[layer.bias]
        if layer.norm is not None:
            norm = self._norm(weight, bias, total)
            if not norm.is_affine:
                return self._reset(norm)
            solution = choose(self.fitted, self.held_out, norm.anchors())
            matrix = norm.write(solution, has_weight=weight is not None)
            if weight is not None:
                weight.copy_(operator.weight(matrix, weight.shape))
            return solution
        assert weight is not None, "only a BatchNorm on its own has no weight"
        solution = choose(self.fitted, self.held_out, [torch.zeros_like(total.cross)])
        matrix = operator.matrix(weight.double()).clone()
        matrix[:, self.block] += solution.change[:, : matrix[:, self.block].shape[1]]
        weight.copy_(operator.weight(matrix, weight.shape))
        if bias is not None:
            bias += solution.change[:, -1].reshape(bias.shape).to(bias.dtype)
        return solution

    def _reset(self, norm: FoldedNorm) -> Solution:
        """Reset the statistics of a norm without scale, unless held-out rows fit worse."""
        kept, change = norm.anchors()
        if self.held_out.count and self.held_out.error(change) >= 0:
            return Solution(kept, 0, inf)
        norm.write_statistics()
        return Solution(change, 1, inf)

    def _norm(
        self, weight: Tensor | None, bias: Tensor | None, total: NormalEquations
    ) -> FoldedNorm:
        assert self.layer.norm is not None
        node = self._graph.calls[self.layer.norm]
        given = named_arguments(node, node.args, dict(node.kwargs))
        names = self._graph.traced.exported.tensors
        tensors = {
            name: self.merged.values[names[given[name].name]]
            for name in TENSORS
            if given[name] is not None
        }
        groups, _, width = total.cross.shape
        matrix = (
            total.gram.new_ones(groups, 1, width)
            if weight is None
            else self._operator.matrix(weight.double())
        )
        offset = total.gram.new_zeros(groups, width)
        if bias is not None:
            offset += bias.view_as(offset)
        return FoldedNorm(tensors, given["eps"], matrix, offset, total)


def _without_scale(
    graph: Graph, layer: RefitLayer, operator: Operator, given: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Return the arguments of a layer; for a norm with a scale, its value without the scale."""
    if layer.weight is None or not isinstance(operator, Scale):
        return given
    plain = {name: None if name in ("weight", "bias") else given[name] for name in given}
    target: Any = graph.calls[layer.node].target
    return {operator.source: target(**plain)}
