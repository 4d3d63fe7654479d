"""Evaluation of two networks whose features are averaged from a layer on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor, nn

from onebasin._checks import checks_arguments
from onebasin.errors import ArgumentError, check_choice, public
from onebasin.evaluation.curves import LineNormalization
from onebasin.evaluation.evaluator import Evaluation, Evaluator, Loss
from onebasin.evaluation.features._comparison import lerp
from onebasin.evaluation.features._probe import FeatureProbe, path_between
from onebasin.evaluation.features.table import FeatureRow, FeatureTable
from onebasin.evaluation.results import axes_for
from onebasin.graph.batches import IGNORE_INDEX, as_reiterable, labels_of
from onebasin.graph.binding import FunctionalModel
from onebasin.graph.features import BatchContext
from onebasin.graph.graph import Graph, MultiForwardHook

if TYPE_CHECKING:
    from matplotlib.axes import Axes

A, B, MERGED, OUTPUTS = "A", "B", "merged weights", "mixed outputs"
LOSS, ERROR = "loss", "error"


@dataclass(frozen=True)
class FeatureInterpolation(FeatureTable):
    """Loss and error by the first layer with interpolated features; see `interpolate_features`."""

    @public
    def plot(
        self,
        ax: Axes | None = None,
        *,
        quantity: Literal["loss", "error"] = "loss",
        **style: Any,
    ) -> Axes:
        """Plot one quantity by the first interpolated layer, with A and B as references.

        Args:
            ax: axes to draw on; a new figure by default.
            quantity: "loss" or "error".
            **style: arguments of `Axes.plot`.

        Returns:
            The axes.
        """
        check_choice("quantity", quantity, Literal["loss", "error"])
        ax = axes_for(ax)
        means = {r.layer: r.mean for r in self.records if r.measure == quantity}
        ends = {name: means.pop(name) for name in (A, B)}
        (line,) = ax.plot(range(len(means)), list(means.values()), **{"marker": "o", **style})
        for (name, value), dashes in zip(ends.items(), ("--", ":"), strict=True):
            ax.axhline(value, linestyle=dashes, color=line.get_color(), alpha=0.6, label=name)
        ax.set_xticks(range(len(means)), list(means), rotation=60, ha="right", fontsize="small")
        ax.set_ylabel(quantity)
        ax.legend(frameon=False)
        return ax


@checks_arguments
def interpolate_features(
    model: nn.Module,
    params_a: Mapping[str, Tensor],
    params_b: Mapping[str, Tensor],
    data: Iterable[Any],
    *,
    alpha: float = 0.5,
    layers: Sequence[str] | None = None,
    loss: Loss = "cross_entropy",
    normalization: LineNormalization = "interpolated",
    statistics: Iterable[Any] | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> FeatureInterpolation:
    r"""Evaluate networks whose features are the average of two networks' from a layer on.

    For a layer \(\ell\), two networks run in lockstep. Before \(\ell\), they are A and B. At
    \(\ell\) and at every later layer, the features of both become \(\alpha h_A + (1-\alpha) h_B\).
    Here \(h_A\) and \(h_B\) are the outputs of A's and B's weights on the previous features. A
    residual connection from before \(\ell\) stays separate until its sum, which is a layer, too.
    The outputs are averaged in the same way.

    An earlier \(\ell\) merges more layers:

    - From the first layer on, a network of linear layers, convolutions and elementwise functions
      equals the one with merged weights, \(\alpha\theta_A + (1-\alpha)\theta_B\). Networks with
      normalization or gates differ slightly.
    - `mixed outputs`, the last row, averages the outputs only. If LLFC holds, the merged network
      has these outputs, so this row is the reference for any merge.

    The rows between them show the cost of merging each layer. Rows `A`, `B` and `merged weights`
    are references. The data are read once for every row.

    Args:
        model: any module that `torch.export` supports; not changed.
        params_a: parameters and buffers of A.
        params_b: parameters and buffers of B.
        data: batches `(inputs, labels)`.
        alpha: weight of A, between 0 and 1.
        layers: as for `measure_llfc`.
        loss: "cross_entropy", "mse" or a function, as for `evaluator`.
        normalization: normalization of `merged weights`, as for `measure_llfc`; all other rows
            have the statistics of A and of B.
        statistics: as for `measure_llfc`.
        progress: called with the number of rows done and their total.

    Returns:
        For each row the mean `loss` and `error` over the examples.

    Raises:
        OneBasinError: parameters, data, alpha or patterns are invalid, or data for statistics are
            missing.
    """
    path = path_between(
        model,
        params_a,
        params_b,
        [alpha],
        normalization=normalization,
        statistics=statistics,
    )
    (alpha,) = path.alphas
    probe = FeatureProbe(model, data, path, layers=layers)
    total = len(probe.layers) + 4
    records: list[FeatureRow] = []

    def add(name: str, evaluation: Evaluation) -> None:
        weight = {A: 1.0, B: 0.0}.get(name, alpha)
        records.extend(
            FeatureRow(name, weight, measure, value, nan, evaluation.num_examples)
            for measure, value in ((LOSS, evaluation.loss), (ERROR, evaluation.error))
        )
        if progress is not None:
            progress(len(records) // 2, total)

    evaluate = Evaluator(as_reiterable(data), loss)
    for name, params in zip((A, B, MERGED), path.params, strict=True):
        add(name, evaluate(FunctionalModel(model, params)))
    nodes = [layer.node for layer in probe.layers]
    for first, layer in enumerate(probe.layers):
        add(layer.name, _MixedNetworks(frozenset(nodes[first:]), alpha, loss).run(probe))
    add(OUTPUTS, _MixedNetworks(frozenset(), alpha, loss).run(probe))
    return FeatureInterpolation(tuple(records), path.normalization)


class _MixedNetworks:
    """Two networks with interpolated features at some nodes."""

    def __init__(self, nodes: frozenset[str], alpha: float, loss: Loss) -> None:
        self.nodes, self.alpha, self.loss = nodes, alpha, loss
        self.total, self.wrong, self.num = 0.0, 0.0, 0

    def run(self, probe: FeatureProbe) -> Evaluation:
        """Return the loss and error of the averaged outputs, after one pass over the data."""
        probe.features.run(probe.path.params[:2], self._make_hook, finish=self._finish)
        if not self.num:
            raise ArgumentError("the data has no labeled examples; pass some")
        return Evaluation(self.total / self.num, self.wrong / self.num, self.num)

    def _make_hook(self, context: BatchContext) -> MultiForwardHook:
        in_place = _in_place(context.graph)

        def hook(name: str, values: Sequence[Tensor]) -> Sequence[Tensor] | None:
            if name not in self.nodes:
                return None
            mix = self._lerp(values)
            if name not in in_place:
                # Separate copies, since later operators may work in place.
                return [mix.clone() for _ in values]
            for value in values:
                value.copy_(mix)
            return None

        return hook

    def _lerp(self, values: Sequence[Tensor]) -> Tensor:
        return lerp(values[0], values[1], self.alpha).to(values[0].dtype)

    def _finish(self, context: BatchContext, outputs: list[list[Tensor]], batch: Any) -> None:
        labels = labels_of(batch, context.number)
        if not labels.is_floating_point() and bool((labels == IGNORE_INDEX).all()):
            return
        mix = self._lerp([output[0] for output in outputs])[: len(labels)]
        evaluation = Evaluator([(mix, labels)], self.loss)(nn.Identity())
        self.num += evaluation.num_examples
        self.total += evaluation.loss * evaluation.num_examples
        self.wrong += evaluation.error * evaluation.num_examples


def _in_place(graph: Graph) -> frozenset[str]:
    """Return the nodes whose operators change their inputs.

    Other nodes may read the same memory under its older name.
    """
    schemas = {
        node.name: getattr(node.target, "_schema", None)
        for node in graph.traced.exported.graph_module.graph.nodes
    }
    return frozenset(name for name, schema in schemas.items() if schema and schema.is_mutable)
