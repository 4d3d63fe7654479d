"""Tests of classes beyond permutations, on the original module.

Random elements of all groups must preserve the outputs. A group that fails keeps only permutations.
Negative controls apply the maps of a group to one tensor only. Elements of larger classes show
whether a class is the largest.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from torch import Tensor
from torch.utils._pytree import tree_leaves

from onebasin.errors import OneBasinError
from onebasin.symmetry._transforming import TensorTransformer
from onebasin.symmetry._verification.controls import VISIBLE, PartialPermutation, control_groups
from onebasin.symmetry._verification.larger_classes import with_larger_class
from onebasin.symmetry._verification.trial import Trial, bisect_failures
from onebasin.symmetry.symmetry import Symmetry, without_actions
from onebasin.symmetry.transformation import Transformation

LEAST_CHANGE = 1e-8
"""Minimum relative change that counts as failure: maps round more than permutations."""

MAX_LARGER = 32
"""Maximum number of tested elements of larger classes; groups are chosen evenly."""


@dataclass
class ClassTests:
    """The classes of a symmetry that passed its tests.

    Args:
        symmetry: the symmetry; groups whose class failed have permutations only.
        trials: parameters and inputs at which permutations passed.
        seed: random seed of the elements.
        failed: the change of the output for each failed group.
    """

    symmetry: Symmetry
    trials: Sequence[Trial]
    seed: int
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def classed(self) -> list[str]:
        """The groups with more than permutations."""
        groups = self.symmetry.groups.values()
        return [group.name for group in groups if group.symmetry_class != "permutation"]

    def test_elements(self) -> float:
        """Test random elements; return the largest change of an output."""
        largest = 0.0
        for number, trial in enumerate(self.trials):
            while self.classed:
                element = random_maps(self.symmetry, seed=self.seed + number)
                errors = _errors(trial, element)
                if not _fails(trial, errors):
                    largest = max(largest, trial.largest(errors))
                    break
                self._remove(trial, element, max(errors))
        return largest

    def _remove(self, trial: Trial, element: Transformation, error: float) -> None:
        where = f" {trial.place}" if trial.place else ""
        for name, change in _failing(trial, element, self.classed, error).items():
            kind = self.symmetry.groups[name].symmetry_class
            self.failed[name] = f"maps of class {kind!r} change the output by {change:.1e}{where}"
        self.symmetry = without_actions(self.symmetry, self.failed)

    def uncontrolled(self, groups: Collection[str]) -> tuple[str, ...]:
        """Return the groups whose maps on one tensor alone change no output visibly.

        Args:
            groups: the groups to test.
        """
        chosen = [name for name in self.classed if name in groups]
        if not chosen:
            return ()
        parts = PartialTransformation(self.symmetry, self.seed)
        found = control_groups(self.trials, parts, groups=chosen)
        return tuple(name for name in chosen if name not in found)

    def possibly_larger(self, groups: Collection[str]) -> dict[str, str]:
        """Return a larger class for each group in which random elements change no output.

        Args:
            groups: the groups to test; at most `MAX_LARGER` elements are tested.
        """
        tests = [
            (name, larger, symmetry)
            for name in self.symmetry.groups
            if name in groups
            for larger, symmetry in with_larger_class(self.symmetry, name)
        ]
        count = min(MAX_LARGER, len(tests))
        trials = sorted(self.trials, key=_input_size)  # small inputs are fast, and often suffice
        found: dict[str, str] = {}
        for number in range(count):
            name, larger, symmetry = tests[number * len(tests) // count]
            element = only(random_maps(symmetry, seed=self.seed), [name])
            if not any(_is_visible(trial, element) for trial in trials):
                found.setdefault(name, larger)
        return found


class PartialTransformation(PartialPermutation):
    """Values of single tensors when the maps of one group act on that tensor only.

    Args:
        symmetry: the tested symmetry.
        seed: random seed of the maps.
    """

    def __init__(self, symmetry: Symmetry, seed: int) -> None:
        """Draw maps of every group."""
        super().__init__(symmetry, seed)
        element = random_maps(symmetry, seed=seed)
        self._transformers = {
            name: TensorTransformer(
                symmetry,
                element.maps,
                {} if action.mixes else element.scales,
                element.signs,
                {},
                {name: replace(action, gains=())},
            )
            for name, action in symmetry.actions.items()
        }

    def moved(self, group: str, tensor: str, param: Tensor) -> Tensor:
        """Return a tensor on which the maps of a group act."""
        return self._transformers[group].apply(self.symmetry.first_names.get(tensor, tensor), param)


def random_maps(symmetry: Symmetry, *, seed: int) -> Transformation:
    """Return a random transformation without a permutation, in which every group moves."""
    element = Transformation.random(symmetry, seed=seed)
    identity = Transformation.identity(symmetry).permutation
    signs = {name: _with_a_minus(values) for name, values in element.signs.items()}
    return Transformation(symmetry, identity, element.maps, element.scales, signs)


def _with_a_minus(signs: Tensor) -> Tensor:
    """Return signs whose first unit has another sign than the second."""
    result = signs.clone()
    if result.shape[-1] > 1:
        result[..., 0], result[..., 1] = -1.0, 1.0
    else:
        result.fill_(-1.0)
    return result


def only(transformation: Transformation, groups: Collection[str]) -> Transformation:
    """Return the maps, scales and signs of some groups."""

    def chosen(parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: values for name, values in parts.items() if name in groups}

    return Transformation(
        transformation.symmetry,
        Transformation.identity(transformation.symmetry).permutation,
        chosen(transformation.maps),
        chosen(transformation.scales),
        chosen(transformation.signs),
    )


def _errors(trial: Trial, element: Transformation) -> list[float]:
    """Return the changes of the outputs; none if a gain is zero at these parameters."""
    try:
        tensors = trial.probe.transformed(element)
    except OneBasinError:
        return [0.0] * len(trial.reference)
    return trial.differences_at(tensors)


def _input_size(trial: Trial) -> int:
    return sum(x.numel() for x in tree_leaves(trial.probe.inputs) if isinstance(x, Tensor))


def _fails(trial: Trial, errors: Sequence[float]) -> bool:
    return max(errors, default=0.0) > LEAST_CHANGE and trial.fails(errors)


def _is_visible(trial: Trial, element: Transformation) -> bool:
    return trial.visible(_errors(trial, element), VISIBLE) > 0


def _failing(
    trial: Trial, element: Transformation, groups: Sequence[str], error: float
) -> dict[str, float]:
    """Return the groups whose maps change the outputs, by bisection."""

    def errors_of(some: Sequence[str]) -> list[float]:
        return _errors(trial, only(element, some))

    return bisect_failures(trial, groups, error, errors_of, partial(_fails, trial))
