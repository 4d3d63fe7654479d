"""The choice of a repair by the outputs of the repaired network on held-out data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan
from typing import Any
from warnings import catch_warnings, simplefilter

from torch import Tensor, nn

from onebasin.errors import OneBasinError, OneBasinWarning
from onebasin.evaluation._paths import normalize_weights
from onebasin.evaluation._refit.held_out import HELD_OUT, Share
from onebasin.evaluation._refit.pieces import in_pieces
from onebasin.evaluation._repair import Method, OutputKind, repair, repairer_for, run_repair
from onebasin.evaluation._repair_result import RepairResult
from onebasin.evaluation.output_distances import compare_outputs
from onebasin.graph._normalization import layers_with_statistics
from onebasin.graph.batches import Batches
from onebasin.graph.graph import Graph


@dataclass(frozen=True)
class RepairChoice:
    """A repair that was chosen on held-out data, without labels.

    Args:
        method: the chosen repair.
        distances: for each repair the distance of the merged network's outputs from the mean
            outputs of the sources, on the held-out data; see `OutputDistance`. Empty if there
            were too few batches to hold some out.
        num_examples: number of held-out rows of outputs.
    """

    method: Method
    distances: Mapping[Method, float]
    num_examples: int = 0


def repair_best(
    model: nn.Module,
    params: Mapping[str, Tensor],
    sources: Sequence[Mapping[str, Tensor]],
    data: Iterable[Any],
    *,
    weights: Sequence[int | float] | None = None,
    outputs: OutputKind = "values",
    progress: Callable[[int], object] | None = None,
) -> tuple[RepairResult, RepairChoice]:
    """Repair a merged network by the method that is best on held-out data.

    Reset (for networks with running statistics), repair and refit are computed on four fifths of
    the batches. The one whose outputs are closest to the mean outputs of the sources on the other
    batches is then computed on all of them.

    Args:
        model: the architecture; not changed.
        params: parameters and buffers of the merged network; not changed.
        sources: parameters and buffers of the aligned source networks.
        data: batches in random order that can be read again; labels are ignored.
        weights: weights of the sources in the merged network; equal by default.
        outputs: as for `repair`; used by the final repair.
        progress: called with the number of batches done by the final repair.

    Returns:
        The repaired network, and the choice.

    Raises:
        OneBasinError: the data are empty, features are not finite, or the model has no layer that
            can be repaired.
    """
    fractions = normalize_weights(weights, len(sources))
    pieces = in_pieces(data, model, 2 * HELD_OUT)
    if not isinstance(pieces, Batches):  # a shuffling loader has another order in each pass
        pieces = list(pieces)
    merged = _Merged(model, params, sources, fractions)
    with catch_warnings():  # too few examples: the final repair warns of them
        simplefilter("ignore", OneBasinWarning)
        choice = _choose(merged, pieces)
    # The statistics of a batch are better for the batches of the user, which are larger.
    used = pieces if choice.method == "refit" else data
    return merged.repaired(choice.method, used, progress, outputs), choice


@dataclass(frozen=True)
class _Merged:
    """A network to repair.

    Args:
        model: the architecture.
        params: parameters and buffers of the merged network.
        sources: parameters and buffers of the sources.
        fractions: weights of the sources.
        graphs: graphs of the model by the shapes of batches.
    """

    model: nn.Module
    params: Mapping[str, Tensor]
    sources: Sequence[Mapping[str, Tensor]]
    fractions: Sequence[float]
    graphs: dict[Any, Graph] = field(default_factory=dict)

    def repaired(
        self,
        method: Method,
        data: Iterable[Any],
        progress: Callable[[int], object] | None = None,
        outputs: OutputKind = "values",
    ) -> RepairResult:
        """Return the network repaired by a method."""
        if method == "reset":
            return repair(self.model, self.params, self.sources, data, method="reset")
        repairer = repairer_for(self.model, data, method, graphs=self.graphs)
        return run_repair(
            repairer, self.params, self.sources, self.fractions, outputs, progress=progress
        )


def _choose(merged: _Merged, data: Iterable[Any]) -> RepairChoice:
    """Choose the method by the outputs on a held-out share of the data."""
    methods: list[Method] = ["repair", "refit"]
    if layers_with_statistics(merged.model):
        methods.insert(0, "reset")
    fitted, held_out = Share(data, is_held_out=False), Share(data, is_held_out=True)
    if next(iter(held_out), None) is None:
        return RepairChoice(methods[0], {})
    networks: dict[str, Mapping[str, Tensor]] = {}
    errors: list[OneBasinError] = []
    for method in methods:
        try:
            networks[method] = merged.repaired(method, fitted).params
        except OneBasinError as error:  # such as a model without layers of this kind
            errors.append(error)
    if not networks:
        raise errors[0]
    known: list[Method] = [method for method in methods if method in networks]
    shares = {f"source {number}": share for number, share in enumerate(merged.fractions)}
    networks |= dict(zip(shares, merged.sources, strict=True))
    try:
        found = compare_outputs(merged.model, networks, held_out, reference=shares)
    except OneBasinError:  # outputs that cannot be compared, such as a mapping of boxes
        return RepairChoice(known[0], {})
    distances: dict[Method, float] = {method: found[method].distance for method in known}
    best = min(known, key=lambda method: (isnan(distances[method]), distances[method]))
    return RepairChoice(best, distances, found[best].num_examples)
