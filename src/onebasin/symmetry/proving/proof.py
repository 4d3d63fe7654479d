"""Proofs: a symmetry tested on the original module, in float64, with negative controls.

Owns `Proof` and the search for the groups to blame when a test fails.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from onebasin.arguments import check_model, inputs_tuple
from onebasin.errors import OneBasinError
from onebasin.symmetry.display import proof_text
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.pinning import without_groups
from onebasin.symmetry.proving.agreement import disagreement
from onebasin.symmetry.proving.controls import VISIBLE, Control, control_groups
from onebasin.symmetry.proving.draws import draw_cycles, draw_exchanges, restrict
from onebasin.symmetry.proving.specimen import Specimen
from onebasin.symmetry.symmetry import Symmetry

TOLERANCE = 1e-9
"""Smaller differences are rounding in any model."""

HEADROOM, LOOSEST = 30.0, 1e-6
"""A permuted model rounds otherwise; by how much, changes in the last bits of the parameters show.

On deep networks from 18 to 800 layers the difference of a permuted model is 0.4 to 1.3 times
what such changes make; a wrong group's is 1e-4 or more.
"""


@dataclass(frozen=True)
class Proof:
    """The outcome of testing a symmetry on a model.

    Args:
        symmetry: what holds: the symmetry without the groups that failed, whose units are
            fixed. A failed group that others nest in stays as a fixed axis.
        max_error: the worst relative difference of an output under `symmetry`.
        failed_groups: each group that changed the output, and by how much.
        controls: each group whose negative control changed the output, as it must.
        unverified: groups that no control showed to matter: nothing was found against
            them, and nothing that speaks for them (dead code, for example).
        tolerance: the largest difference that counts as rounding: 1e-9, or more where the
            model itself blows the last bits of its parameters up to more, 1e-6 at most.
        seconds: how long the proof took.
    """

    symmetry: Symmetry = field(repr=False)
    max_error: float
    failed_groups: Mapping[str, str] = field(default_factory=dict)
    controls: Mapping[str, Control] = field(default_factory=dict)
    unverified: tuple[str, ...] = ()
    tolerance: float = TOLERANCE
    seconds: float = 0.0

    def __repr__(self) -> str:
        return proof_text(self)


def prove(
    symmetry: Symmetry,
    model: nn.Module,
    example_args: Sequence[Any] | Tensor,
    example_kwargs: Mapping[str, Any] | None = None,
    *,
    seed: int = 0,
    outputs: Callable[[Any], Any] | None = None,
    controls: bool | int = True,
) -> Proof:
    """Test a symmetry on the original module with permuted parameters.

    The module runs in float64 and evaluation mode, at generic parameters near its own, and
    is left exactly as it was. Two permutations that move every group must leave the outputs
    as they are. A group that does not is found, pinned and named. Then, one group at a
    time, the permutation is left off on one of the group's tensors: the output must change.

    Args:
        symmetry: the claim.
        model: the module it is about, with real weights.
        example_args: positional inputs, or one tensor; at least two different examples make
            a good test.
        example_kwargs: keyword inputs.
        seed: of the noise, the permutations and any random operators.
        outputs: which outputs count, a callable from the model's return value to a pytree
            of tensors; by default all but caches, as in `trace`.
        controls: whether to run the negative controls, or at most how many: each costs a
            forward pass.

    Raises:
        OneBasinError: when the model does not fit the symmetry, has no real weights, cannot
            be run on the inputs, returns NaN, or answers differently every time.
    """
    start = time.perf_counter()
    kwargs = example_kwargs or {}
    check_model("prove", model)
    args = inputs_tuple("prove", example_args)
    specimen = Specimen(symmetry, model, args, kwargs, seed=seed, outputs=outputs)
    trial = _Trial(specimen, _reference(specimen, symmetry))
    symmetry, max_error, failed = _find_what_holds(trial, symmetry, seed)
    limit = len(symmetry.groups) if controls is True else int(controls)
    seen = dict(control_groups(specimen, symmetry, trial.reference, limit=limit, seed=seed))
    visible = max(VISIBLE, trial.tolerance)
    return Proof(
        symmetry=symmetry,
        max_error=max_error,
        failed_groups=failed,
        controls={name: control for name, control in seen.items() if control.change > visible},
        unverified=tuple(name for name, control in seen.items() if control.change <= visible),
        tolerance=trial.tolerance,
        seconds=time.perf_counter() - start,
    )


@dataclass
class _Trial:
    specimen: Specimen
    reference: list[Tensor]
    tolerance: float = TOLERANCE

    def fails(self, error: float) -> bool:
        """Return whether a difference is more than rounding."""
        if self.tolerance < error <= LOOSEST and self.tolerance == TOLERANCE:
            rounding = disagreement(self.reference, self.specimen.run(self.specimen.jittered()))
            self.tolerance = max(TOLERANCE, min(LOOSEST, HEADROOM * rounding))
        return not error <= self.tolerance

    def error(self, permutation: Permutation) -> float:
        """Return how far a permutation of the parameters moves the outputs."""
        return disagreement(self.reference, self.specimen.run(self.specimen.moved(permutation)))


def _reference(specimen: Specimen, symmetry: Symmetry) -> list[Tensor]:
    reference = specimen.run(specimen.moved(Permutation.identity(symmetry)))
    if not reference:
        raise OneBasinError("prove: the model returns no tensor that counts; choose with outputs=")
    if any(bool(tensor.isnan().any()) for tensor in reference):
        raise OneBasinError(
            "prove: the model returns NaN on the example inputs in float64; give other inputs"
        )
    return reference


def _find_what_holds(
    trial: _Trial, symmetry: Symmetry, seed: int
) -> tuple[Symmetry, float, dict[str, str]]:
    """Pin the groups that fail until the rest passes; return it, its error and the failures."""
    failed: dict[str, str] = {}
    while True:
        errors = []
        for draw in (draw_exchanges, draw_cycles):
            permutation = draw(symmetry, seed=seed)
            errors.append(trial.error(permutation))
            if trial.fails(errors[-1]):
                break
        else:
            return symmetry, max(errors), failed
        _check_deterministic(trial, symmetry)
        culprits = _blame(trial, permutation, list(symmetry.groups), errors[-1])
        found = {name: f"moving it changes the output by {e:.1e}" for name, e in culprits.items()}
        failed |= found
        symmetry = without_groups(symmetry, found)


def _check_deterministic(trial: _Trial, symmetry: Symmetry) -> None:
    if trial.fails(trial.error(Permutation.identity(symmetry))):
        raise OneBasinError(
            "prove: the model answers differently each time it is run; make its forward pass"
            " deterministic in evaluation mode"
        )


def _blame(
    trial: _Trial, permutation: Permutation, groups: list[str], error: float
) -> dict[str, float]:
    """Return the groups, out of some that fail together, that fail by themselves.

    Permutations that hold form a group: if each of two holds, so does the product. So some
    group fails alone, and halving finds it. Should rounding hide that, all are returned.
    """
    if len(groups) == 1:
        return {groups[0]: error}
    culprits: dict[str, float] = {}
    middle = len(groups) // 2
    for half in (groups[:middle], groups[middle:]):
        half_error = trial.error(restrict(permutation, half))
        if trial.fails(half_error):
            culprits |= _blame(trial, permutation, half, half_error)
    return culprits or dict.fromkeys(groups, error)
