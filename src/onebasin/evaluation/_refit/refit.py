"""Refit of merged networks: each layer reproduces the mean outputs of the sources' layers.

Jin et al. (2023), "Dataless Knowledge Fusion by Merging Weights of Language Models" (RegMean), and
Nasery et al. (2025), "PLeaS: Merging Models with Permutations and Least Squares", solve such
regressions on inputs of the sources. Here the inputs are those of the merged network itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from onebasin._dtypes import round_to
from onebasin._text import counted
from onebasin.errors import OneBasinWarning
from onebasin.evaluation._refit.layer_fit import HELD_OUT, LayerFit
from onebasin.evaluation._refit.layers import MAX_UNKNOWNS, RefitLayer, find_layers
from onebasin.evaluation._refit.live_runs import LiveRuns
from onebasin.evaluation._refit.targets import MeanTargets, Targets
from onebasin.evaluation._repair_result import RepairResult, check_found
from onebasin.graph._network_run import Bound
from onebasin.graph.batches import Batches, as_reiterable, inputs_of, is_empty, shuffled
from onebasin.graph.binding import first_names
from onebasin.graph.features import Features
from onebasin.graph.graph import Graph


class LayerRefit:
    """Refits any number of networks on the same data; the model is traced once.

    Args:
        model: the architecture; not changed.
        data: batches that can be read again; `run` reads them once.
        graphs: as for `Features`.
        targets: values that the layers are fit to; the means of the sources by default.

    Attributes:
        layers: the layers that are refit, in the order of the forward pass.
        skipped: layers that cannot be refit, with the reason.

    Raises:
        OneBasinError: the data are empty, or the model has no layer that can be refit.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Iterable[Any],
        *,
        graphs: dict[Any, Graph] | None = None,
        targets: Targets | None = None,
    ) -> None:
        """Trace the model and find its layers."""
        self._targets = targets
        self.features = Features(model, in_pieces(data), graphs=graphs)
        self.layers, self.skipped = find_layers(self.features.graph)
        check_found(self.layers, self.skipped, "layer that can be refit")

    @property
    def sites(self) -> tuple[str, ...]:
        """The labels of the layers."""
        return tuple(layer.label for layer in self.layers)

    @torch.no_grad()
    def run(
        self,
        params: Mapping[str, Tensor],
        sources: Sequence[Mapping[str, Tensor]],
        fractions: Sequence[float],
        *,
        progress: Callable[[int], object] | None = None,
    ) -> RepairResult:
        """Refit a network, layer by layer in the order of the forward pass.

        Args:
            params: parameters and buffers of the merged network.
            sources: parameters and buffers of the aligned source networks.
            fractions: weight of each source; their sum is 1.
            progress: called with the part of the work that is done, in batches.

        Raises:
            OneBasinError: features are not finite.
        """
        targets = self._targets or MeanTargets(fractions)
        graph = self.features.graph
        bound = targets.source_graph(graph, self.features.first).bind(sources)
        (merged,) = graph.bind([params])
        merged = _copied(merged, self.features.model)
        runs = LiveRuns(self.features, [*bound, merged], targets)
        steps = [(layer, each) for layer in self.layers for each in layer.blocks(MAX_UNKNOWNS)]
        ridges, needed = {}, _Needed()
        try:
            for step, (layer, block) in enumerate(steps):
                fit = LayerFit(layer, merged, targets, block, runs.num_batches)
                for number, (context, each) in enumerate(runs, start=1):
                    fit.add(context, each)
                    if progress is not None:
                        done = step * (runs.num_batches or 0) + number
                        progress(done // len(steps))
                ridges[layer.label] = fit.finish().ridge
                needed.add(layer, fit)
        finally:
            runs.close()
        note = needed.note()
        if note is not None:
            warnings.warn(note, OneBasinWarning, stacklevel=2)
        return RepairResult(_stored(merged, params), self.sites, self.skipped, ridges)


def in_pieces(data: Iterable[Any], number: int = HELD_OUT) -> Iterable[Any]:
    """Return data in enough batches to hold some out, with examples of `Batches` shuffled.

    Args:
        data: batches that can be read again.
        number: number of batches that are enough.
    """
    if isinstance(data, Batches):
        size = min(data.batch_size, max(2, ceil(len(data.inputs) / number)))
        return shuffled(replace(data, batch_size=size))
    if len(list(islice(as_reiterable(data), number))) == number:
        return data
    pieces = (each for batch in data if not is_empty(batch) for each in _pieces(batch, number))
    return [(piece, None) for piece in pieces]


def _pieces(batch: Any, number: int) -> Iterator[Any]:
    """Yield the inputs of a batch in parts of its examples; whole if it is small."""
    inputs = inputs_of(batch)
    leaves, structure = pytree.tree_flatten(inputs)
    sizes = {len(leaf) for leaf in leaves if isinstance(leaf, Tensor) and leaf.dim()}
    if len(sizes) != 1 or min(sizes) < 2 * number:
        yield inputs
        return
    parts = (
        leaf.tensor_split(number) if isinstance(leaf, Tensor) and leaf.dim() else [leaf] * number
        for leaf in leaves
    )
    for part in zip(*parts, strict=True):
        yield pytree.tree_unflatten(part, structure)


def _copied(bound: Bound, model: nn.Module) -> Bound:
    """Return a network whose tensors can be overwritten; tensors that the model ties stay tied."""
    first = first_names(model)
    copies = {name: bound.values[name].detach().clone() for name in {*first.values()}}
    return Bound({name: copies[first[name]] for name in bound.values}, bound.precision)


def _stored(merged: Bound, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a network in the dtypes of its state dict."""
    values = {name: merged.values.get(name, own).to(own.device) for name, own in params.items()}
    return {
        name: round_to(f"tensor {name!r}", value, params[name].dtype)
        for name, value in values.items()
    }


class _Needed:
    """Counts the layers with fewer rows than unknowns, and the examples that they need."""

    def __init__(self) -> None:
        """Initialize without layers."""
        self.labels: set[str] = set()
        self.factor, self.label = 1.0, ""

    def add(self, layer: RefitLayer, fit: LayerFit) -> None:
        """Add a finished layer, or a block of its inputs."""
        total = fit.fitted + fit.held_out
        factor = (layer.num_inputs + total.has_bias) / max(total.count, 1)
        if factor > 1:
            self.labels.add(layer.label)
        if factor > self.factor:
            self.factor, self.label = factor, layer.label

    def note(self) -> str | None:
        """Return the warning, or None."""
        if not self.labels:
            return None
        return (
            f"{counted(len(self.labels), 'layer')} with more unknowns than rows of data; the refit "
            f"stays close to the average there. Pass at least {ceil(self.factor)} times as many "
            f"examples (for layer {self.label!r})"
        )
