"""Survey: one pass over data in which any number of feature measures look at the networks.

Owns the networks on the path between the ends, the layers, and the calls of a
measure: it receives values batch by batch and keeps sums only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from onebasin.errors import OneBasinError, check_choice, is_fraction
from onebasin.evaluation.curves import LineNormalization
from onebasin.evaluation.features.axes import ExampleAxis, find_axes
from onebasin.evaluation.features.layers import Layer, find_layers, names_of
from onebasin.evaluation.paths import check_same_names, point_between
from onebasin.evaluation.preparation import preparation
from onebasin.graph.features import BatchContext, Features, check_finite
from onebasin.graph.graph import Call, Graph

Progress = Callable[[int], object]
ALPHAS = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Path:
    """The networks that are looked at in step: A, B and points between them.

    Args:
        params: of A, of B, and of the points.
        alphas: share of A in each point.
        normalization: where the points' running statistics come from.
    """

    params: tuple[Mapping[str, Tensor], ...]
    alphas: tuple[float, ...]
    normalization: LineNormalization = "interpolated"


@dataclass(frozen=True)
class Batch:
    """What a measure may know about the batch that is being run.

    Args:
        graph: that runs it.
        num_run: examples that are run.
        num: examples that count: one less where a lone example was doubled.
        axes: for each node where its examples are.
    """

    graph: Graph
    num_run: int
    num: int
    axes: Mapping[str, ExampleAxis]

    def by_example(self, node: str, value: Tensor) -> Shaped[Tensor, "{self.num} d"]:
        """Return a node's value with all features of an example in a row."""
        return self.axes[node].by_example(value, self.num_run)[: self.num]


class Measure:
    """What looks at networks during a survey; a base class that looks at nothing.

    A measure receives the layers once, and then the values of every batch. The values are valid
    only during the call: a measure keeps sums of them.
    """

    def begin(self, survey: Survey) -> None:
        """Take what there is to know before the first batch."""

    def enter(self, batch: Batch, call: Call) -> None:
        """Look at what a node is about to be run on, for all networks."""

    def visit(self, batch: Batch, layer: Layer, values: Sequence[Tensor]) -> None:
        """Look at the values of a layer, of A, B and the points between them."""

    def finish(self, batch: Batch, outputs: Sequence[Tensor], given: Any) -> None:
        """Look at the first counted output of every network, and the batch as it was given."""


