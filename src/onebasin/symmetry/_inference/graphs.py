"""The graphs of one model that constrain its symmetry.

One graph describes a model at one input shape in evaluation mode. Further graphs are needed
if the model behaves differently at other shapes or in training mode. An export is slow, so
recordings of the forward pass, which are fast, decide whether it is needed.

If the recordings at two shapes agree (see `comparison`), both graphs contain the same operators
on the same parameters, and the same rules apply. Every input size is enlarged and reduced, if
the model accepts that, and set to the sizes at which a condition of the model changes.
Dimensions of equal size change together.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from onebasin.symmetry._inference.branches import variations_at_branches
from onebasin.symmetry._inference.export import Exported, export_variant, silenced
from onebasin.symmetry._inference.recording import CallRecorder, RecordedCall
from onebasin.symmetry._inference.variations import Variation, changed_state, find_variations

MAX_BRANCHES = 8
LONGER = 2
"""A longer recording than this multiple of the first one is a longer loop."""


@dataclass
class OtherGraphs:
    """Further graphs of a model.

    Args:
        graphs: graphs at other shapes and in training mode.
        fixed: state tensors that may be read differently at a shape that the model accepts
            but `torch.export` does not support.
    """

    graphs: list[Exported] = field(default_factory=list)
    fixed: set[str] = field(default_factory=set)


def graphs_at_other_shapes(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    outputs: Callable[[Any], Any] | None,
) -> OtherGraphs:
    """Export a model at shapes at which it behaves differently than at the given ones.

    Args:
        model: the model.
        args, kwargs: example inputs, whose graph is known.
        outputs: selection of outputs.
    """
    with silenced():
        return _graphs_at_other_shapes(model, args, kwargs, outputs)


def _graphs_at_other_shapes(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    outputs: Callable[[Any], Any] | None,
) -> OtherGraphs:
    recorder = CallRecorder(model)
    base = recorder.record(args, kwargs)
    if base is None:
        return _graphs_unrecorded(model, args, kwargs, outputs)
    others, known = OtherGraphs(), [base]
    for variation, calls in _recorded_variations(model, recorder, args, kwargs):
        changed = _least_change(known, calls)
        if changed is None and not variation.enlarges_one:
            continue
        graph = export_variant(model, variation.args, variation.kwargs, outputs)
        if graph is None:
            others.fixed |= _all_state(calls) if changed is None else changed
        else:
            others.graphs.append(graph)
            known.append(calls)
    return others


def _recorded_variations(
    model: nn.Module, recorder: CallRecorder, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Iterator[tuple[Variation, list[RecordedCall]]]:
    """Yield accepted inputs of other shapes with their recordings, shorter recordings first."""
    records: dict[int, list[RecordedCall]] = {}

    def accepts(variation: Variation) -> bool:
        calls = recorder.record(variation.args, variation.kwargs)
        if calls is not None:
            records[id(variation)] = calls
        return calls is not None

    variations = find_variations(args, kwargs, accepts)
    for variation in sorted(variations, key=lambda v: len(records[id(v)])):
        yield variation, records[id(variation)]
    yield from _recorded_branches(model, recorder, args, kwargs)


def _recorded_branches(
    model: nn.Module, recorder: CallRecorder, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Iterator[tuple[Variation, list[RecordedCall]]]:
    """Yield inputs at which conditions on sizes lead to further branches, with recordings.

    A branch may have further conditions. Longer loops are skipped.
    """
    base = recorder.record(args, kwargs)
    if base is None or not recorder.reads_sizes:
        return
    pending, known = [Variation(args, dict(kwargs))], [base]
    max_calls = LONGER * len(base)
    while pending and len(known) <= MAX_BRANCHES:
        current = pending.pop(0)
        for variation in variations_at_branches(model, current.args, current.kwargs):
            calls = recorder.record(variation.args, variation.kwargs, max_calls=max_calls)
            if calls is not None and _least_change(known, calls) is not None:
                known.append(calls)
                pending.append(variation)
                yield variation, calls


def inputs_at_branches(
    model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> list[Variation]:
    """Return inputs at which a condition on sizes changes the behavior of a model.

    Args:
        model: the model.
        args, kwargs: example inputs.
    """
    with silenced():
        branches = _recorded_branches(model, CallRecorder(model), args, kwargs)
        return [variation for variation, _ in branches]


def _least_change(
    known: Sequence[Sequence[RecordedCall]], calls: Sequence[RecordedCall]
) -> set[str] | None:
    """Return the state tensors read differently than in the first recording; None if any agrees."""
    changes = [changed_state(record, calls) for record in known]
    return None if None in changes else changes[0]


def _all_state(calls: Sequence[RecordedCall]) -> set[str]:
    """Return all state tensors that a recording reads."""
    return set().union(*(call.state for call in calls))


def _graphs_unrecorded(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    outputs: Callable[[Any], Any] | None,
) -> OtherGraphs:
    """Export a model at every other accepted shape, for models that cannot be recorded."""
    others = OtherGraphs()

    def accepts(variation: Variation) -> bool:
        graph = export_variant(model, variation.args, variation.kwargs, outputs)
        others.graphs += [graph] if graph is not None else []
        return graph is not None

    find_variations(args, kwargs, accepts)
    return others


def graph_in_training(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    outputs: Callable[[Any], Any] | None,
    unused: Collection[str],
) -> list[Exported]:
    """Export a model in training mode if evaluation leaves parameters unused.

    Args:
        model: the model.
        args, kwargs: example inputs.
        outputs: selection of outputs.
        unused: parameters that no graph so far depends on.

    Returns:
        The graph; empty if all parameters are used or `torch.export` does not support it.
    """
    if not unused:
        return []
    graph = export_variant(model, args, kwargs, outputs, training=True)
    return [] if graph is None else [graph]
