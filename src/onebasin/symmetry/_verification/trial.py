"""Trials: comparisons of the outputs of a model under permutations, at fixed inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

import torch
from torch import Tensor

from onebasin.errors import ArgumentError, OneBasinError
from onebasin.symmetry._verification.probe import Probe, is_out_of_memory
from onebasin.symmetry._verification.randomize import restrict_permutation
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry

MASKED = 1e30
CANCELLED = 1e-12

MIN_MASK, MASK_RATIO, MASK_SPREAD, MAX_MASKS = 1e3, 1e3, 0.99, 4
"""A mask is larger than `MIN_MASK` and `MASK_RATIO` times larger than all other entries.

All entries with the same mask differ by at most the fraction `MASK_SPREAD`, because logits may
be added to a mask.
"""


def relative_differences(
    reference: Sequence[Tensor], others: Sequence[Tensor], least_sizes: Sequence[float] = ()
) -> list[float]:
    """Return the worst relative difference for each output tensor of two runs.

    An entry is compared relative to its own size or to the median size of its tensor,
    whichever is larger. The median excludes masks such as -1e9. Integers, booleans and
    infinities must be equal.

    Args:
        reference: the tensors of one run.
        others: the tensors of the other run, in the same order.
        least_sizes: for each tensor the minimum size that entries are compared with.

    Returns:
        For each tensor 0.0 if all entries are equal, and infinity if shapes, integers or
        infinities differ. All are infinite if the numbers of tensors differ.
    """
    if len(reference) != len(others):
        return [inf] * max(len(reference), len(others))
    return list(map(_difference, reference, others, least_sizes or [0.0] * len(reference)))


def max_relative_error(reference: Sequence[Tensor], others: Sequence[Tensor]) -> float:
    """Return the maximum of the `relative_differences`, or 0.0 without tensors."""
    return max(relative_differences(reference, others), default=0.0)


def _difference(reference: Tensor, other: Tensor, least_size: float) -> float:
    if reference.shape != other.shape or reference.dtype != other.dtype:
        return inf
    if reference.is_complex():
        parts = torch.view_as_real(reference), torch.view_as_real(other)
        return _difference(*parts, least_size)
    differs = reference != other
    if not bool(differs.any()):
        return 0.0
    if not reference.is_floating_point():
        return inf
    scale = reference.abs().clamp(min=max(typical_size(reference), least_size))
    relative = ((reference - other).abs() / scale)[differs]
    return float(relative.nan_to_num(nan=inf, posinf=inf).max())


def typical_size(tensor: Tensor) -> float:
    """Return the median size of the entries that are neither masks nor left by cancellation."""
    sizes = _without_masks(tensor.abs().flatten())
    sizes = sizes[sizes > CANCELLED * sizes.max()] if sizes.numel() else sizes
    return float(sizes.median()) if sizes.numel() else 1.0


def _without_masks(sizes: Tensor) -> Tensor:
    sizes = sizes[sizes < MASKED]
    for _ in range(MAX_MASKS):
        top = float(sizes.max()) if sizes.numel() else 0.0
        rest = sizes[sizes < MASK_SPREAD * top]
        if top < MIN_MASK or not bool(rest.any()) or float(rest.max()) * MASK_RATIO > top:
            break
        sizes = rest
    return sizes


TOLERANCE = 1e-9
"""Maximum difference that counts as rounding for every model."""

HEADROOM = 30.0
"""Tolerance relative to the change from rounding noise in the parameters.

On deep networks of 18 to 800 layers, the difference of a permuted model is 0.4 to 1.3 times
the change from rounding noise.
"""

MAX_TOLERANCE, MAX_PLAIN_TOLERANCE = 3e-5, 1e-4
"""Maximum tolerances in one precision and with the model's own casts.

