"""Relations between the maps that act on the sites of a model.

A site is an axis of a block of a value whose positions are the units of a group. The same group
can have different maps at different sites: they are equal, inverse transposes of each other, or
differ by a scale of each unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from onebasin.symmetry._classes.bounds import LINEAR, Bound


class Site(NamedTuple):
    """An axis of a block of a value that carries a group.

    Args:
        value: name of the parameter, buffer or node.
        block: number of the block.
        axis: number of the axis in the block.
        group: name of the group.
    """

    value: str
    block: int
    axis: int
    group: str


@dataclass(frozen=True)
class ScaleProduct:
    """A value whose scales are products of powers of the scales of other values.

    Args:
        output: site of the value.
        factors: power of the scale of each factor.
        gain: the factor that is a parameter, if all others are one value.
    """

    output: Site
    factors: tuple[tuple[Site, int], ...]
    gain: Site | None = None


@dataclass
class Relations:
    """Relations of the maps at all sites, as a union-find structure with signs.

    Sites with the same root have the same map if their signs are equal, and inverse transposes
    otherwise.

    Attributes:
        products: the relations of scales.
        offsets: parameter and summand of values such as `1 + weight`, by their site.
        uniform: sites at which all units have the same value.
    """

    products: list[ScaleProduct] = field(default_factory=list)
    offsets: dict[Site, tuple[Site, float]] = field(default_factory=dict)
    uniform: set[Site] = field(default_factory=set)
    _parents: dict[Site, tuple[Site, int]] = field(default_factory=dict)
    _bounds: dict[Site, Bound] = field(default_factory=dict)
    _reasons: dict[Site, str] = field(default_factory=dict)

    def root(self, site: Site) -> tuple[Site, int]:
        """Return the root of a site, and 1 or -1 for the map of the root or its inverse."""
        path, sign = [], 1
        while site in self._parents:
            path.append((site, sign))
            site, step = self._parents[site]
            sign *= step
        for child, before in path:
            self._parents[child] = (site, sign * before)
        return site, sign

    def bound(self, site: Site) -> Bound:
        """Return the maps that are admitted at a site."""
        return self._bounds.get(self.root(site)[0], LINEAR)

    def reason(self, site: Site) -> str:
        """Return the first operator that excludes maps that mix units at a site."""
        return self._reasons.get(self.root(site)[0], "an operator")

    def equal(self, a: Site, b: Site) -> None:
        """Let two sites have the same map."""
        self._unite(a, b, 1)

    def dual(self, a: Site, b: Site) -> None:
        """Let the map of a site be the inverse transpose of that of another, as in a product."""
        self._unite(a, b, -1)

    def restrict(self, site: Site, bound: Bound, reason: str = "") -> None:
        """Restrict the map of a site."""
        root, _ = self.root(site)
        self._bounds[root] = self._bounds.get(root, LINEAR) & bound
        if not bound.mixes:
            self._reasons.setdefault(root, reason)

    def scaled(
        self, output: Site, factors: Mapping[Site, int], *, gain: Site | None = None
    ) -> None:
        """Let the scales of a site be a product of powers of those of others."""
        self.products.append(ScaleProduct(output, tuple(factors.items()), gain))

    def _unite(self, a: Site, b: Site, sign: int) -> None:
        (root, first), (other, second) = self.root(a), self.root(b)
        sign *= first * second
        if root == other:
            if sign < 0:  # the map is its own inverse transpose
                self.restrict(root, Bound(scales=False, is_orthogonal=True))
            return
        self._parents[other] = (root, sign)
        self._bounds[root] = self._bounds.pop(root, LINEAR) & self._bounds.pop(other, LINEAR)
        if other in self._reasons:
            self._reasons.setdefault(root, self._reasons.pop(other))
