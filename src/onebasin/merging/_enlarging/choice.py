"""Choice of the units that are kept separate: those whose merging costs most per parameter."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from onebasin.graph._sites import find_sites, map_groups
from onebasin.graph.features import BatchContext, Features
from onebasin.graph.graph import MultiForwardHook
from onebasin.symmetry._blocks import Block, blocks_of
from onebasin.symmetry._enlargement import Enlargement
from onebasin.symmetry.symmetry import Symmetry


@dataclass
class UnitSums:
    """Sums over the features of the units of a group, from which variances follow.

    Args:
        shape: number of features of each unit that are summed separately, and number of units.

    Attributes:
        count: number of values of each unit.
        values: sums of the values.
        squares: sums of their squares.
    """

    shape: tuple[int, int]
    count: float = 0.0
    values: Float64[Tensor, "k size"] = field(init=False)
    squares: Float64[Tensor, "k size"] = field(init=False)

    def __post_init__(self) -> None:
        """Initialize without values."""
        self.values, self.squares = (torch.zeros(self.shape, dtype=torch.float64) for _ in "vs")

    def add(self, values: Sequence[Float[Tensor, "size ..."]]) -> None:
        """Add values of the units, a tensor for each of the separate features."""
        dims = tuple(range(1, values[0].dim()))
        self.count += values[0][0].numel()
        norms = torch.stack([torch.linalg.vector_norm(each, dim=dims) for each in values])
        self.values += torch.stack([each.sum(dims) for each in values]).double().cpu()
        self.squares += norms.double().square().cpu()

    @property
    def variances(self) -> Float64[Tensor, "k size"]:
        """The variance of each feature of each unit."""
        return (self.squares / self.count - (self.values / self.count).square()).clamp(min=0)


def unit_errors(
    features: Features,
    symmetry: Symmetry,
    params_list: Sequence[Mapping[str, Tensor]],
    weights: Sequence[int | float],
    groups: Collection[str],
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the error of merged units and their variance, for each group with features.

    The error of a unit is the mean variance of the difference of a source from the weighted mean.
    Negative weights count with their absolute values.

    Args:
        features: the architecture of the sources, and the data.
        symmetry: symmetry of the sources.
        params_list: parameters and buffers of the aligned sources.
        weights: weights of the sources.
        groups: names of groups.
    """
    num, shares = len(weights), torch.tensor(weights, dtype=torch.float64).abs()
    errors = {g: UnitSums((num, symmetry.groups[g].size)) for g in groups}
    values_of = {g: UnitSums((num, symmetry.groups[g].size)) for g in groups}

    def make_hook(context: BatchContext) -> MultiForwardHook:
        layouts = map_groups(context.graph, symmetry)
        sites = find_sites(context.graph, "post", layouts)

        def hook(node: str, values: Sequence[Tensor]) -> None:
            for group in groups:
                if node in sites.get(group, ()):
                    for block in layouts.blocks[node]:
                        units = [_units_first(value, block, group) for value in values]
                        if block.groups_at(group):
                            mean = sum(w * each for w, each in zip(weights, units, strict=True))
                            errors[group].add([each - mean for each in units])
                            values_of[group].add(units)

        return hook

    features.run(params_list, make_hook)
    return {
        group: (shares @ errors[group].variances, shares @ values_of[group].variances)
        for group in groups
        if errors[group].count
    }


def _units_first(value: Tensor, block: Block, group: str) -> Tensor:
    """Return a block of a value with the units of a group as the first of at least two dims."""
    view = block.view(value.contiguous())
    places = block.groups_at(group)
    view = view.movedim(places[0], 0) if places else view
    view = view if view.is_floating_point() else view.float()
    return view.unsqueeze(-1)