An invalid group often changes the outputs by little more. An output tensor with a larger
tolerance therefore verifies no group.
"""

MAX_SEARCH_RUNS = 256
"""Maximum number of runs to identify failing groups; unresolved groups fail together."""


@dataclass
class Trial:
    """One set of parameters and inputs, with the reference outputs.

    Args:
        probe: the model with these parameters and inputs.
        reference: outputs of the unpermuted model.
        place: difference from the model's own parameters and example, for messages.
        least_sizes: sizes of the outputs on the example. Outputs of saturated units may cancel
            to smaller values, and would be compared with rounding.
    """

    probe: Probe
    reference: list[Tensor]
    place: str = ""
    least_sizes: Sequence[float] = ()
    runs_left: int = MAX_SEARCH_RUNS
    _measured: list[list[float]] = field(default_factory=list)

    @property
    def tolerances(self) -> list[float]:
        """The maximum difference of each output tensor that counts as rounding."""
        return self._measured[-1] if self._measured else [TOLERANCE] * len(self.reference)

    @property
    def informative(self) -> list[bool]:
        """Whether a change of each output tensor can verify a group.

        It cannot if the tolerance is large, or if the outputs are integers. For example, equal
        indices of the largest scores do not imply equal scores.
        """
        return [
            tolerance <= self._max_tolerance and (x.is_floating_point() or x.is_complex())
            for tolerance, x in zip(self.tolerances, self.reference, strict=True)
        ]

    @property
    def tolerance(self) -> float:
        """The largest tolerance of an informative output tensor."""
        return max((t for t in self.tolerances if t <= self._max_tolerance), default=TOLERANCE)

    def errors(self, permutation: Permutation) -> list[float]:
        """Return the relative change of each output tensor under a permutation."""
        return self.differences_at(self.probe.permuted(permutation))

    def differences_at(self, tensors: Mapping[str, Tensor]) -> list[float]:
        """Return the differences of the outputs at other parameters and buffers.

        The model accepts its inputs, so an exception counts as an infinite difference.

        Raises:
            OneBasinError: when memory runs out.
        """
        try:
            return self.differences(self.probe.run(tensors))
        except OneBasinError as error:
            if is_out_of_memory(error.__cause__):
                raise
            return [inf] * len(self.reference)

    def differences(self, outputs: Sequence[Tensor]) -> list[float]:
        """Return the relative difference of each output tensor from the reference."""
        return relative_differences(self.reference, outputs, self.least_sizes)

    def fails(self, errors: Sequence[float]) -> bool:
        """Return whether some difference exceeds rounding.

        Raises:
            OneBasinError: when the model is not deterministic.
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
        """Return the largest change that exceeds rounding, or 0.0."""
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
        if max(self.errors(self._identity), default=0.0) > self._max_tolerance:
            raise ArgumentError(
                "the model is not deterministic in evaluation mode; remove random"
                " operations from its forward pass"
            )

    @property
    def _identity(self) -> Permutation:
        return Permutation.identity(self.probe.symmetry)

    @property
    def _max_tolerance(self) -> float:
        return MAX_TOLERANCE if self.probe.is_strict else MAX_PLAIN_TOLERANCE

    @property
    def _precisions(self) -> tuple[torch.dtype, ...]:
        """Precisions of the noise that is added to the parameters to measure rounding."""
        if self.probe.is_strict:
            return (torch.float64,)
        return tuple(dict.fromkeys((self.probe.dtype, torch.float32)))

    def _rounding(self, dtype: torch.dtype) -> list[float]:
        noise_changes = self.differences_at(self.probe.with_rounding_noise(dtype))
        if len(noise_changes) != len(self.reference):
            return [inf] * len(self.reference)
        return [max(TOLERANCE, HEADROOM * change) for change in noise_changes]


def _exceed(errors: Sequence[float], tolerances: Sequence[float]) -> bool:
    if len(errors) != len(tolerances):
        return True
    return any(not e <= t for e, t in zip(errors, tolerances, strict=True))


def further_trial(probe: Probe, symmetry: Symmetry, place: str, first: Trial) -> Trial:
    """Return a trial at other parameters or on other inputs.

    Args:
        probe: the model with the other parameters or inputs.
        symmetry: the tested symmetry.
        place: description of the parameters and inputs, for messages.
        first: the trial on the example.

    Raises:
        OneBasinError: when the model rejects the inputs or returns NaN.
    """
    reference = probe.run(probe.permuted(Permutation.identity(symmetry)))
    if not reference or any(bool(x.isnan().any()) for x in reference):
        raise ArgumentError(f"the model returns NaN or nothing {place}; pass other inputs")
    sizes = [typical_size(x) if x.is_floating_point() else 0.0 for x in first.reference]
    return Trial(probe, reference, place, sizes if len(sizes) == len(reference) else ())


def failing_groups(
    trial: Trial, permutation: Permutation, errors: Sequence[float]
) -> dict[str, float]:
    """Return the groups that make a permutation change the outputs, with their changes.

    Valid permutations are closed under composition. If a permutation fails, some single
    group fails, and bisection identifies it. If rounding hides it, all groups are returned.
    """

    def errors_of(groups: Sequence[str]) -> list[float]:
        return trial.errors(restrict_permutation(permutation, groups))

    groups = list(permutation.symmetry.groups)
    return bisect_failures(trial, groups, max(errors), errors_of, trial.fails)


def bisect_failures(
    trial: Trial,
    groups: Sequence[str],
    error: float,
    errors_of: Callable[[Sequence[str]], list[float]],
    fails: Callable[[Sequence[float]], bool],
) -> dict[str, float]:
    """Return the groups that change the outputs, with their changes; all if rounding hides them.

    Args:
        trial: the trial, whose number of runs is limited.
        groups: groups that change the outputs together.
        error: the change of all of them.
        errors_of: function that returns the changes of the outputs by some of the groups.
        fails: function that returns whether such changes are a failure.
    """
    if len(groups) == 1 or trial.runs_left <= 0:
        return dict.fromkeys(groups, error)
    failing: dict[str, float] = {}
    middle = len(groups) // 2
    for half in (groups[:middle], groups[middle:]):
        trial.runs_left -= 1
        errors = errors_of(half)
        if fails(errors):
            failing |= bisect_failures(trial, half, max(errors), errors_of, fails)
    return failing or dict.fromkeys(groups, error)
