"""Fit of the last layer of a classifier to the geometric mean of probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor

from onebasin.evaluation._refit.equations import RIDGES
from onebasin.evaluation._refit.held_out import HELD_OUT
from onebasin.evaluation._refit.layers import RefitLayer
from onebasin.evaluation._refit.operator_table import regression_of
from onebasin.evaluation._refit.operators import Dense
from onebasin.evaluation._refit.refit import LayerRefit, copied_network, stored_tensors
from onebasin.evaluation._repair_result import RepairResult
from onebasin.graph._network_run import Bound

MAX_ROWS = 50_000
"""Maximum number of rows that are kept."""

MAX_ELEMENTS = 1 << 24
"""Maximum number of elements of all rows, inputs and outputs together."""

MAX_STEPS = 50
"""Maximum number of steps of L-BFGS for each ridge."""

ALL_RIDGES = (1e-6, 1e-5, *RIDGES)
"""Ridges to choose from; the cross-entropy needs smaller ones than least squares."""

SMALLEST_GAIN = 1e-6
"""Decrease of the held-out cross-entropy that is needed, so that rounding changes nothing."""


@dataclass(frozen=True)
class _Rows:
    """Rows of the last layer in float64.

    Args:
        inputs: inputs of the layer, divided by their root mean square, and a one.
        logits: outputs of the layer before the fit.
        probabilities: geometric mean of the sources' probabilities, with a sum of 1.
    """

    inputs: Float64[Tensor, "n d"]
    logits: Float64[Tensor, "n c"]
    probabilities: Float64[Tensor, "n c"]

    def cross_entropy(self, change: Float64[Tensor, "d c"]) -> Tensor:
        """Return the mean cross-entropy after a change of the layer."""
        outputs = (self.logits + self.inputs @ change).log_softmax(1)
        return -(self.probabilities * outputs).sum(1).mean()

    def fit(self, start: Float64[Tensor, "d c"], ridge: float, *, has_bias: bool) -> Tensor:
        """Return the change that minimizes the cross-entropy and a ridge; the bias has none."""
        change = start.clone().requires_grad_()
        optimizer = torch.optim.LBFGS(
            [change], max_iter=MAX_STEPS, line_search_fn="strong_wolfe", tolerance_grad=1e-9
        )

        def objective() -> Tensor:
            optimizer.zero_grad()
            inner = change[: len(change) - has_bias]
            loss = self.cross_entropy(change) + ridge * inner.square().sum()
            loss.backward()
            return loss

        with torch.enable_grad():
            optimizer.step(objective)
        return change.detach()


@torch.no_grad()
def fit_last_layer(
    refit: LayerRefit,
    result: RepairResult,
    sources: Sequence[Mapping[str, Tensor]],
    fractions: Sequence[float],
) -> RepairResult:
    """Fit the last layer of a refit network to the geometric mean of probabilities.

    The geometric mean of the sources' probabilities is the softmax of their mean logits. For
    sources with different classes, the arithmetic mean has a tie between two classes on almost
    every example, and the geometric mean has none. The layer minimizes the cross-entropy with a
    ridge to its least-squares solution, by L-BFGS in float64. The ridge is chosen on one fifth of
    the batches. The data are read once more.

    Args:
        refit: the refit.
        result: its result.
        sources: the aligned source networks.
        fractions: weight of each source; their sum is 1.

    Returns:
        The network; unchanged if the fit is not better on held-out batches, or if the last layer
        is not a linear layer on its own whose output is the only output of the model.
    """
    layer = last_layer(refit)
    if layer is None:
        return result
    graph = refit.features.graph
    (own,) = graph.bind([result.params])
    merged = copied_network(own, refit.features.model)
    bound = refit.targets.source_graph(graph, refit.features.first).bind(sources)
    found = _collect(refit, layer, bound, merged, fractions)
    if found is None:
        return result
    scale = found.fitted.parts[0].square().mean().sqrt().clamp(min=1e-30)
    has_bias = layer.bias is not None
    samples = (found.fitted, found.held_out)
    fitted, held_out = (sample.rows(scale, has_bias=has_bias) for sample in samples)
    chosen = _choose(fitted, held_out, has_bias)
    if chosen is None:
        return result
    change, ridge = chosen
    found.add(layer, change[: len(change) - has_bias] / scale, change[-1])
    params = stored_tensors(merged, result.params)
    return replace(result, params=params, ridges={**result.ridges, layer.label: ridge})


def last_layer(refit: LayerRefit) -> RefitLayer | None:
    """Return the layer with a weight of its own whose output is the only output of the model."""
    layer = refit.layers[-1]
    names = [node.name for node in refit.features.graph.traced.exported.outputs]
    is_alone = layer.weight is not None and layer.norm is None and layer.tie is None
    return layer if is_alone and layer.target == layer.node and names == [layer.node] else None


class _Sample:
    """A random sample of rows of bounded size.

    Attributes:
        parts: inputs, outputs and target probabilities of the sampled rows.
    """

    def __init__(self) -> None:
        """Initialize without rows."""
        self.parts: list[Tensor] = []
        self._keys = torch.empty(0)

    def add(self, parts: Sequence[Tensor], *, seed: int) -> None:
        """Add rows; those with the smallest random keys are kept."""
        generator = torch.Generator().manual_seed(seed)
        keys = torch.cat((self._keys, torch.rand(len(parts[0]), generator=generator)))
        if self.parts:
            parts = [torch.cat(pair) for pair in zip(self.parts, parts, strict=True)]
        most = max(1, min(MAX_ROWS, MAX_ELEMENTS // sum(part.shape[1] for part in parts)))
        index = keys.argsort()[:most]
        self._keys, self.parts = keys[index], [part[index.to(part.device)] for part in parts]

    def rows(self, scale: Tensor, *, has_bias: bool) -> _Rows:
        """Return the rows with scaled inputs."""
        inputs, logits, probabilities = self.parts
        inputs = inputs / scale
        if has_bias:
            inputs = torch.cat((inputs, torch.ones_like(inputs[:, :1])), 1)
        return _Rows(inputs, logits, probabilities)


@dataclass(frozen=True)
class _Collected:
    """The rows of a linear layer, and the means to change the layer.

    Args:
        fitted, held_out: rows of the two parts of the batches.
        given: arguments of the layer; its tensors are those of the merged network.
        operator: its regression.
    """

    fitted: _Sample
    held_out: _Sample
    given: Mapping[str, Any]
    operator: Dense

    def add(self, layer: RefitLayer, inner: Tensor, bias: Tensor) -> None:
        """Add changes to the weight and the bias of the layer."""
        weight = self.given[str(layer.weight)]
        weight += self.operator.weight(inner[None], weight.shape).to(weight.dtype)
        if layer.bias is not None:
            self.given[layer.bias].add_(bias.to(weight.dtype))


def _collect(
    refit: LayerRefit,
    layer: RefitLayer,
    sources: Sequence[Bound],
    network: Bound,
    fractions: Sequence[float],
) -> _Collected | None:
    """Return rows of a layer of a network; None if it is not linear or rows are missing."""
    fitted, held_out = _Sample(), _Sample()
    found = None
    for number, (context, inputs, _) in enumerate(refit.features.batches(), start=1):
        runs = refit.targets.source_graph(context.graph, inputs).start(sources, inputs)
        logits = [run.run_through(layer.node).double() for run in runs]
        (merged,) = context.graph.start([network], inputs)
        merged.run_before(layer.node)
        given = merged.arguments(layer.node)
        operator = regression_of(context.graph.nodes[layer.node].operator, given)
        if not isinstance(operator, Dense) or logits[0].dim() != 2:
            return None
        shares = zip(fractions, logits, strict=True)
        mean = torch.stack([share * each for share, each in shares]).sum(0).softmax(1)
        inputs = given[operator.source].double()
        sample = fitted if number % HELD_OUT else held_out
        sample.add([inputs, merged.run_through(layer.node).double(), mean], seed=number)
        found = _Collected(fitted, held_out, given, operator)
    return found if fitted.parts and held_out.parts else None


def _choose(fitted: _Rows, held_out: _Rows, has_bias: bool) -> tuple[Tensor, float] | None:
    """Return the best change and its ridge, fit to all rows; None if no change is better."""
    none = torch.zeros_like(fitted.inputs[:1].T @ fitted.logits[:1])
    before = best = float(held_out.cross_entropy(none))
    change, start, chosen = none, none, None
    for ridge in reversed(ALL_RIDGES):  # each fit starts from the one with a larger ridge
        change = fitted.fit(change, ridge, has_bias=has_bias)
        loss = float(held_out.cross_entropy(change))
        if not loss < min(best, before - SMALLEST_GAIN):
            break
        best, chosen, start = loss, ridge, change
    if chosen is None:
        return None
    pairs = zip(vars(fitted).values(), vars(held_out).values(), strict=True)
    total = _Rows(*(torch.cat(pair) for pair in pairs))
    return total.fit(start, chosen, has_bias=has_bias), chosen
