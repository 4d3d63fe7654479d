"""Refit of merged networks: each layer reproduces the mean outputs of the sources' layers.

Jin et al. (2023), "Dataless Knowledge Fusion by Merging Weights of Language Models" (RegMean), and
Nasery et al. (2025), "PLeaS: Merging Models with Permutations and Least Squares", solve such
regressions on inputs of the sources. Here the inputs are those of the merged network itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from math import ceil, inf
from typing import Any

import torch
from torch import Tensor, nn

from onebasin._dtypes import round_to
from onebasin._text import counted
from onebasin.errors import OneBasinError, OneBasinWarning
from onebasin.evaluation._refit.held_out import Share
from onebasin.evaluation._refit.joint import TiedUse, fit_jointly
from onebasin.evaluation._refit.layer_fit import LayerFit
from onebasin.evaluation._refit.layers import MAX_UNKNOWNS, RefitLayer, find_layers
from onebasin.evaluation._refit.live_runs import LiveRuns
from onebasin.evaluation._refit.pieces import in_pieces
from onebasin.evaluation._refit.targets import MeanTargets, Targets
from onebasin.evaluation._repair_result import RepairResult, check_found
from onebasin.graph._network_run import Bound
from onebasin.graph.batches import (
    inputs_of,
    is_empty,
    output_of,
    run_model,
)
from onebasin.graph.binding import FunctionalModel, first_names
from onebasin.graph.features import Features
from onebasin.graph.graph import Graph

MAX_ROUNDS = 2
"""Maximum number of joint refits of shared weights, each with another traversal of the graph."""

NOT_BETTER = "its weight is used more than once, and a joint refit was not better on held-out data"


class LayerRefit:
    """Refits any number of networks on the same data; the model is traced once.

    Args:
        model: the architecture; not changed.
        data: batches that can be read again; `run` reads them once.
        graphs: as for `Features`.
        targets: values that the layers are fit to; the means of the sources by default.

    Attributes:
        targets: values that the layers are fit to.
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
        self.targets = targets or MeanTargets()
        self.features = Features(model, in_pieces(data, model), graphs=graphs)
        self.layers, self.skipped = find_layers(self.features.graph)
        check_found(self.layers, self.skipped, "layer that can be refit")

    def of_layer(self, layer: RefitLayer) -> LayerRefit:
        """Return a refit of one of the layers alone, on the same data."""
        refit = copy(self)
        refit.layers, refit.skipped = [layer], {}
        return refit

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
        targets, graph = self.targets, self.features.graph
        original = targets.source_graph(graph, self.features.first)
        (start,) = graph.bind([params])
        rounds = MAX_ROUNDS if any(layer.tie for layer in self.layers) else 0
        job = _Job(original.bind(sources), fractions, targets, _Progress(progress, 1 + rounds))
        found = self._traverse(job, start)
        if found.uses:
            outputs = _HeldOutOutputs(self.features, params, original.model, sources, fractions)
            found = self._refit_jointly(found, job, start, outputs)
        job.progress.finish()
        note = found.needed.note()
        if note is not None:
            warnings.warn(note, OneBasinWarning, stacklevel=2)
        skipped = {**self.skipped, **found.rejected}
        sites = tuple(site for site in self.sites if site not in found.rejected)
        return RepairResult(stored_tensors(found.network, params), sites, skipped, found.ridges)

    def _traverse(self, job: _Job, start: Bound) -> _Traversal:
        """Refit all layers with weights of their own, and collect the equations of the others."""
        found = _Traversal(copied_network(start, self.features.model))
        runs = LiveRuns(self.features, [*job.sources, found.network], job.targets)
        steps = [(layer, each) for layer in self.layers for each in layer.blocks(MAX_UNKNOWNS)]
        try:
            for step, (layer, block) in enumerate(steps):
                fit = LayerFit(
                    layer, found.network, job.targets, job.fractions, block, runs.num_batches
                )
                for number, (context, each) in enumerate(runs, start=1):
                    fit.add(context, each)
                    job.progress.report(step * (runs.num_batches or 0) + number, len(steps))
                if layer.tie is None:
                    found.ridges[layer.label] = fit.finish().ridge
                else:
                    found.uses.setdefault(layer.tie.weight, []).append(fit.use())
                found.needed.add(layer, fit)
            job.progress.end_traversal(runs.num_batches)
        finally:
            runs.close()
        return found

    def _refit_jointly(
        self,
        found: _Traversal,
        job: _Job,
        start: Bound,
        outputs: _HeldOutOutputs,
    ) -> _Traversal:
        """Refit shared weights, then all other layers again, while held-out outputs improve."""
        for number in range(MAX_ROUNDS):
            start, ridges = _with_joint_changes(start, found.uses)
            found.uses.clear()  # the equations of a head are large
            if set(ridges.values()) == {inf}:
                if not number:
                    found.ridges |= ridges
                return found
            other = self._traverse(job, start)
            if not outputs.are_closer(other.network, found.network):
                if not number:
                    found.rejected = dict.fromkeys(ridges, NOT_BETTER)
                return found
            other.ridges |= ridges
            found = other
        return found


