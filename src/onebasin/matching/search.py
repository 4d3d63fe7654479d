"""Search: the state of coordinate descent over groups, and its steps.

Holds the current indices, every group's similarity kept up to date term by term, and which
groups need solving again. A step is taken only when it truly improves the objective.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from onebasin.matching.assignment import assign_many, picked
from onebasin.matching.nested import PairSearch, inner_groups
from onebasin.matching.sources import Sources
from onebasin.matching.terms import Term
from onebasin.symmetry.symmetry import Symmetry

PRECISION = 1e-7
"""Improvements below this share of what is compared are rounding of float32 products."""

PULLS = (0.25, 1.0, 4.0)
"""How strongly a quadratic step is held back, tried in turn, in units of the typical gain."""


class Search:
    """Coordinate descent on `<A, permuted B>`.

    Args:
        symmetry: the groups to match.
        sources: gives the tensors of A and B.
    """

    def __init__(self, symmetry: Symmetry, sources: Sources) -> None:
        self.symmetry = symmetry
        self.terms: dict[str, list[Term]] = {name: [] for name in symmetry.groups}
        self.pairs: dict[str, PairSearch] = {}
        for block, read_a, read_b in sources.blocks():
            for group in dict.fromkeys(g for g in block.groups if g in symmetry.groups):
                if inner_groups(symmetry, group, block):
                    pair = self.pairs.setdefault(group, PairSearch(symmetry, group))
                    pair.add(block, read_a, read_b, hold=sources.hold)
                    continue
                for place in (i for i, f in enumerate(block.factors) if f.group == group):
                    self.terms[group].append(
                        Term(symmetry, group, block, (place,), read_a, read_b, hold=sources.hold)
                    )
        self.listeners = self._listeners()
        self.indices: dict[str, Tensor] = {}
        self.similarities: dict[tuple[str, bool], Tensor] = {}
        self.dirty: set[str] = set()
        self.num_solves = 0
        self.known: set[str] | None = None

    def _listeners(self) -> dict[str, set[str]]:
        """Return for every group those whose similarity depends on where its units are."""
        listeners: dict[str, set[str]] = {name: set() for name in self.symmetry.groups}
        for group, terms in self.terms.items():
            pair = self.pairs.get(group)
            for term in [*terms, *(pair.terms if pair else ())]:
                for other in term.neighbours:
                    listeners[other].add(group)
        return listeners

    def start(self, indices: Mapping[str, Tensor]) -> None:
        """Begin from these indices."""
        self.indices = dict(indices)
        self.similarities = {}
        self.dirty = set(self.symmetry.groups)
        for group, terms in self.terms.items():
            for term in terms:
                term.forget()
            if group in self.pairs:
                self.pairs[group].forget()

    def similarity(self, group: str, *, quadratic: bool = False) -> Tensor:
        """Return a group's similarity `(outer, n, n)`, the other groups where they are.

        Args:
            group: name of the group.
            quadratic: the linearisation of the terms that carry the group twice; else the
                terms that carry it once.
        """
        key = (group, quadratic)
        if key not in self.similarities:
            size = self.symmetry.groups[group].size
            outer = self.indices[group].numel() // size
            self.similarities[key] = torch.zeros(outer, size, size)
        for term in self.terms[group]:
            if term.is_quadratic == quadratic and self.is_known(term):
                term.update(self.similarities[key], self.indices)
        return self.similarities[key]

    def is_known(self, term: Term) -> bool:
        """Whether a term counts: while propagating only those whose other groups are matched."""
        return self.known is None or term.neighbours <= self.known

    def propagate(self) -> None:
        """Match every group once, each to what has been matched, the best known first."""
        self.known = set()
        waiting = list(self.symmetry.groups)
        while waiting:
            group = max(waiting, key=self._known_share)
            waiting.remove(group)
            self.step(group)
            self.known.add(group)
        self.known = None
        self.dirty = set(self.symmetry.groups)

    def _known_share(self, group: str) -> float:
        pair = self.pairs.get(group)
        terms = [*self.terms[group], *(pair.terms if pair else ())]
        entries = {True: 0, False: 1}
        for term in terms:
            entries[self.is_known(term)] += term.block.num_entries
        return entries[True] / (entries[True] + entries[False])

    def step(self, group: str) -> float:
        """Solve one group; return by how much the objective rose, 0 where nothing improved."""
        self.dirty.discard(group)
        if group in self.pairs:
            pair = self.pairs[group]
            changed, gain = pair.propose(self.indices, self.similarity(group), self.is_known)
            self.num_solves += pair.num_solves
        elif any(term.is_quadratic for term in self.terms[group]):
            changed, gain = self._quadratic(group)
        else:
            changed, gain = self._linear(group, self.similarity(group))
        if not changed:
            return 0.0
        self.indices.update(changed)
        for name in changed:
            self.dirty |= self.listeners[name]
        return gain

    def _linear(self, group: str, similarity: Tensor) -> tuple[dict[str, Tensor], float]:
        current = self.indices[group]
        old = current.reshape(-1, current.shape[-1])
        new = assign_many(similarity)
        self.num_solves += len(old)
        after, before = picked(similarity, new), picked(similarity, old)
        better = after - before > PRECISION * (after.abs() + before.abs())
        if not bool(better.any()):
            return {}, 0.0
        chosen = torch.where(better[:, None], new, old).view_as(current)
        return {group: chosen}, float((after - before)[better].sum())

    def _quadratic(self, group: str) -> tuple[dict[str, Tensor], float]:
        """Solve the linearisation, held back more and more until the objective rises."""
        current, linear = self.indices[group], self.similarity(group)
        slope = linear + self.similarity(group, quadratic=True)
        before = self._exact(group, linear, current)
        spread = float(slope.std()) if slope.numel() > 1 else 0.0
        for pull in (0.0, *PULLS):
            candidate = self._held_back(slope, current, pull * spread)
            if torch.equal(candidate, current):
                break
            after = self._exact(group, linear, candidate)
            if after - before > PRECISION * (abs(after) + abs(before)):
                return {group: candidate}, after - before
        return {}, 0.0

    def _held_back(self, similarity: Tensor, current: Tensor, pull: float) -> Tensor:
        rows = current.reshape(-1, current.shape[-1])
        bonus = torch.zeros_like(similarity).scatter_(2, rows[..., None], pull)
        self.num_solves += len(rows)
        return assign_many(similarity + bonus).view_as(current)

    def _exact(self, group: str, linear: Tensor, index: Tensor) -> float:
        """Return the part of the objective that a group's terms make up, at a candidate."""
        indices = {**self.indices, group: index}
        blocks = {id(term.block): term for term in self.terms[group] if term.is_quadratic}
        rows = index.reshape(-1, index.shape[-1])
        total = float(picked(linear, rows).sum())
        return total + sum(term.value(indices) for term in blocks.values())
