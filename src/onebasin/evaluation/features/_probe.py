"""One pass over data for any number of feature metrics.

A metric receives the values of the layers batch by batch and stores sums only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from onebasin.errors import ArgumentError, check_choice, is_fraction
from onebasin.evaluation._paths import check_same_names, point_between
from onebasin.evaluation.curves import LineNormalization
from onebasin.evaluation.features._batch_dims import BatchDim, find_batch_dims
from onebasin.evaluation.features._layers import Layer, find_layers, names_of
from onebasin.evaluation.features._moments import Sums
from onebasin.evaluation.interpolation import preparation_for
from onebasin.graph.features import BatchContext, Features, check_finite
from onebasin.graph.graph import Call, Graph

Progress = Callable[[int], object]
ALPHAS = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Path:
    """Networks that run in lockstep: A, B and points between them.

    Args:
        params: parameters of A, of B, and of the points.
        alphas: weight of A in each point.
        normalization: source of the points' running statistics.
    """

    params: tuple[Mapping[str, Tensor], ...]
    alphas: tuple[float, ...]
    normalization: LineNormalization = "interpolated"


@dataclass(frozen=True)
class Batch:
    """The current batch.

    Args:
        number: index of the batch.
        graph: graph that runs it.
        num_run: number of examples that are run.
        num: number of examples that count; a single example is run twice.
        axes: batch dimension of each node.
    """

    number: int
    graph: Graph
    num_run: int
    num: int
    axes: Mapping[str, BatchDim]

    def by_example(self, node: str, value: Tensor) -> Shaped[Tensor, "{self.num} d"]:
        """Return a node's value with all features of an example in one row."""
        return self.axes[node].by_example(value, self.num_run)[: self.num]


class FeatureMetric:
    """Base class of feature metrics, whose other methods do nothing.

    A metric receives the layers once, then the values of every batch. The values are valid only
    during the call, so a metric stores sums.
    """

    def start(self, probe: FeatureProbe) -> None:
        """Called before the first batch; stores the probe and empty sums."""
        self.probe = probe
        self.sums = Sums()

    def pre_forward(self, batch: Batch, call: Call) -> None:
        """Called with the arguments of a node, for all networks, before it is run."""

    def forward(self, batch: Batch, layer: Layer, values: Sequence[Tensor]) -> None:
        """Called with the values of a layer, of A, B and the points between them."""

    def end_batch(self, batch: Batch, outputs: Sequence[Tensor], given: Any) -> None:
        """Called with the first output of every network, and the original batch."""


