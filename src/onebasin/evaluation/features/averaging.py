"""Averaging: a network whose features are the mix of two networks', as what a merge could reach.

Owns running two networks that meet at a layer, and the loss of what they give.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor, nn

from onebasin._checks import checks_arguments
from onebasin.errors import OneBasinError, check_choice
from onebasin.evaluation.curves import LineNormalization
from onebasin.evaluation.evaluation import Evaluation, Evaluator, Loss
from onebasin.evaluation.features.comparison import mixed
from onebasin.evaluation.features.lemma import labels_of
from onebasin.evaluation.features.survey import Survey, path_between
from onebasin.evaluation.features.table import FeatureRow, FeatureTable
from onebasin.evaluation.results import axes_for
from onebasin.graph.batches import IGNORED, rereadable
from onebasin.graph.binding import FunctionalModel
from onebasin.graph.features import BatchContext
from onebasin.graph.graph import Graph, MultiForwardHook

if TYPE_CHECKING:
    from matplotlib.axes import Axes

A, B, MERGED, OUTPUTS = "A", "B", "merged weights", "mixed outputs"
LOSS, ERROR = "loss", "error"


@dataclass(frozen=True)
class Averaging(FeatureTable):
    """Loss and error by the layer from which on features are mixed; from `average_features`."""

    def plot(
        self,
        ax: Axes | None = None,
        *,
        alpha: float | None = None,
        quantity: Literal["loss", "error"] = "loss",
        **style: Any,
    ) -> Axes:
        """Draw one quantity by the layer from which on features are mixed, and A's and B's.

        Args:
            ax: where to draw; a new figure without it.
            alpha: not used; there is one.
            quantity: "loss" or "error".
            **style: passed on to `Axes.plot`.

        Returns:
            The axes.
        """
        del alpha
        check_choice("plot", "quantity", quantity, Literal["loss", "error"])
        ax = axes_for(ax)
        found = {r.layer: r.mean for r in self.records if r.measure == quantity}
        ends = {name: found.pop(name) for name in (A, B)}
        (line,) = ax.plot(range(len(found)), list(found.values()), **{"marker": "o", **style})
        for (name, value), dashes in zip(ends.items(), ("--", ":"), strict=True):
            ax.axhline(value, linestyle=dashes, color=line.get_color(), alpha=0.6, label=name)
        ax.set_xticks(range(len(found)), list(found), rotation=60, ha="right", fontsize="small")
        ax.set_ylabel(quantity)
        ax.legend(frameon=False)
        return ax


@checks_arguments
def average_features(
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
) -> Averaging:
    r"""Evaluate networks whose features are the mix of two networks' from a layer on.

    For a layer \(\ell\) two networks run in step. Before \(\ell\) each is itself, A or B. At
    \(\ell\) and at every layer after it, the features of both become \(\alpha h_A +
    (1-\alpha) h_B\), \(h_A\) and \(h_B\) being what A's and B's own weights make of what
    came before: from \(\ell\) on both go the same way. What a residual connection brings from
    before \(\ell\) is each network's own until its sum, which is a layer, too. The outputs
    are averaged in the same way.

    The earlier \(\ell\), the more is merged:

    - from the first layer on, a network of linear layers, convolutions and functions of each
      entry is the one with merged weights, \(\alpha\theta_A + (1-\alpha)\theta_B\); a network
      with normalization or gates is not quite;
    - `mixed outputs`, the last row, mixes the outputs alone. Its features are the mix of the
      ends' at every layer: the network that LLFC promises, the reference for any merge.

    Between them, the rows show which layers' merging costs what. Rows `A`, `B` and `merged
    weights` are there to compare with; the data is read once for every row.

    Args:
        model: any module that `torch.export` can take; not changed.
        params_a: parameters and buffers of A.
        params_b: those of B.
        data: batches `(inputs, labels)`.
        alpha: share of A, between 0 and 1.
        layers: patterns for names of layers, at which features are mixed and one after the
            other is the first; None for the usual ones (see `find_layers`).
        loss: "cross_entropy", "mse" or a function, as for `evaluator`.
        normalization: of `merged weights`, as for `measure_llfc`; all other rows have the
            statistics of A and of B.
        statistics: as for `measure_llfc`.
        progress: called with the number of rows done and their total.

    Returns:
        For each row the mean `loss` and `error`, over the examples.

    Raises:
        OneBasinError: when parameters, data, alpha or patterns do not fit, or there is no data
            for statistics.
    """
    path = path_between(
        model,
        params_a,
        params_b,
        [alpha],
        normalization=normalization,
        statistics=statistics,
        call="averaging",
    )
    (alpha,) = path.alphas
    survey = Survey(model, data, path, layers=layers, call="averaging")
    total = len(survey.layers) + 4
    records: list[FeatureRow] = []

    def add(name: str, found: Evaluation) -> None:
        share = {A: 1.0, B: 0.0}.get(name, alpha)
        records.extend(
            FeatureRow(name, share, measure, value, nan, found.num_examples)
            for measure, value in ((LOSS, found.loss), (ERROR, found.error))
        )
        if progress is not None:
            progress(len(records) // 2, total)

    evaluate = Evaluator(rereadable(data, "averaging"), loss)
    for name, params in zip((A, B, MERGED), path.params, strict=True):
        add(name, evaluate(FunctionalModel(model, params)))
    nodes = [layer.node for layer in survey.layers]
    for first, layer in enumerate(survey.layers):
        add(layer.name, _Meeting(frozenset(nodes[first:]), alpha, loss).run(survey))
    add(OUTPUTS, _Meeting(frozenset(), alpha, loss).run(survey))
    return Averaging(tuple(records), path.normalization)


class _Meeting:
    """Two networks that go the same way at some nodes."""

    def __init__(self, nodes: frozenset[str], alpha: float, loss: Loss) -> None:
        self.nodes, self.alpha, self.loss = nodes, alpha, loss
        self.total, self.wrong, self.num = 0.0, 0.0, 0

    def run(self, survey: Survey) -> Evaluation:
        """Return the loss and error of the mixed outputs, after one pass over the data."""
        survey.features.run(survey.path.params[:2], self._visiting, finish=self._finish)
        if not self.num:
            raise OneBasinError("averaging: the data has no labeled examples; pass some")
        return Evaluation(self.total / self.num, self.wrong / self.num, self.num)

    def _visiting(self, passage: BatchContext) -> MultiForwardHook:
        in_place = _in_place(passage.graph)

        def visit(name: str, values: Sequence[Tensor]) -> Sequence[Tensor] | None:
            if name not in self.nodes:
                return None
            mix = self._mix(values)
            if name not in in_place:
                # Copies of their own, which later operators may write to.
                return [mix.clone() for _ in values]
            for value in values:
                value.copy_(mix)
            return None

        return visit

    def _mix(self, values: Sequence[Tensor]) -> Tensor:
        return mixed(values[0], values[1], self.alpha).to(values[0].dtype)

    def _finish(self, outputs: list[list[Tensor]], given: Any) -> None:
        labels = labels_of(given, "averaging")
        if not labels.is_floating_point() and bool((labels == IGNORED).all()):
            return
        mix = self._mix([each[0] for each in outputs])[: len(labels)]
        found = Evaluator([(mix, labels)], self.loss)(nn.Identity())
        self.num += found.num_examples
        self.total += found.loss * found.num_examples
        self.wrong += found.error * found.num_examples


def _in_place(graph: Graph) -> frozenset[str]:
    """Return the nodes whose operators write to what they are given.

    What they give is the memory that other nodes may read under its older name.
    """
    schemas = {
        node.name: getattr(node.target, "_schema", None)
        for node in graph.traced.exported.graph_module.graph.nodes
    }
    return frozenset(name for name, schema in schemas.items() if schema and schema.is_mutable)
