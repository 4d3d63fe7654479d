"""The class of each group of a symmetry, and its actions on tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from onebasin.symmetry._classes.graph_relations import relate
from onebasin.symmetry._classes.relations import Relations, Site
from onebasin.symmetry._classes.sites import Sites
from onebasin.symmetry._classes.solution import GroupSolution, solve
from onebasin.symmetry._inference.export import Exported
from onebasin.symmetry.actions import Axis, Gain, GroupAction, SymmetryClass
from onebasin.symmetry.layouts import Layout
from onebasin.symmetry.symmetry import Symmetry


def with_classes(
    symmetry: Symmetry,
    exported: Exported,
    features: Mapping[str, Sequence[Layout]],
    names: Mapping[str, str],
) -> Symmetry:
    """Return a symmetry with the class of each group.

    Args:
        symmetry: the groups and layouts.
        exported: the graph.
        features: layouts of the values of nodes, by name.
        names: name of the parameter or buffer of each placeholder.
    """
    first = {name: names[0] for names in symmetry.tied for name in names}
    named = {node: first.get(name, name) for node, name in names.items()}
    relations = relate(exported, symmetry, features, named)
    sites = Sites(symmetry.layouts, symmetry.groups)
    used = [n for n in symmetry.layouts if first.get(n, n) == n and n not in symmetry.unused]
    outer = {name for group in symmetry.groups.values() for name in group.nested_in}
    found = [place.site for name in used for place in sites.of(name).places]
    solutions = solve(relations, found, outer, partial(_is_vector, symmetry, sites))
    actions = {name: _action(each, relations) for name, each in solutions.items()}
    groups = {
        name: replace(group, symmetry_class=actions[name].symmetry_class)
        if name in actions
        else group
        for name, group in symmetry.groups.items()
    }
    return replace(symmetry, groups=groups, actions=actions)


def _is_vector(symmetry: Symmetry, sites: Sites, site: Site) -> bool:
    """Return whether a tensor has one value for each unit, and for each unit of outer groups."""
    own = {site.group, *symmetry.nesting[site.group]}
    factors = sites.of(site.value).blocks[site.block].factors
    counts = Counter(factor.group for factor in factors if factor.size > 1)
    return counts.keys() <= own and max(counts.values()) == 1


def _action(solution: GroupSolution, relations: Relations) -> GroupAction:
    offsets = {_axis(own): number for own, number in relations.offsets.values()}
    own = {_axis(site) for each in (*solution.scales, *solution.signs) for site in each}
    return GroupAction(
        symmetry_class=_class_of(solution),
        variances=_by_axis(solution.variances),
        scales=tuple(map(_by_axis, solution.scales)),
        signs=tuple(map(_by_axis, solution.signs)),
        gains=tuple(
            Gain(_axis(site), offsets.get(_axis(site), 0.0), _by_axis(exponents))
            for site, exponents in solution.gains
        ),
        offsets={axis: number for axis, number in offsets.items() if axis in own},
        reason=solution.reason,
    )


def _class_of(solution: GroupSolution) -> SymmetryClass:
    if solution.mixes:
        if solution.bound.keeps_ones:
            return "orthogonal with ones"
        return "orthogonal" if solution.bound.is_orthogonal else "general linear"
    if solution.scales:
        return "monomial" if solution.signs else "positive scales"
    return "signed permutation" if solution.signs else "permutation"


def _by_axis(exponents: Mapping[Site, int]) -> dict[Axis, int]:
    return {_axis(site): power for site, power in exponents.items()}


def _axis(site: Site) -> Axis:
    return Axis(site.value, site.block, site.axis)