class FeatureProbe:
    """Networks on data, with the layers that are measured.

    Args:
        model: the architecture; any module that `torch.export` supports. Not changed.
        data: batches, as for `Features`.
        path: the networks.
        layers: patterns for names of layers; by default those of `find_layers`.

    Raises:
        OneBasinError: the data, the parameters or the patterns do not match the model.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Iterable[Any],
        path: Path,
        *,
        layers: Sequence[str] | None = None,
    ) -> None:
        """Trace the model and find its layers."""
        self.features = Features(model, data)
        self.path = path
        self.axes = find_batch_dims(self.features.graph, path.params[0], self.features.first)
        self.layers = find_layers(self.features.graph, self.axes, layers)
        self.chosen = None if layers is None else frozenset(layer.node for layer in self.layers)

    def counts(self, node: str) -> bool:
        """Return whether a node is among the selected layers."""
        return self.chosen is None or node in self.chosen

    @property
    def among(self) -> str:
        """Start of a message about missing nodes."""
        return "the model has" if self.chosen is None else "among the chosen layers there is"

    @cached_property
    def names(self) -> Mapping[str, str]:
        """Displayed name of every node."""
        return names_of(self.features.graph)

    def run(self, measures: Sequence[FeatureMetric], progress: Progress | None = None) -> None:
        """Read the data once for all metrics.

        Args:
            measures: the metrics.
            progress: called with the number of batches done.

        Raises:
            OneBasinError: a batch does not match the model, or features are not finite.
        """
        for measure in measures:
            measure.start(self)
        layers = {layer.node: layer for layer in self.layers}

        def make_hook(context: BatchContext) -> Callable[[str, Sequence[Tensor]], None]:
            batch = self._batch(context)

            def hook(name: str, values: Sequence[Tensor]) -> None:
                if name in layers:
                    self._check(values, batch.graph, name)
                    for measure in measures:
                        measure.forward(batch, layers[name], values)

            return hook

        def make_pre_hook(context: BatchContext) -> Callable[[Call], None]:
            batch = self._batch(context)

            def pre_hook(call: Call) -> None:
                for measure in measures:
                    measure.pre_forward(batch, call)

            return pre_hook

        def finish(context: BatchContext, outputs: list[list[Tensor]], given: Any) -> None:
            first_outputs = [values[0] for values in outputs]
            for measure in measures:
                measure.end_batch(self._batch(context), first_outputs, given)

        self.features.run(
            self.path.params,
            make_hook,
            make_pre_hook=make_pre_hook,
            finish=finish,
            progress=progress,
        )

    def _batch(self, context: BatchContext) -> Batch:
        num_run = next(shape[0] for shape in context.graph.shapes if shape)
        num = num_run if context.weight == 1 else num_run // 2
        return Batch(context.number, context.graph, num_run, num, self.axes)

    def _check(self, values: Sequence[Tensor], graph: Graph, node: str) -> None:
        check_finite(values[:2], graph, node)
        for alpha, value in zip(self.path.alphas, values[2:], strict=True):
            if not bool(torch.isfinite(value).all()):
                raise ArgumentError(
                    f"features of the network at alpha {alpha:g} are not finite at "
                    f"{self.names[node]!r}; check A and B for extreme weights"
                )


def run_metric(
    measure: FeatureMetric,
    model: nn.Module,
    ends: tuple[Mapping[str, Tensor], Mapping[str, Tensor]],
    data: Iterable[Any],
    *,
    alphas: Sequence[float] = (),
    layers: Sequence[str] | None = None,
    normalization: LineNormalization = "interpolated",
    statistics: Iterable[Any] | None = None,
    progress: Progress | None = None,
) -> None:
    """Run one metric on two networks and points between them.

    Args:
        measure: the metric.
        model: as for `FeatureProbe`.
        ends: parameters and buffers of A and of B.
        data: as for `FeatureProbe`.
        alphas: as for `path_between`.
        layers: as for `FeatureProbe`.
        normalization: as for `path_between`.
        statistics: as for `path_between`.
        progress: as for `FeatureProbe.run`.

    Raises:
        OneBasinError: as for `path_between` and `FeatureProbe`.
    """
    path = path_between(model, *ends, alphas, normalization=normalization, statistics=statistics)
    FeatureProbe(model, data, path, layers=layers).run([measure], progress)


def path_between(
    model: nn.Module,
    params_a: Mapping[str, Tensor],
    params_b: Mapping[str, Tensor],
    alphas: Sequence[float] = (),
    *,
    normalization: LineNormalization = "interpolated",
    statistics: Iterable[Any] | None = None,
) -> Path:
    """Return two networks and points between them.

    Args:
        model: the architecture.
        params_a: parameters and buffers of A.
        params_b: parameters and buffers of B.
        alphas: weight of A in each point, between 0 and 1; duplicates are removed.
        normalization: "interpolated" interpolates running statistics, "reset" recomputes them on
            data, "repair" and "rescale" set those of all units between those of the endpoints,
            "refit" recomputes all weights; see `repair`.
        statistics: batches for all except "interpolated", usually the training set.

    Raises:
        OneBasinError: A and B do not match, an alpha is not between 0 and 1, or data for
            statistics are missing.
    """
    check_choice("normalization", normalization, LineNormalization)
    check_same_names(params_a, params_b)
    alphas = checked_alphas(alphas)
    points = [point_between(params_a, params_b, alpha) for alpha in alphas]
    if points:
        prepare, _ = preparation_for(model, normalization, statistics, argument="statistics")
        if prepare is not None:
            weights = [{0: alpha, 1: 1 - alpha} for alpha in alphas]
            ends = (params_a, params_b)
            points = [prepare(point, ends, at) for point, at in zip(points, weights, strict=True)]
    return Path((params_a, params_b, *points), alphas, normalization)


def checked_alphas(alphas: Any) -> tuple[float, ...]:
    """Return weights of A as distinct Python floats.

    Args:
        alphas: numbers between 0 and 1, also of NumPy and PyTorch.

    Raises:
        OneBasinError: `alphas` is not iterable, or an alpha is not between 0 and 1.
    """
    try:
        listed = list(alphas)
    except TypeError as error:
        raise ArgumentError(f"alphas is {alphas!r}; pass a list, such as [0.25, 0.5]") from error
    for alpha in listed:
        if not is_fraction(alpha) or float(alpha) in (0.0, 1.0):
            raise ArgumentError(f"alpha is {alpha!r}; it must be between 0 and 1")
    return tuple(dict.fromkeys(map(float, listed)))
