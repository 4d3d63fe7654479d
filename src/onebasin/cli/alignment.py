"""Alignment: networks matched to the reference under the symmetry of their architecture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from torch import Tensor

from onebasin.checkpoints import Architecture
from onebasin.checkpoints.messages import counted
from onebasin.cli.console import Console, Progress
from onebasin.cli.methods import Matcher, permutation_of
from onebasin.cli.pairs import Networks
from onebasin.cli.symmetries import Found, SymmetryChoice, find_symmetry
from onebasin.matching import ManyMatching, Matching, Step
from onebasin.matching.catalogue import find_method
from onebasin.merging.moved import Moved
from onebasin.symmetry import Permutation, Symmetry


@dataclass(frozen=True)
class Alignment:
    """How networks were moved.

    Args:
        found: the symmetry that was relied on.
        method: name of the method.
        matching: the search and its result.
        init: name of the method that it started from, or None.
    """

    found: Found
    method: str
    matching: Matching | ManyMatching
    init: str | None = None

    @property
    def permutations(self) -> tuple[Permutation, ...]:
        """What moves the networks, one for each that is moved."""
        if isinstance(self.matching, ManyMatching):
            return self.matching.permutations
        return (self.matching.permutation,)

    @property
    def permutation(self) -> Permutation:
        """What moves B to A, where there are these two."""
        return permutation_of(self.matching)

    @property
    def from_others(self) -> tuple[Permutation, ...]:
        """What moves each network but the first to the first."""
        if isinstance(self.matching, Matching):
            return (self.matching.permutation,)
        return tuple(self.matching.between(i, 0) for i in range(1, len(self.permutations)))

    def moved(self, params_list: Sequence[Mapping[str, Tensor]]) -> list[Mapping[str, Tensor]]:
        """Return the networks where they are moved to; those without a permutation come first."""
        num_still = len(params_list) - len(self.permutations)
        still, others = params_list[:num_still], params_list[num_still:]
        return [*still, *map(Moved, others, self.permutations)]

    @property
    def num_units(self) -> int:
        """How many units may move, over all outer positions of nested groups.

        Those of the reference among many networks do not count.
        """
        num_moving = len(self.permutations) - isinstance(self.matching, ManyMatching)
        return num_moving * _num_units(self.found.symmetry)

    @property
    def num_moved(self) -> int:
        """How many units did move."""
        return sum(sum(p.num_moved.values()) for p in self.permutations)

    def to_json(self) -> dict[str, Any]:
        """Return a summary as plain JSON values."""
        return {
            "symmetry": self.found.to_json(),
            "matching": {
                "method": self.method,
                "init": self.init,
                "objective": list(self.matching.objective),
                "restarts": list(self.matching.restarts),
                "sweeps": self.matching.num_sweeps,
                "converged": self.matching.converged,
                "units": self.num_units,
                "moved_units": self.num_moved,
                "seconds": self.matching.seconds,
            },
        }

    def to_text(self) -> str:
        """Return a summary of two lines for people."""
        symmetry, objective = self.found.symmetry, self.matching.objective
        moved = f"{self.num_moved} of {self.num_units} units moved"
        starts = len(self.matching.restarts)
        before = f"best of {starts} starts: " if starts > 1 else f"{objective[0]:.6g} -> "
        groups = counted(len(symmetry.groups), "group")
        return (
            f"{groups} ({self.found.verification}), {moved}\n"
            f"{self.method}{f' from {self.init}' if self.init else ''}: "
            f"objective {before}{objective[-1]:.6g} {self._effort}"
        )

    @property
    def _effort(self) -> str:
        num, seconds = self.matching.num_sweeps, f"{self.matching.seconds:.1f} s"
        if num == 0 and self.matching.converged:
            return f"converged at initialization ({seconds})"
        method = find_method(self.method, call="align")
        effort = f"in {counted(num, method.unit)} and {seconds}"
        if not method.settles:
            return effort
        return f"{effort} ({'converged' if self.matching.converged else 'not converged'})"


def align_networks(
    networks: Networks, choice: SymmetryChoice, matcher: Matcher, console: Console
) -> Alignment:
    """Find the symmetry of an architecture and match networks of it to the first.

    Args:
        networks: what to align.
        choice: where the symmetry comes from.
        matcher: how to match.
        console: where progress and notes are shown.
    """
    found = find_symmetry(
        networks.architecture,
        choice,
        console,
        states=networks.params_list,
        data=matcher.data,
    )
    if not found.symmetry.groups:
        console.note("this architecture has no permutable units; B was left unchanged")
    return match(found, networks.params_list, networks.architecture, matcher, console)


def match(
    found: Found,
    params_list: Sequence[Mapping[str, Tensor]],
    architecture: Architecture,
    matcher: Matcher,
    console: Console,
) -> Alignment:
    """Match networks to the first.

    Args:
        found: the symmetry to rely on.
        params_list: the networks, the reference first.
        architecture: of all.
        matcher: how to match.
        console: where progress and notes are shown.
    """
    with console.progress(f"matching by {matcher.name}") as progress:
        show = None if progress is None else _show(progress)
        matching = matcher.run(found.symmetry, params_list, architecture, show)
    if matcher.method.settles and not matching.converged:
        more = f"more {matcher.method.unit}s could improve it"
        console.note(f"the matching did not converge; {more}")
    if matcher.name == "theorem" and matching.objective[0] == _num_units(found.symmetry):
        console.note(
            "all units fall into the same cell, so the permutation is random; use another "
            "--method or, for few inputs, smaller cells (--method-arg cells=N)"
        )
    return Alignment(found, matcher.name, matching, matcher.init and matcher.init.name)


def _num_units(symmetry: Symmetry) -> int:
    return sum(
        prod(symmetry.outer_shape(name)) * group.size for name, group in symmetry.groups.items()
    )


def _show(progress: Progress) -> Callable[[Step], None]:
    return lambda step: progress(step.done, step.total)