def unit_gains(
    symmetry: Symmetry,
    params_list: Sequence[Mapping[str, Tensor]],
    contracted: Mapping[str, Collection[int]],
    errors: Mapping[str, tuple[Tensor, Tensor]],
) -> dict[str, Float64[Tensor, " _"]]:
    """Return the error that separate units avoid in the layers that read them.

    For each layer it is a fraction of the variance of the output, if units are uncorrelated.

    Args:
        symmetry: symmetry of the sources.
        params_list: parameters and buffers of the aligned sources.
        contracted: the dimensions over which layers sum.
        errors: result of `unit_errors`.
    """
    gains = {}
    for group, (error, variance) in errors.items():
        gain = torch.zeros_like(error)
        for name in symmetry.tensors_of[group]:
            energy = _read_energy(symmetry, params_list, name, contracted.get(name, ()), group)
            total = (energy * variance).sum()
            if total > 0:
                gain += energy * error / total
        gains[group] = gain
    return gains


def _read_energy(
    symmetry: Symmetry,
    params_list: Sequence[Mapping[str, Tensor]],
    name: str,
    dims: Collection[int],
    group: str,
) -> Float64[Tensor, " size"]:
    """Return the mean square norm of the weights that read each unit."""
    energy = torch.zeros(symmetry.groups[group].size, dtype=torch.float64)
    for dim in dims:
        blocks = blocks_of([symmetry.layouts[name][dim]])
        for params in params_list if any(block.groups_at(group) for block in blocks) else ():
            rows = params[name].detach().movedim(dim, 0).unsqueeze(-1).flatten(1)
            squares = torch.linalg.vector_norm(rows, dim=1, dtype=torch.float64).square()
            for block in blocks:
                if block.groups_at(group):
                    energy += _units_first(squares.cpu(), block, group).flatten(1).sum(1)
    return energy / len(params_list)


def choose_units(
    symmetry: Symmetry,
    gains: Mapping[str, Float64[Tensor, " _"]],
    weights: Sequence[int | float],
    size: int | float,
    *,
    equal: Sequence[Collection[str]] | None = None,
) -> dict[str, Bool[Tensor, " _"]]:
    """Return the units that are kept separate: those of largest gain per parameter.

    Args:
        symmetry: symmetry of the sources.
        gains: result of `unit_gains`.
        weights: weights of the sources.
        size: maximum number of weights between units of one source, as a multiple of the
            number of parameters of one source.
        equal: sets of groups of one size that must have equal numbers of separate units; all
            other groups are merged. Default: every group has a number of its own.
    """
    sets = [[group] for group in gains] if equal is None else [list(each) for each in equal]
    sets = [each for each in sets if each and all(group in gains for group in each)]
    if not sets:
        return {}
    # The units of each rank in the groups of a set are kept separate together.
    ranks = {
        group: gains[group].argsort(descending=True, stable=True) for each in sets for group in each
    }
    ratios = []
    for each in sets:
        gain = torch.stack([gains[group][ranks[group]] for group in each]).sum(0)
        ratios.append(gain / sum(_entries_of(symmetry, group) for group in each))
    order = torch.cat(ratios).argsort(descending=True, stable=True)
    sizes = [len(each) for each in ratios]
    base = Enlargement(symmetry, {}, weights).num_kept

    def chosen(count: int) -> dict[str, Tensor]:
        taken = torch.zeros(len(order), dtype=torch.bool)
        taken[order[:count]] = True
        return {
            group: torch.zeros_like(mask).index_fill(0, ranks[group][mask], value=True)
            for each, mask in zip(sets, taken.split(sizes), strict=True)
            for group in each
        }

    low, high = 0, len(order)
    while low < high:
        middle = (low + high + 1) // 2
        grown = Enlargement.split(symmetry, chosen(middle), weights).num_kept
        low, high = (middle, high) if grown <= size * base else (low, middle - 1)
    return chosen(low)


def _entries_of(symmetry: Symmetry, group: str) -> float:
    """Return the number of parameter entries for each unit of a group."""
    entries = 0
    for name in symmetry.tensors_of[group]:
        if name not in symmetry.buffers:
            for block in symmetry.blocks[name]:
                entries += block.num_entries * len(block.groups_at(group))
    return max(entries, 1) / symmetry.groups[group].size
