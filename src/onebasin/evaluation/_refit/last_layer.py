"""Fit of the last layer of a classifier to the mean probabilities of the sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor

from onebasin.evaluation._refit.equations import RIDGES
from onebasin.evaluation._refit.layer_fit import HELD_OUT
from onebasin.evaluation._refit.layers import RefitLayer
from onebasin.evaluation._refit.operator_table import regression_of
from onebasin.evaluation._refit.operators import Dense, Operator
from onebasin.evaluation._refit.refit import LayerRefit, copied_network, stored_tensors
from onebasin.evaluation._repair_result import RepairResult

MAX_ROWS = 50_000
"""Maximum number of rows that are kept."""

MAX_ELEMENTS = 1 << 24
"""Maximum number of elements of all rows, inputs and outputs together."""

MAX_STEPS = 50
"""Maximum number of steps of L-BFGS for each ridge."""

SMALLEST_GAIN = 1e-6
"""Decrease of the held-out cross-entropy that is needed, so that rounding changes nothing."""


@dataclass(frozen=True)
class _Rows:
    """Rows of the last layer in float64.

    Args:
        inputs: inputs of the layer, divided by their root mean square, and a one.
        logits: outputs of the layer before the fit.
        probabilities: mean probabilities of the sources.
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
    """Fit the last layer of a refit network to the mean probabilities of its sources.

    The layer minimizes the cross-entropy with a ridge to its least-squares solution, by L-BFGS
    in float64. The ridge is chosen on one fifth of the batches. The data are read once more.

    Args:
        refit: the refit.
        result: its result.
        sources: the aligned source networks.
        fractions: weight of each source; their sum is 1.

    Returns:
        The network; unchanged if the fit is not better on held-out batches, or if the last layer
        is not a linear layer on its own whose output is the only output of the model.
    """
    layer = _last_layer(refit)
    if layer is None or layer.weight is None:
        return result
    features, has_bias = refit.features, layer.bias is not None
    *bound, own = features.graph.bind([*sources, result.params])
    merged = copied_network(own, features.model)
    samples = (_Sample(), _Sample())
    given: dict[str, Any] = {}
    operator: Operator | None = None
    for number, (context, inputs, _) in enumerate(features.batches(), start=1):
        *runs, run = context.graph.start([*bound, merged], inputs)
        logits = [each.run_through(layer.node).double() for each in runs]
        run.run_before(layer.node)
        given = run.arguments(layer.node)
        operator = regression_of(context.graph.nodes[layer.node].operator, given)
        if not isinstance(operator, Dense) or logits[0].dim() != 2:
            return result
        shares = zip(fractions, logits, strict=True)
        mean = torch.stack([share * each.softmax(1) for share, each in shares]).sum(0)
        rows = given[operator.source].double()
        sample = samples[number % HELD_OUT == 0]
        sample.add([rows, run.run_through(layer.node).double(), mean], seed=number)
    if operator is None or not all(sample.parts for sample in samples):
        return result
    scale = samples[0].parts[0].square().mean().sqrt().clamp(min=1e-30)
    fitted, held_out = (sample.rows(scale, has_bias=has_bias) for sample in samples)
    found = _choose(fitted, held_out, has_bias)
    if found is None:
        return result
    change, ridge = found
    weight = given[layer.weight]
    inner = change[: len(change) - has_bias] / scale
    weight += operator.weight(inner[None], weight.shape).to(weight.dtype)
    if layer.bias is not None:
        given[layer.bias].add_(change[-1].to(weight.dtype))
    params = stored_tensors(merged, result.params)
    return replace(result, params=params, ridges={**result.ridges, layer.label: ridge})


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


def _last_layer(refit: LayerRefit) -> RefitLayer | None:
    """Return the layer whose output is the only output of the model."""
    layer = refit.layers[-1]
    names = [node.name for node in refit.features.graph.traced.exported.outputs]
    is_alone = layer.norm is None and layer.tie is None
    return layer if is_alone and layer.target == layer.node and names == [layer.node] else None


def _choose(fitted: _Rows, held_out: _Rows, has_bias: bool) -> tuple[Tensor, float] | None:
    """Return the best change and its ridge, fit to all rows; None if no change is better."""
    none = torch.zeros_like(fitted.inputs[:1].T @ fitted.logits[:1])
    before = best = float(held_out.cross_entropy(none))
    change, start, chosen = none, none, None
    for ridge in reversed(RIDGES):  # each fit starts from the one with a larger ridge
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