class Survey:
    """Networks on data, and the layers at which they are looked at.

    Args:
        model: the architecture; any module that `torch.export` can take. Not changed.
        data: batches, as `Features` takes them.
        path: the networks.
        layers: patterns for names of layers (see `find_layers`); None for the usual ones.
        call: the public function that is running, for messages.

    Raises:
        OneBasinError: when the data, the parameters or the patterns do not fit the model.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Iterable[Any],
        path: Path,
        *,
        layers: Sequence[str] | None = None,
        call: str = "features",
    ) -> None:
        """Trace the model and find its layers."""
        self.features = Features(model, data, call=call)
        self.path, self.call = path, call
        self.axes = find_axes(self.features.graph, path.params[0], self.features.first)
        self.layers = find_layers(self.features.graph, self.axes, layers, call=call)
        self.chosen = None if layers is None else frozenset(each.node for each in self.layers)

    def counts(self, node: str) -> bool:
        """Whether a measure that finds nodes by itself may look at one."""
        return self.chosen is None or node in self.chosen

    @property
    def among(self) -> str:
        """Where a measure looked, for messages."""
        return "the model has" if self.chosen is None else "among the chosen layers there is"

    @cached_property
    def names(self) -> Mapping[str, str]:
        """For every node its name for people."""
        return names_of(self.features.graph)

    def run(self, measures: Sequence[Measure], progress: Progress | None = None) -> None:
        """Read the data once, and let the measures look.

        Args:
            measures: what looks.
            progress: called with the number of batches done.

        Raises:
            OneBasinError: when a batch does not fit the model, or features are not finite.
        """
        for measure in measures:
            measure.begin(self)
        layers = {layer.node: layer for layer in self.layers}
        current: list[Batch] = []

        def visiting(passage: BatchContext) -> Callable[[str, Sequence[Tensor]], None]:
            batch = self._batch(passage)
            current[:] = [batch]

            def visit(name: str, values: Sequence[Tensor]) -> None:
                if name in layers:
                    self._check(values, batch.graph, name)
                    for measure in measures:
                        measure.visit(batch, layers[name], values)

            return visit

        def entering(passage: BatchContext) -> Callable[[Call], None]:
            batch = self._batch(passage)

            def enter(call: Call) -> None:
                for measure in measures:
                    measure.enter(batch, call)

            return enter

        def finish(outputs: list[list[Tensor]], given: Any) -> None:
            for measure in measures:
                measure.finish(current[0], [each[0] for each in outputs], given)

        self.features.run(
            self.path.params, visiting, enter=entering, finish=finish, progress=progress
        )

    def _batch(self, passage: BatchContext) -> Batch:
        num_run = next(shape[0] for shape in passage.graph.shapes if shape)
        num = num_run if passage.weight == 1 else num_run // 2
        return Batch(passage.graph, num_run, num, self.axes)

    def _check(self, values: Sequence[Tensor], graph: Graph, node: str) -> None:
        check_finite(values[:2], graph, node, self.call)
        for alpha, value in zip(self.path.alphas, values[2:], strict=True):
            if not bool(torch.isfinite(value).all()):
                raise OneBasinError(
                    f"{self.call}: the network at alpha {alpha:g} has features that are not finite "
                    f"at {self.names[node]!r}; check A and B for extreme weights"
                )


def run_measure(
    measure: Measure,
    model: nn.Module,
    ends: tuple[Mapping[str, Tensor], Mapping[str, Tensor]],
    data: Iterable[Any],
    *,
    call: str,
    alphas: Sequence[float] = (),
    layers: Sequence[str] | None = None,
    normalization: LineNormalization = "interpolated",
    statistics: Iterable[Any] | None = None,
    progress: Progress | None = None,
) -> None:
    """Let one measure look at two networks and points between them.

    Args:
        measure: what looks.
        model: as for `Survey`.
        ends: parameters and buffers of A and of B.
        data: as for `Survey`.
        call: the public function that is running, for messages.
        alphas: as for `path_between`.
        layers: as for `Survey`.
        normalization: as for `path_between`.
        statistics: as for `path_between`.
        progress: as for `Survey.run`.

    Raises:
        OneBasinError: as for `path_between` and `Survey`.
    """
    path = path_between(
        model, *ends, alphas, normalization=normalization, statistics=statistics, call=call
    )
    Survey(model, data, path, layers=layers, call=call).run([measure], progress)


def path_between(
    model: nn.Module,
    params_a: Mapping[str, Tensor],
    params_b: Mapping[str, Tensor],
    alphas: Sequence[float] = (),
    *,
    normalization: LineNormalization = "interpolated",
    statistics: Iterable[Any] | None = None,
    call: str = "features",
) -> Path:
    """Return two networks and points between them.

    Args:
        model: the architecture.
        params_a: parameters and buffers of A.
        params_b: those of B.
        alphas: share of A in each point, between 0 and 1; equal ones make one point.
        normalization: "interpolated" takes running statistics as they come out of the
            interpolation, "reset" estimates them on data, "repair" and "rescale" bring all units
            to the statistics between those of the ends; see `repair`.
        statistics: batches for all but the first, usually those of the training set.
        call: the public function that is running, for messages.

    Raises:
        OneBasinError: when A and B do not fit each other, an alpha is not between 0 and 1,
            or there is no data for statistics.
    """
    check_choice(call, "normalization", normalization, LineNormalization)
    check_same_names(params_a, params_b)
    alphas = checked_alphas(alphas, call)
    points = [point_between(params_a, params_b, alpha) for alpha in alphas]
    if points:
        prepare, _ = preparation(call, model, normalization, statistics, argument="statistics")
        if prepare is not None:
            shares = [{0: alpha, 1: 1 - alpha} for alpha in alphas]
            ends = (params_a, params_b)
            points = [prepare(point, ends, at) for point, at in zip(points, shares, strict=True)]
    return Path((params_a, params_b, *points), alphas, normalization)


def checked_alphas(alphas: Any, call: str) -> tuple[float, ...]:
    """Return shares of A as Python's own numbers, each once.

    Args:
        alphas: what was given, numbers between 0 and 1; numbers of NumPy and PyTorch will do.
        call: the public function that is running, for messages.

    Raises:
        OneBasinError: when they are not several, or one is not between 0 and 1.
    """
    try:
        given = list(alphas)
    except TypeError as error:
        raise OneBasinError(
            f"{call}: alphas is {alphas!r}; give several, such as [0.25, 0.5]"
        ) from error
    for alpha in given:
        if not is_fraction(alpha) or float(alpha) in (0.0, 1.0):
            raise OneBasinError(f"{call}: alpha is {alpha!r}; it must be between 0 and 1")
    return tuple(dict.fromkeys(map(float, given)))
