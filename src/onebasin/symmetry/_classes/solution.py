"""The class of each group, from the relations of the maps at its sites."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from onebasin.symmetry._classes.bounds import LINEAR, Bound
from onebasin.symmetry._classes.exponents import null_space
from onebasin.symmetry._classes.relations import Relations, ScaleProduct, Site


@dataclass(frozen=True)
class GroupSolution:
    """The maps of one group.

    Args:
        mixes: whether its units can be mixed, after gains are folded.
        bound: the maps that mix units.
        reason: why units cannot be mixed.
        scales: exponents at each site of a tensor, for each independent scale.
        signs: the same for signs, modulo two.
        gains: gains that are folded: the site of the gain, and the exponents that make it one.
        variances: 1 or -1 for each site of a tensor that is not a gain.
    """

    mixes: bool
    bound: Bound
    reason: str
    scales: tuple[Mapping[Site, int], ...]
    signs: tuple[Mapping[Site, int], ...]
    gains: tuple[tuple[Site, Mapping[Site, int]], ...]
    variances: Mapping[Site, int]


def solve(
    relations: Relations,
    sites: Sequence[Site],
    outer: Collection[str],
    is_vector: Callable[[Site], bool],
) -> dict[str, GroupSolution]:
    """Return the maps of every group.

    Args:
        relations: relations of all sites.
        sites: the sites of parameters and buffers.
        outer: names of the groups that others nest in; their units cannot be mixed.
        is_vector: whether a tensor has one value for each unit at a site.
    """
    by_group: dict[str, list[Site]] = defaultdict(list)
    for site in sites:
        by_group[site.group].append(site)
    products: dict[str, list[ScaleProduct]] = defaultdict(list)
    for each in relations.products:
        products[each.output.group].append(each)
    return {
        group: _Group(
            group, relations, own, products[group], is_outer=group in outer, is_vector=is_vector
        ).solution()
        for group, own in by_group.items()
    }


class _Group:
    """The linear systems of one group."""

    def __init__(
        self,
        name: str,
        relations: Relations,
        sites: Sequence[Site],
        products: Sequence[ScaleProduct],
        *,
        is_outer: bool,
        is_vector: Callable[[Site], bool],
    ) -> None:
        self.is_outer, self.is_vector = is_outer, is_vector
        self.name, self.relations, self.sites, self.products = name, relations, sites, products
        self.offset_of = {own: value for value, (own, _) in relations.offsets.items()}
        gains = [self._root(each.gain)[0] for each in products if each.gain is not None]
        related = {self._root(site)[0] for each in products for site, _ in _terms(each)}
        roots = {self._root(self._acting(site))[0] for site in sites} | related
        self.gains = list(dict.fromkeys(gains))
        self.roots = sorted(roots - set(self.gains)) + self.gains
        self.number = {root: number for number, root in enumerate(self.roots)}

    def _root(self, site: Site) -> tuple[Site, int]:
        return self.relations.root(site)

    def _acting(self, site: Site) -> Site:
        """Return the site whose map acts on a parameter: that of `1 + weight` for the weight."""
        return self.offset_of.get(site, site)

    def solution(self) -> GroupSolution:
        """Return the maps of the group."""
        scales = null_space([*self._equations(), *self._fixed("scales")], len(self.roots))
        signs = null_space([*self._equations(), *self._fixed("signs")], len(self.roots), modulo=2)
        joined = self._joined()
        bound = LINEAR
        for root in self.roots:
            if root not in self.gains:
                bound &= self.relations.bound(root) & joined.bound(root)
        tensors = self._gain_tensors()
        folded = [self._folding(root, scales) for root in self.gains]
        reason = self._reason(bound, joined, tensors, folded)
        kept = scales if reason else [each for each in folded if each is not None]
        exponents = [self._exponents(each) for each in kept]
        return GroupSolution(
            mixes=not reason,
            bound=bound,
            reason=reason,
            scales=tuple(exponents),
            signs=tuple(self._exponents(each, modulo=2) for each in signs) if reason else (),
            gains=() if reason else tuple(zip(tensors, exponents, strict=True)),
            variances=self._variances(joined),
        )

    def _joined(self) -> Relations:
        """Return the relations of roots after gains are folded."""
        joined = Relations()
        for each in self.products:
            others = [site for site, _ in each.factors if site != each.gain]
            if each.gain is not None and len(others) == 1:
                (a, first), (b, second) = self._root(each.output), self._root(others[0])
                (joined.equal if first == second else joined.dual)(a, b)
        return joined

    def _variances(self, joined: Relations) -> dict[Site, int]:
        """Return 1 or -1 for each tensor that is not a gain."""
        found = {}
        for site in self.sites:
            root, sign = self._root(self._acting(site))
            if root not in self.gains:
                found[site] = sign * joined.root(root)[1]
        return found

    def _gain_tensors(self) -> list[Site]:
        """Return the tensor of each gain; gains without a tensor of their own are left out."""
        acting = [(site, *self._root(self._acting(site))) for site in self.sites]
        found = [
            [s for s, root, sign in acting if root == gain and sign > 0] for gain in self.gains
        ]
        return [each[0] for each in found if len(each) == 1]

    def _folding(self, gain: Site, scales: Sequence[Sequence[int]]) -> Sequence[int] | None:
        """Return the solution that scales one gain alone, or None."""
        others = [self.number[each] for each in self.gains if each != gain]
        for each in scales:
            if each[self.number[gain]] == 1 and not any(each[other] for other in others):
                return each
        return None

    def _reason(
        self,
        bound: Bound,
        joined: Relations,
        tensors: Sequence[Site],
        folded: Sequence[Sequence[int] | None],
    ) -> str:
        """Return why units cannot be mixed; empty if they can."""
        if self.is_outer:
            return "other groups nest in it"
        if not bound.mixes:
            fixed = [root for root in self.roots if not self.relations.bound(root).mixes]
            return self.relations.reason(next(r for r in fixed if r not in self.gains))
        if any(each.gain is None for each in self.products):
            return "its units are multiplied"
        acting = {self._root(self._acting(site))[0] for site in self.sites}
        if len({joined.root(root)[0] for root in acting - set(self.gains)}) > 1:
            return "its tensors are not related by linear maps"
        for gain, each in zip(self.gains, folded, strict=True):
            if each is None:
                return f"the gain {gain.value} cannot be folded into other tensors"
        for site in tensors:
            if not self.is_vector(site):
                return f"the gain {site.value} has several values for each unit"
        return "" if len(tensors) == len(self.gains) else "a gain is used more than once"

    def _equations(self) -> list[dict[int, int]]:
        """Return the equations of the products: log output = sum of power · log factor."""
        rows = []
        for each in self.products:
            row: dict[int, int] = defaultdict(int)
            for site, power in _terms(each):
                root, sign = self._root(site)
                row[self.number[root]] += sign * power
            rows.append(dict(row))
        return rows

    def _fixed(self, name: str) -> list[dict[int, int]]:
        return [
            {number: 1}
            for root, number in self.number.items()
            if not getattr(self.relations.bound(root), name)
        ]

    def _exponents(self, solution: Sequence[int], *, modulo: int = 0) -> dict[Site, int]:
        """Return the exponents of a solution at the sites of tensors."""
        found = {}
        for site in self.sites:
            root, sign = self._root(self._acting(site))
            value = sign * solution[self.number[root]]
            value = value % modulo if modulo else value
            if value:
                found[site] = value
        return found


def _terms(product: ScaleProduct) -> list[tuple[Site, int]]:
    return [(product.output, -1), *product.factors]
