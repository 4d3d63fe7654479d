"""Trials: a specimen on some inputs, whose outputs under permutations are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

import torch
from torch import Tensor

from onebasin.errors import OneBasinError
from onebasin.symmetry._verification.agreement import disagreements, typical_size
from onebasin.symmetry._verification.draws import restrict
from onebasin.symmetry._verification.specimen import Probe, is_out_of_memory
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry

TOLERANCE = 1e-9
"""Smaller differences are rounding in any model."""

HEADROOM = 30.0
"""Tolerance in units of the change that the last bits of the parameters make.

On deep networks from 18 to 800 layers the difference of a permuted model is 0.4 to 1.3 times
the difference that such changes make.
"""

LOOSEST, LOOSEST_PLAIN = 3e-5, 1e-4
"""Largest tolerances in one precision and with the model's own casts.

A wrong group often changes the outputs by little more. So an output tensor with a larger
tolerance verifies no group.
"""

MOST_SEARCH_RUNS = 256
"""Runs that look for the groups to blame; what they cannot tell apart fails together."""


@dataclass
class Trial:
    """One point of parameter space and one example, with the outputs when nothing is moved.

    Args:
        specimen: the model there.
        reference: its outputs.
        place: where it differs from the model's own parameters and example, for messages.
        least_sizes: sizes of the outputs on the example. Where units saturate, outputs may
            cancel to less, and would be compared with rounding.
    """

    specimen: Probe
    reference: list[Tensor]
    place: str = ""
    least_sizes: Sequence[float] = ()
    runs_left: int = MOST_SEARCH_RUNS
    _measured: list[list[float]] = field(default_factory=list)

    @property
    def tolerances(self) -> list[float]:
        """For each output tensor the largest difference that counts as rounding."""
        return self._measured[-1] if self._measured else [TOLERANCE] * len(self.reference)

    @property
    def informative(self) -> list[bool]:
        """For each output tensor whether a change of it verifies a group.

        It does not where rounding is large. Neither do whole numbers, such as the indices of
        the largest scores: equal ones do not show that the scores are.
        """
        return [
            tolerance <= self._loosest and (x.is_floating_point() or x.is_complex())
            for tolerance, x in zip(self.tolerances, self.reference, strict=True)
        ]

    @property
    def tolerance(self) -> float:
        """The largest tolerance of an informative output tensor."""
        return max((t for t in self.tolerances if t <= self._loosest), default=TOLERANCE)

    def errors(self, permutation: Permutation) -> list[float]:
        """Return for each output tensor how far a permutation of the parameters moves it."""
        return self.differences_at(self.specimen.moved(permutation))

    def differences_at(self, tensors: Mapping[str, Tensor]) -> list[float]:
        """Return the differences of the outputs at other parameters and buffers.

        The model accepts its inputs. So an error is a difference, too: an infinite one.

        Raises:
            OneBasinError: when memory runs out.
        """
        try:
            return self.differences(self.specimen.run(tensors))
        except OneBasinError as error:
            if is_out_of_memory(error.__cause__):
                raise
            return [inf] * len(self.reference)

    def differences(self, outputs: Sequence[Tensor]) -> list[float]:
        """Return for each output tensor how far it is from the reference."""
        return disagreements(self.reference, outputs, self.least_sizes)

    def fails(self, errors: Sequence[float]) -> bool:
        """Return whether some difference is more than rounding.

        Raises:
            OneBasinError: when the outputs are others each time the model is run.
        """
        if max(errors, default=0.0) <= TOLERANCE:
            return False
        if not self._measured:
            self._check_repeatable()
        for level in range(len(self._precisions)):
            if level == len(self._measured):
                self._measured.append(self._rounding(self._precisions[level]))
            if not _exceed(errors, self._measured[level]):
                return False
        return True

    def visible(self, changes: Sequence[float], least: float) -> float:
        """Return the largest change that is more than rounding, 0.0 if there is none."""
        visible = [
            change
            for change, tolerance, counts in zip(
                changes, self.tolerances, self.informative, strict=False
            )
            if counts and change > max(least, tolerance)
        ]
        return max(visible, default=0.0)

    def largest(self, errors: Sequence[float]) -> float:
        """Return the largest difference of the informative output tensors."""
        counted = zip(errors, self.informative, strict=False)
        return max((error for error, counts in counted if counts), default=0.0)

    def _check_repeatable(self) -> None:
        if max(self.errors(self._still), default=0.0) > self._loosest:
            raise OneBasinError(
                "verify: the model returns other outputs each time it is run; make its forward"
                " pass deterministic in evaluation mode"
            )

    @property
    def _still(self) -> Permutation:
        return Permutation.identity(self.specimen.symmetry)

    @property
    def _loosest(self) -> float:
        return LOOSEST if self.specimen.is_strict else LOOSEST_PLAIN

    @property
    def _precisions(self) -> tuple[torch.dtype, ...]:
        """Precisions in whose last bits the parameters change to measure rounding."""
        if self.specimen.is_strict:
            return (torch.float64,)
        return tuple(dict.fromkeys((self.specimen.dtype, torch.float32)))

    def _rounding(self, dtype: torch.dtype) -> list[float]:
        found = self.differences_at(self.specimen.jittered(dtype))
        if len(found) != len(self.reference):
            return [inf] * len(self.reference)
        return [max(TOLERANCE, HEADROOM * rounding) for rounding in found]


def _exceed(errors: Sequence[float], tolerances: Sequence[float]) -> bool:
    if len(errors) != len(tolerances):
        return True
    return any(not e <= t for e, t in zip(errors, tolerances, strict=True))


def further_trial(specimen: Probe, symmetry: Symmetry, place: str, first: Trial) -> Trial:
    """Return a trial at another point or on other inputs.

    Args:
        specimen: at another point or on other inputs.
        symmetry: what is claimed of the model.
        place: where it is, for messages.
        first: the trial on the example.

    Raises:
        OneBasinError: when the model refuses the inputs or returns NaN.
    """
    reference = specimen.run(specimen.moved(Permutation.identity(symmetry)))
    if not reference or any(bool(x.isnan().any()) for x in reference):
        raise OneBasinError(f"verify: the model returns NaN or nothing {place}; give other inputs")
    sizes = [typical_size(x) if x.is_floating_point() else 0.0 for x in first.reference]
    return Trial(specimen, reference, place, sizes if len(sizes) == len(reference) else ())


def failing_groups(
    trial: Trial, permutation: Permutation, errors: Sequence[float]
) -> dict[str, float]:
    """Return the groups to blame for a permutation that changes the outputs, and their changes.

    Permutations that hold form a group: if each of two holds, so does the product. So some
    group fails alone, and halving finds it. Should rounding hide that, all are returned.
    """
    return _blame(trial, permutation, list(permutation.symmetry.groups), max(errors))


def _blame(
    trial: Trial, permutation: Permutation, groups: list[str], error: float
) -> dict[str, float]:
    if len(groups) == 1 or trial.runs_left <= 0:
        return dict.fromkeys(groups, error)
    culprits: dict[str, float] = {}
    middle = len(groups) // 2
    for half in (groups[:middle], groups[middle:]):
        trial.runs_left -= 1
        errors = trial.errors(restrict(permutation, half))
        if trial.fails(errors):
            culprits |= _blame(trial, permutation, half, max(errors))
    return culprits or dict.fromkeys(groups, error)
