"""The matching of the networks of a job, under the symmetry of their architecture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from torch import Tensor

from onebasin._text import counted
from onebasin.api._matchers import Matcher, permutation_of, transformation_of
from onebasin.api._networks import Networks
from onebasin.api._reporter import Reporter
from onebasin.api._symmetries import SymmetryOptions, VerifiedSymmetry, verified_symmetry
from onebasin.checkpoints import Architecture
from onebasin.matching import ManyMatching, Matching, Step
from onebasin.matching.registry import find_method
from onebasin.merging._transformed import LazyTransformed
from onebasin.symmetry import Permutation, Symmetry
from onebasin.symmetry.transformation import Transformation


@dataclass(frozen=True)
class Matched:
    """The matching of networks to the first one.

    Args:
        verified: the symmetry.
        method: name of the method.
        matching: the result of the search.
        init: name of the method that initialized the search, or None.
    """

    verified: VerifiedSymmetry
    method: str
    matching: Matching | ManyMatching
    init: str | None = None

    @property
    def transformations(self) -> tuple[Transformation, ...]:
        """The transformations, one for each network that is moved."""
        if isinstance(self.matching, ManyMatching):
            return self.matching.transformations
        return (self.matching.transformation,)

    @property
    def permutation(self) -> Permutation:
        """The permutation that aligns B to A, of two networks."""
        return permutation_of(self.matching)

    @property
    def transformation(self) -> Transformation:
        """The transformation that aligns B to A, of two networks."""
        return transformation_of(self.matching)

    @property
    def from_others(self) -> tuple[Transformation, ...]:
        """The transformations that align each further network to the first."""
        if isinstance(self.matching, Matching):
            return (self.matching.transformation,)
        first, *others = self.matching.transformations
        return tuple(first.inverse() @ other for other in others)

    def apply(self, params_list: Sequence[Mapping[str, Tensor]]) -> list[Mapping[str, Tensor]]:
        """Return the permuted networks, lazily."""
        num_fixed = len(params_list) - len(self.transformations)
        fixed, others = params_list[:num_fixed], params_list[num_fixed:]
        return [*fixed, *map(LazyTransformed, others, self.transformations)]

    @property
    def num_units(self) -> int:
        """The number of units that can be permuted, over all outer positions of nested groups.

        The reference of many networks does not count.
        """
        num_permuted = len(self.transformations) - isinstance(self.matching, ManyMatching)
        return num_permuted * num_units(self.verified.symmetry)

    @property
    def num_moved(self) -> int:
        """The number of units with another position."""
        return sum(sum(t.permutation.num_moved.values()) for t in self.transformations)

    @property
    def num_mixed(self) -> int:
        """The number of groups whose units are mixed by some transformation."""
        return len({name for each in self.transformations for name in each.maps})

    def to_json(self) -> dict[str, Any]:
        """Return a summary as plain JSON values."""
        return {
            "symmetry": self.verified.to_json(),
            "matching": {
                "method": self.method,
                "init": self.init,
                "objective": list(self.matching.objective),
                "restarts": list(self.matching.restarts),
                "sweeps": self.matching.num_sweeps,
                "converged": self.matching.converged,
                "units": self.num_units,
                "moved_units": self.num_moved,
                "mixed_groups": self.num_mixed,
                "seconds": self.matching.seconds,
            },
        }

    def to_text(self) -> str:
        """Return a summary of two lines."""
        symmetry, objective = self.verified.symmetry, self.matching.objective
        moved = f"{self.num_moved} of {self.num_units} permutable units moved"
        if self.num_mixed:
            moved += f", units of {counted(self.num_mixed, 'group')} mixed"
        starts = len(self.matching.restarts)
        before = f"best of {starts} starts: " if starts > 1 else f"{objective[0]:.6g} -> "
        groups = counted(len(symmetry.groups), "group")
        return (
            f"{groups} ({self.verified.status}), {moved}\n"
            f"{self.method}{f' from {self.init}' if self.init else ''}: "
            f"objective {before}{objective[-1]:.6g} {self._effort}"
        )

    @property
    def _effort(self) -> str:
        num, seconds = self.matching.num_sweeps, f"{self.matching.seconds:.1f} s"
        if num == 0 and self.matching.converged:
            return f"converged at initialization ({seconds})"
        method = find_method(self.method)
        effort = f"in {counted(num, method.step_name)} and {seconds}"
        if not method.can_converge:
            return effort
        return f"{effort} ({'converged' if self.matching.converged else 'not converged'})"


def matched_to_json(matched: Matched | None) -> dict[str, Any]:
    """Return the summary of a matching as plain JSON values; its entries are None without one."""
    return {"symmetry": None, "matching": None} if matched is None else matched.to_json()


def match_networks(
    networks: Networks, options: SymmetryOptions, matcher: Matcher, reporter: Reporter
) -> Matched:
    """Match networks to the first one under the symmetry of their architecture.

    Args:
        networks: the networks.
        options: source of the symmetry.
        matcher: the method.
        reporter: shows progress and notes.
    """
    verified = verified_symmetry(
        networks.architecture,
        options,
        reporter,
        states=networks.params_list,
        data=matcher.data,
    )
    if not verified.symmetry.groups:
        reporter.note("this architecture has no permutable units; B was left unchanged")
    return match(verified, networks.params_list, networks.architecture, matcher, reporter)


def match(
    verified: VerifiedSymmetry,
    params_list: Sequence[Mapping[str, Tensor]],
    architecture: Architecture,
    matcher: Matcher,
    reporter: Reporter,
) -> Matched:
    """Match networks to the first one under a known symmetry.

    Args:
        verified: the symmetry.
        params_list: the networks, the reference first.
        architecture: architecture of all networks.
        matcher: the method.
        reporter: shows progress and notes.
    """
    matcher = matcher.suited(verified.symmetry)
    with reporter.progress(f"matching by {matcher.name}") as progress:

        def show(step: Step) -> None:
            if progress is not None:
                progress(step.done, step.total)

        matching = matcher.run(
            verified.symmetry, params_list, architecture, None if progress is None else show
        )
    if matcher.method.can_converge and not matching.converged:
        more = f"more {matcher.method.step_name}s could improve it"
        reporter.note(f"the matching did not converge; {more}")
    return Matched(verified, matcher.name, matching, matcher.init and matcher.init.name)


def num_units(symmetry: Symmetry) -> int:
    """Return the number of units of all groups, over all outer positions of nested groups."""
    return sum(
        prod(symmetry.outer_shape(name)) * group.size for name, group in symmetry.groups.items()
    )
