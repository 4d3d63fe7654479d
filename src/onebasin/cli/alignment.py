"""Alignment: B matched to A under the symmetry of their architecture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from torch import Tensor

from onebasin.checkpoints.messages import counted
from onebasin.cli.console import Console, Progress
from onebasin.cli.pairs import Pair
from onebasin.cli.symmetries import Found, SymmetryChoice, find_symmetry
from onebasin.matching import Matching, Step, match_weights
from onebasin.symmetry import Permutation


@dataclass(frozen=True)
class Alignment:
    """How B was moved to A.

    Args:
        found: the symmetry that was relied on.
        matching: the search and its result.
    """

    found: Found
    matching: Matching

    @property
    def permutation(self) -> Permutation:
        """What moves B to A."""
        return self.matching.permutation

    @property
    def num_units(self) -> int:
        """How many units may move, over all outer positions of nested groups."""
        symmetry = self.found.symmetry
        return sum(
            prod(symmetry.outer_shape(name)) * group.size for name, group in symmetry.groups.items()
        )

    @property
    def num_moved(self) -> int:
        """How many units did move."""
        return sum(self.permutation.num_moved.values())

    def to_json(self) -> dict[str, Any]:
        """Return a summary as plain JSON values."""
        return {
            "symmetry": self.found.to_json(),
            "matching": {
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
        ending = "settled" if self.matching.converged else "stopped before it settled"
        proof = self.found.proof
        proved = f"proved to {proof.max_error:.0e}" if proof else "not proved"
        moved = f"{self.num_moved} of {self.num_units} units moved"
        starts = len(self.matching.restarts)
        before = f"{objective[0]:.6g} -> " if starts == 1 else f"best of {starts} starts: "
        effort = f"{counted(self.matching.num_sweeps, 'sweep')} and {self.matching.seconds:.1f} s"
        groups = counted(len(symmetry.groups), "group")
        return (
            f"{groups} ({proved}), {moved}\n"
            f"objective {before}{objective[-1]:.6g} in {effort} ({ending})"
        )


def align_pair(
    pair: Pair, choice: SymmetryChoice, *, seed: int, restarts: int, console: Console
) -> Alignment:
    """Find the symmetry of a pair's architecture and match B to A.

    Args:
        pair: what to align.
        choice: where the symmetry comes from.
        seed: of the matching.
        restarts: number of starts of the matching.
        console: where progress and notes are shown.
    """
    found = find_symmetry(pair.architecture, choice, console)
    if not found.symmetry.groups:
        console.note("the architecture has no group that can move; B stays as it is")
    params = pair.params_a, pair.params_b
    return match(found, params, seed=seed, restarts=restarts, console=console)


def match(
    found: Found,
    params: tuple[Mapping[str, Tensor], Mapping[str, Tensor]],
    *,
    seed: int,
    restarts: int = 1,
    console: Console,
) -> Alignment:
    """Match B to A by their weights.

    Args:
        found: the symmetry to rely on.
        params: those of A and of B.
        seed: of the order of the groups.
        restarts: number of starts.
        console: where progress and notes are shown.
    """
    with console.progress("matching, each sweep") as progress:
        show = None if progress is None else _show(progress)
        matching = match_weights(
            found.symmetry, *params, seed=seed, restarts=restarts, progress=show
        )
    if not matching.converged:
        console.note("the matching stopped before it settled; more sweeps could improve it")
    return Alignment(found, matching)


def _show(progress: Progress) -> Callable[[Step], None]:
    return lambda step: progress(step.done, step.total)
