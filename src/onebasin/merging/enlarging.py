"""Merging into a network of a size between that of one and of all sources."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from onebasin._text import counted
from onebasin.errors import ArgumentError, check_choice
from onebasin.evaluation._refit.pieces import in_pieces
from onebasin.evaluation._refit.refit import LayerRefit
from onebasin.evaluation._repair import OutputKind, run_repair
from onebasin.evaluation._repair_result import RepairResult
from onebasin.graph.contractions import contracted_dims
from onebasin.graph.features import Features
from onebasin.merging._enlarging.choice import choose_units, unit_errors, unit_gains
from onebasin.merging._enlarging.groups import EnlargedCheck
from onebasin.merging._enlarging.targets import EnlargedTargets
from onebasin.merging._resizing import resized_to
from onebasin.symmetry._enlargement import Enlargement
from onebasin.symmetry.symmetry import Symmetry

MAX_EXAMPLES = 1000
"""Number of examples on which units are compared."""

NUM_CHECKED = 4
"""Number of examples on which enlarged networks are checked."""

SMALLER = "choose a smaller size, such as 1.2"


@dataclass(frozen=True)
class Enlarged:
    """A network with more units than each of its sources.

    Args:
        params: its parameters and buffers.
        module: the architecture with its sizes.
        num_parameters: number of its parameters, and that of each source.
        num_separate: for each group the number of units that are kept separate.
        fixed: reasons for groups whose units are all merged.
        repaired: result of the refit; None if nothing is merged.
    """

    params: Mapping[str, Tensor]
    module: nn.Module
    num_parameters: tuple[int, int]
    num_separate: Mapping[str, int]
    fixed: Mapping[str, str]
    repaired: RepairResult | None

    def to_text(self) -> str:
        """Return a summary as one line."""
        own, of_source = self.num_parameters
        separate = sum(self.num_separate.values())
        return (
            f"size: {counted(separate, 'unit')} kept from every network; {own:,} parameters, "
            f"{own / of_source:.2f} times those of one network"
        )

    def to_json(self) -> dict[str, Any]:
        """Return a summary as plain JSON values."""
        own, of_source = self.num_parameters
        return {
            "parameters": own,
            "parameters_of_source": of_source,
            "separate_units": dict(self.num_separate),
            "fixed_groups": dict(self.fixed),
        }


def merge_enlarged(
    model: nn.Module,
    params_list: Sequence[Mapping[str, Tensor]],
    symmetry: Symmetry,
    data: Iterable[Any],
    *,
    size: int | float,
    weights: Sequence[int | float],
    equal: Sequence[Collection[str]] | None = None,
    outputs: OutputKind = "values",
    progress: Callable[[int], object] | None = None,
) -> Enlarged:
    r"""Merge networks into a larger one, which keeps badly matched units of every source.

    A layer of the enlarged network computes the mean of the sources for merged units, and
    the values of one source for its separate units (Nasery et al. 2025, "PLeaS"). The
    units are chosen by the error that merging them causes in the next layers, per parameter. Then
    all layers are refit; see `repair`.

    Args:
        model: the architecture; not changed.
        params_list: parameters and buffers of the aligned networks.
        symmetry: symmetry of the architecture.
        data: unlabeled batches that can be read again.
        size: maximum number of weights between units of one network, as a multiple of the number
            of parameters of one network. It is at least 1 and at most the number of networks; the
            maximum keeps all units, has the mean output, and needs no refit. Weights between
            separate units of different networks do not count; they are zero before the refit.
        weights: weights of the networks; their sum is 1.
        equal: sets of groups that must have equal numbers of separate units; all other groups
            are merged. Default: every group has a number of its own.
        outputs: as for `repair`.
        progress: called with the number of batches done.

    Raises:
        OneBasinError: no group of the model can be enlarged, or not all if all units are to be
            kept.
    """
    check_choice("outputs", outputs, OutputKind)
    data = in_pieces(data, model)
    features = Features(model, data)
    contracted = contracted_dims(features.graph)
    check = EnlargedCheck(model, contracted, _few(features.first))
    is_whole = size >= len(params_list)
    groups, fixed = check.groups(symmetry, params_list[0], whole=is_whole)
    _check_groups(groups, fixed, whole=is_whole)
    if is_whole:
        chosen = {g: torch.ones(symmetry.groups[g].size, dtype=torch.bool) for g in groups}
    else:
        errors = unit_errors(_first_examples(features), symmetry, params_list, weights, groups)
        fixed |= {g: "no value in the model shows its units" for g in groups if g not in errors}
        gains = unit_gains(symmetry, params_list, contracted, errors)
        chosen = choose_units(symmetry, gains, weights, size, equal=equal)
    enlargement = Enlargement.split(symmetry, chosen, weights)
    reason = check.difference(enlargement, params_list) if is_whole else None
    if reason is not None:
        raise ArgumentError(f"size={size} cannot have the mean output: {reason}; {SMALLER}")
    params = enlargement.params(params_list, contracted)
    module = resized_to(model, {name: tuple(tensor.shape) for name, tensor in params.items()})
    repaired = None
    if not is_whole:
        targets = EnlargedTargets(features, enlargement)
        refit = LayerRefit(module, data, targets=targets)
        repaired = run_repair(refit, params, params_list, weights, outputs, progress=progress)
        params = repaired.params
    module.load_state_dict(dict(params), strict=False)
    return Enlarged(
        params,
        module,
        (enlargement.num_parameters, Enlargement(symmetry, {}, weights).num_parameters),
        {group: int(each.sum()) for group, each in chosen.items()},
        fixed,
        repaired,
    )


def _few(inputs: Any) -> Any:
    """Return inputs with few examples if all tensors have one row for each example."""
    leaves, structure = pytree.tree_flatten(inputs)
    tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    if len({len(each) if each.dim() else 0 for each in tensors}) != 1 or not tensors[0].dim():
        return inputs
    few = [leaf[:NUM_CHECKED] if isinstance(leaf, Tensor) else leaf for leaf in leaves]
    return pytree.tree_unflatten(few, structure)


def _first_examples(features: Features) -> Features:
    """Return features of the first batches, enough to compare units."""
    number = 0
    for context, inputs, _ in features.batches():
        tensors = [each for each in pytree.tree_leaves(inputs) if isinstance(each, Tensor)]
        number += max((len(each) for each in tensors if each.dim()), default=1)
        if number >= MAX_EXAMPLES:
            first = _FirstBatches(features.data, context.number + 1)
            return Features(features.model, first, graphs=features.graphs)
    return features


@dataclass(frozen=True)
class _FirstBatches:
    """The first batches of data, which are read again each time and not kept.

    Args:
        data: batches that can be read again.
        number: number of batches.
    """

    data: Iterable[Any]
    number: int

    def __iter__(self) -> Iterator[Any]:
        """Yield the batches."""
        return islice(self.data, self.number)


def _check_groups(groups: Sequence[str], fixed: Mapping[str, str], *, whole: bool) -> None:
    if groups and not (whole and fixed):
        return
    name, reason = next(iter(fixed.items()), ("", "the model has no groups of units"))
    problem = "not all units can be kept separate" if groups else "no units can be kept separate"
    where = f" (group {name!r}: {reason})" if name else f" ({reason})"
    raise ArgumentError(f"{problem}{where}; {SMALLER if groups else 'use size=1'}")