def copied_network(bound: Bound, model: nn.Module) -> Bound:
    """Return a network whose tensors can be overwritten; tensors that the model ties stay tied."""
    first = first_names(model)
    copies = {name: bound.values[name].detach().clone() for name in {*first.values()}}
    return Bound({name: copies[first[name]] for name in bound.values}, bound.precision)


def stored_tensors(merged: Bound, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a network in the dtypes of its state dict."""
    values = {name: merged.values.get(name, own).to(own.device) for name, own in params.items()}
    return {
        name: round_to(f"tensor {name!r}", value, params[name].dtype)
        for name, value in values.items()
    }


def _with_joint_changes(
    start: Bound, uses: Mapping[str, Sequence[TiedUse]]
) -> tuple[Bound, dict[str, float]]:
    """Return a network with its shared weights refit, and the ridge of each use by its label."""
    values, ridges = dict(start.values), {}
    for weight, each in uses.items():
        joint = fit_jointly(each)
        ridges |= {use.layer.label: joint.ridge for use in each}
        own = values[weight]
        values[weight] = own + each[0].parameter(joint.change, own.shape).to(own.dtype)
        for name, change in joint.biases.items():
            values[name] = values[name] + change.reshape(values[name].shape).to(own.dtype)
    return Bound(values, start.precision), ridges


@dataclass
class _Traversal:
    """The result of one traversal of the graph.

    Args:
        network: the refit network.
        ridges: ridge of each layer.
        uses: equations of the layers with shared weights, by the name of the weight.
        needed: layers with too few examples.
        rejected: layers that keep the average, with the reason.
    """

    network: Bound
    ridges: dict[str, float] = field(default_factory=dict)
    uses: dict[str, list[TiedUse]] = field(default_factory=dict)
    needed: _Needed = field(default_factory=lambda: _Needed())
    rejected: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Job:
    """The arguments of all traversals.

    Args:
        sources: tensors of the sources.
        fractions: weights of the sources.
        targets: values that the layers are fit to.
        progress: reports progress.
    """

    sources: Sequence[Bound]
    fractions: Sequence[float]
    targets: Targets
    progress: _Progress


@dataclass(frozen=True)
class _HeldOutOutputs:
    """The mean outputs of the sources on the held-out data.

    Args:
        features: the model of the merged network, and the data.
        params: parameters and buffers of the merged network, whose dtypes are used.
        original: the model of the sources.
        sources: parameters and buffers of the sources.
        fractions: weights of the sources.
    """

    features: Features
    params: Mapping[str, Tensor]
    original: nn.Module
    sources: Sequence[Mapping[str, Tensor]]
    fractions: Sequence[float]

    def are_closer(self, new: Bound, old: Bound) -> bool:
        """Return whether outputs of a network are closer to them than those of another."""
        try:
            new_error, old_error = self._errors([new, old])
        except OneBasinError:  # outputs that cannot be compared, such as a mapping of boxes
            return False
        return new_error < old_error

    def _errors(self, networks: Sequence[Bound]) -> list[float]:
        """Return the squared distance of the outputs of each network from the mean outputs."""
        model = self.features.model
        candidates = [
            FunctionalModel(model, stored_tensors(each, self.params)) for each in networks
        ]
        sources = [FunctionalModel(self.original, each) for each in self.sources]
        errors = [0.0] * len(networks)
        for batch in Share(self.features.data, is_held_out=True):
            if is_empty(batch):
                continue
            rows = [_outputs(each, batch) for each in sources]
            mean = sum(share * each for share, each in zip(self.fractions, rows, strict=True))
            for number, each in enumerate(candidates):
                errors[number] += float((_outputs(each, batch) - mean).square().sum())
        return errors


def _outputs(network: FunctionalModel, batch: Any) -> Tensor:
    return output_of(run_model(network, inputs_of(batch))).double()


class _Progress:
    """Reports the part of several traversals that is done, in batches.

    Args:
        report: called with the number of batches; None reports nothing.
        num_traversals: maximum number of traversals.
    """

    def __init__(self, report: Callable[[int], object] | None, num_traversals: int) -> None:
        """Initialize without progress."""
        self._report, self._num_traversals = report, num_traversals
        self._num_done, self._num_batches = 0, 0

    def report(self, done: int, num_steps: int) -> None:
        """Report batches of the present traversal, which has some steps for each batch."""
        if self._report is not None:
            before = self._num_done * self._num_batches
            self._report((before + done // num_steps) // self._num_traversals)

    def end_traversal(self, num_batches: int | None) -> None:
        """Count a traversal."""
        self._num_done, self._num_batches = self._num_done + 1, num_batches or 0

    def finish(self) -> None:
        """Report that all batches are done."""
        if self._report is not None and self._num_done < self._num_traversals:
            self._report(self._num_batches)


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
