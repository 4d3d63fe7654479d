"""Additivity: comparison of nonlinear functions of mixed inputs with mixed outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from onebasin._checks import checks_arguments
from onebasin.errors import ArgumentError
from onebasin.evaluation.features._comparison import COSINE, DISTANCE, compare, lerp
from onebasin.evaluation.features._probe import (
    ALPHAS,
    Batch,
    FeatureMetric,
    FeatureProbe,
    Progress,
    checked_alphas,
    run_metric,
)
from onebasin.evaluation.features.llfc import ENDS
from onebasin.evaluation.features.table import LayerTable
from onebasin.graph._sites import NONLINEAR
from onebasin.graph.graph import Call

ELEMENTWISE = NONLINEAR - {"glu", "prelu", "rrelu"}
"""Nonlinear functions of one argument; `prelu` has parameters that differ between networks."""


@dataclass(frozen=True)
class Additivity(LayerTable):
    """Weak additivity at every nonlinear function; made by `measure_additivity`.

    Its measures are `1-cos` and `distance` at every alpha, and `1-cos ends`.
    """

    @property
    def axis_label(self) -> str:
        """Label of the plotted values."""
        return "1 − cos"

    def series(self, alpha: float | None) -> dict[str, tuple[str, float | None]]:
        """Return the plotted measures."""
        return {f"1 − cos, α = {alpha:g}": (COSINE, alpha), "1 − cos of A and B": (ENDS, None)}


@checks_arguments
def measure_additivity(
    model: nn.Module,
    params_a: Mapping[str, Tensor],
    params_b: Mapping[str, Tensor],
    data: Iterable[Any],
    *,
    alphas: Sequence[float] = ALPHAS,
    operators: Sequence[str] = ("relu",),
    layers: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Additivity:
    r"""Measure weak additivity at every ReLU of a network (Zhou et al. 2023, Definition 3).

    With \(h_A\) and \(h_B\) the inputs of the function \(\sigma\) in A and in B, \(X =
    \sigma(\alpha h_A + (1-\alpha) h_B)\) is compared with \(Y = \alpha\sigma(h_A) +
    (1-\alpha)\sigma(h_B)\) for each example: `1-cos`, `distance` (see `compare`), and as a
    reference `1-cos ends`, between \(\sigma(h_A)\) and \(\sigma(h_B)\).

    All nodes of the graph are included, not only modules: `F.relu`, `x.relu_()` and clamping from
    below at 0 are ReLUs, too.

    Args:
        model: any module that `torch.export` supports; not changed.
        params_a: parameters and buffers of A.
        params_b: parameters and buffers of B.
        data: batches `(inputs, labels)` or inputs.
        alphas: weights of A, between 0 and 1.
        operators: names of functions, such as "gelu" and "tanh", or "all" of `ELEMENTWISE`.
        layers: patterns for names of layers, such as "layers.*"; all by default.
        progress: called with the number of batches done.

    Raises:
        OneBasinError: parameters, data, alphas, operators or patterns are invalid, or the network
            has none of the functions.
    """
    measure = AdditivityMetric(alphas, operators)
    ends = params_a, params_b
    run_metric(measure, model, ends, data, layers=layers, progress=progress)
    return measure.result()


class AdditivityMetric(FeatureMetric):
    """Metric of `measure_additivity`.

    Args:
        alphas: as for `measure_additivity`.
        operators: as for `measure_additivity`.
        is_optional: whether the metric is skipped for a network without such a function.
        remedy: end of the error for a network without such a function, unless `operators` has all.
    """

    def __init__(
        self,
        alphas: Sequence[float] = ALPHAS,
        operators: Sequence[str] = ("relu",),
        *,
        is_optional: bool = False,
        remedy: str = "pass operators=['all'] for any nonlinear function",
    ) -> None:
        """Check the alphas and the operators."""
        self.alphas = checked_alphas(alphas)
        self.operators = ELEMENTWISE if "all" in operators else frozenset(operators)
        self.is_optional, self.remedy = is_optional, remedy
        for operator in self.operators - ELEMENTWISE:
            raise ArgumentError(
                f"operator {operator!r} is not an elementwise function; use "
                f"one of {', '.join(sorted(ELEMENTWISE))} or 'all'"
            )

    def start(self, probe: FeatureProbe) -> None:
        """Get the names of the nodes."""
        super().start(probe)
        self.names, self.nodes = probe.names, probe.features.graph.nodes

    def pre_forward(self, batch: Batch, call: Call) -> None:
        """Apply a function to the mixed inputs, and mix its outputs."""
        if call.name not in batch.axes or not self._counts(call):
            return
        (args, kwargs), *_ = call.arguments
        h_a, h_b = (given[0][0] for given in call.arguments[:2])

        def apply(h: Tensor) -> Tensor:
            # Copy for in-place operators.
            return batch.by_example(call.name, call.operator(h.clone(), *args[1:], **kwargs))

        self._add(self.names[call.name], apply, h_a, h_b)

    def _add(self, name: str, apply: Callable[[Tensor], Tensor], h_a: Tensor, h_b: Tensor) -> None:
        a, b = apply(h_a), apply(h_b)
        for alpha in self.alphas:
            values = compare(apply(lerp(h_a, h_b, alpha)), lerp(a, b, alpha))
            for measure in (COSINE, DISTANCE):
                self.sums.add((name, alpha, measure), values[measure])
        self.sums.add((name, None, ENDS), compare(a, b)[COSINE])

    def _counts(self, call: Call) -> bool:
        operator = self.nodes[call.name].operator
        if not self.probe.counts(call.name):
            return False
        return operator in self.operators or ("relu" in self.operators and _is_relu(operator, call))

    def result(self) -> Additivity:
        """Return the result.

        Raises:
            OneBasinError: the network has none of the functions.
        """
        if not self.sums and not self.is_optional:
            known = self.operators < ELEMENTWISE
            missing = " or ".join(sorted(self.operators)) if known else "elementwise function"
            remedy = f"; {self.remedy}" if known else ""
            raise ArgumentError(f"{self.probe.among} no {missing}{remedy}")
        return Additivity(self.sums.records(list(self.names.values())))


def _is_relu(operator: str, call: Call) -> bool:
    """Return whether a call is a ReLU under another name: clamping from below at 0."""
    if operator not in ("clamp", "clamp_min"):
        return False
    args, kwargs = call.arguments[0]
    low = kwargs.get("min", args[1] if len(args) > 1 else None)
    high = kwargs.get("max", args[2] if len(args) > 2 else None)
    return isinstance(low, int | float) and low == 0 and high is None
