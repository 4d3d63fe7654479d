"""Test of a symmetry on the original module, in float64, with negative controls.

Owns `Verification`, and the sequence of tested parameters and inputs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from onebasin._checks import check_model, described, model_inputs
from onebasin.errors import ArgumentError, OneBasinError, public
from onebasin.symmetry._display import verification_text
from onebasin.symmetry._inference.graphs import inputs_at_branches
from onebasin.symmetry._verification.classes import ClassTests
from onebasin.symmetry._verification.controls import Control, PartialPermutation, control_groups
from onebasin.symmetry._verification.inputs import (
    Example,
    batched_tensors,
    is_small,
    one_entry,
    resized_examples,
    scaled_examples,
)
from onebasin.symmetry._verification.probe import Probe, is_out_of_memory
from onebasin.symmetry._verification.randomize import (
    random_cyclic_permutation,
    random_transpositions,
    uniform_draws,
)
from onebasin.symmetry._verification.trial import (
    TOLERANCE,
    Trial,
    failing_groups,
    further_trial,
    max_relative_error,
)
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry, restrict

INTEGER_DRAWS = 16
"""Number of permutations for models with integer outputs only, which show few changes."""

SAME_ENTRY = 1e-6
"""Maximum relative difference between an entry's outputs in a batch and in a batch of one."""


@dataclass(frozen=True)
class Verification:
    """The result of testing a symmetry on a model.

    Args:
        symmetry: the verified part: the symmetry without the failed groups, whose units are
            fixed. A failed group that others nest in remains as a fixed axis.
        max_error: the largest relative difference of an output under `symmetry`.
        failed_groups: the change of the output for each group that changed it.
        controls: the verified groups, each with a negative control that changed the output.
        unverified: groups without a negative control that changed the output. They may be
            valid; examples are dead code and units that no input activates.
        tolerance: the largest difference that counts as rounding: 1e-9, or more if the model
            amplifies changes in the last bits of its parameters.
        failed_classes: the change of the output for each group whose class changed it; these
            groups keep only permutations.
        unverified_classes: groups whose class passed without a negative control that changed
            the output.
        possibly_larger_classes: a larger class for each group in which random elements changed
            nothing: the class of the group may not be the largest. At most 32 elements are tested.
        seconds: duration of the verification.
        inputs: the shapes of all inputs that the model was run on.
        precision: precision of the computation: float64, unless the model does not support it.
    """

    symmetry: Symmetry = field(repr=False)
    max_error: float
    failed_groups: Mapping[str, str] = field(default_factory=dict)
    controls: Mapping[str, Control] = field(default_factory=dict)
    unverified: tuple[str, ...] = ()
    tolerance: float = TOLERANCE
    failed_classes: Mapping[str, str] = field(default_factory=dict)
    unverified_classes: tuple[str, ...] = ()
    possibly_larger_classes: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    inputs: tuple[str, ...] = ()
    precision: str = "float64"

    def __repr__(self) -> str:
        return verification_text(self)


@public
def verify(
    symmetry: Symmetry,
    model: nn.Module,
    example_args: Sequence[Any] | Mapping[str, Any] | Tensor,
    example_kwargs: Mapping[str, Any] | None = None,
    *,
    seed: int = 0,
    outputs: Callable[[Any], Any] | None = None,
    controls: bool | int = True,
    other_inputs: Sequence[Any] = (),
    states: Sequence[Mapping[str, Tensor]] = (),
) -> Verification:
    """Test a symmetry on the original module with permuted parameters.

    The module runs in float64 and evaluation mode and is not modified. Two permutations
    that move every group must preserve the outputs. They are tested near the module's own
    parameters and at random ones. They are tested on the example, on larger values, and on
    other batch sizes, lengths and image sizes that the module accepts. These include sizes
    at which the module takes another branch. A group that fails is identified and fixed.
    A negative control then leaves the permutation out on one tensor of each group, or on
    half of a group's only tensor: the output must change. A derivative shows this for all
    groups in one pass. If groups have classes beyond permutations, random elements of these
    classes are tested in the same way; a group that fails keeps only permutations. Random
    elements of the next larger classes must change the outputs.

    Args:
        symmetry: the symmetry to verify.
        model: a module with real weights.
        example_args: positional inputs, or one tensor; use at least two different examples.
        example_kwargs: keyword inputs.
        seed: random seed for the noise, the permutations and random operators.
        outputs: function from the model's return value to a pytree of the outputs that must be
            preserved; by default all outputs but caches, as in `infer_symmetry`.
        controls: whether to run the negative controls, or the maximum number of groups to
            run them for. Groups without a control are unverified.
        other_inputs: further inputs to test on, as pairs of positional and keyword inputs.
        states: checkpoints of the model, such as state dicts; the symmetry must also hold
            with the buffers of each checkpoint.

    Raises:
        OneBasinError: when the model does not match the symmetry, has no real weights, does
            not accept the inputs, returns NaN, or returns different outputs in each run.
    """
    start = time.perf_counter()
    check_model(model)
    example = Example(*model_inputs(model, example_args, example_kwargs))
    others = _examples_of(model, other_inputs)
    probe = Probe(symmetry, model, example.args, example.kwargs, seed=seed, outputs=outputs)
    run = _Verification(symmetry, seed, _first_trial(probe, symmetry), [str(example)])
    run.test_first()
    run.test_one_entry(example)
    run.test_values(example)
    run.test_states(states)
    run.test_inputs(others)
    run.test_shapes(example)
    run.test_branches(model, example)
    verified = run.control(len(symmetry.groups) if controls is True else int(controls))
    classes = ClassTests(run.symmetry, run.trials, seed)
    largest = classes.test_elements()
    return Verification(
        symmetry=classes.symmetry,
        max_error=max(run.max_error, largest),
        failed_groups=run.failed,
        controls=verified,
        unverified=tuple(n for n in run.controllable if n not in verified),
        tolerance=max(trial.tolerance for trial in run.trials),
        failed_classes=classes.failed,
        unverified_classes=classes.uncontrolled(verified),
        possibly_larger_classes=classes.possibly_larger(verified),
        seconds=time.perf_counter() - start,
        inputs=tuple(dict.fromkeys(run.inputs)),
        precision=str(run.first.probe.dtype).removeprefix("torch."),
    )


@dataclass
class _Verification:
    """State of a verification: the remaining symmetry, and the trials that it passed."""

    symmetry: Symmetry
    seed: int
    first: Trial
    inputs: list[str]
    max_error: float = 0.0
    failed: dict[str, str] = field(default_factory=dict)
    trials: list[Trial] = field(default_factory=list)
    reduced: list[int] = field(default_factory=list)
    """Indices of the batched tensors, if batch entries do not affect each other."""

    def test_first(self) -> None:
        """Test at parameters near the model's own on the example."""
        failure = self._first_failure(self.first, self._first_draws)
        if failure is None:
            self.trials.append(self.first)
            return
        self._replace_noise()
        self._fix_failing_groups(self.first, self._first_draws)

    def test_one_entry(self, example: Example) -> None:
        """Test on a batch of one; use it in later tests if its outputs equal the batch's."""
        batch, size = batched_tensors(example)
        if size > 1 and self._test_example(one_entry(example, batch)) and self.trials:
            single = self.trials[-1].reference
            whole = [x[:1] for x in self.first.reference if x.dim() and x.shape[0] == size]
            if max_relative_error(single, whole) <= SAME_ENTRY:
                self.reduced = batch

    def test_values(self, example: Example) -> None:
        """Test at random parameters and on larger inputs."""
        probe = self.first.probe
        self._test(probe.at_random(), "at random parameters", self._both_draws)
        places = ("on inputs 100 times as large", "on inputs from 0 to 255")
        for place, scaled in zip(places, scaled_examples(example, seed=self.seed), strict=False):
            scaled = one_entry(scaled, self.reduced)
            self._test(probe.with_inputs(scaled.args, scaled.kwargs), place)

    def test_states(self, states: Sequence[Mapping[str, Tensor]]) -> None:
        """Test with the buffers of checkpoints."""
        for i, state in enumerate(states):
            probe = self.first.probe.with_buffers(state)
            if probe is not None:
                self._test(probe, f"with the buffers of checkpoint {i + 1}")

    def test_inputs(self, examples: Sequence[Example]) -> None:
        """Test on inputs of the caller, which the model must accept."""
        for example in examples:
            if self.symmetry.groups:
                probe = self.first.probe.with_inputs(example.args, example.kwargs)
                self._fix_failing_groups(
                    self._further_trial(probe, f"on inputs {example}"), self._cycles
                )
                self.inputs.append(str(example))

    def test_shapes(self, example: Example) -> None:
        """Test on inputs of other shapes, if the model accepts them."""
        for resizings in resized_examples(example, seed=self.seed, batch=self.reduced):
            for resizing in resizings:
                accepted = [any(map(self._test_resized, choice)) for choice in resizing]
                if any(accepted):
                    break

    def test_branches(self, model: nn.Module, example: Example) -> None:
        """Test on inputs whose sizes make the model take another branch."""
        if not self.symmetry.groups:
            return
        _, batch = batched_tensors(example)
        for variation in inputs_at_branches(model, example.args, example.kwargs):
            other = Example(variation.args, variation.kwargs)
            if batched_tensors(other)[1] == batch:
                other = one_entry(other, self.reduced)
            if is_small(other, example):
                self._test_resized(other)

    def control(self, limit: int) -> dict[str, Control]:
        """Return the controls of at most `limit` groups, distributed evenly over the model."""
        names = self.controllable
        count = min(limit, len(names))
        chosen = [names[i * len(names) // count] for i in range(count)]
        partial = PartialPermutation(self.symmetry, self.seed)
        return control_groups(self.trials, partial, groups=chosen)

    @property
    def controllable(self) -> list[str]:
        """The groups with more than one unit."""
        return [name for name, group in self.symmetry.groups.items() if group.size > 1]

    def _test_resized(self, example: Example) -> bool:
        return str(example) in self.inputs or self._test_example(example)

    def _test_example(self, example: Example) -> bool:
        probe = self.first.probe.with_inputs(example.args, example.kwargs)
        is_accepted = self._test(probe, f"on inputs {example}")
        if is_accepted:
            self.inputs.append(str(example))
        return is_accepted

    def _test(
        self,
        probe: Probe,
        place: str,
        draws: Callable[[], Iterator[Permutation]] | None = None,
    ) -> bool:
        """Test at other parameters or on other inputs.

        Returns:
            Whether the test ran: some group is left, and the model accepts the inputs.
        """
        if not self.symmetry.groups:
            return False
        try:
            trial = self._further_trial(probe, place)
        except OneBasinError as error:
            if is_out_of_memory(error.__cause__):
                raise
            return False
        self._fix_failing_groups(trial, draws or self._cycles)
        return True

    def _further_trial(self, probe: Probe, place: str) -> Trial:
        return further_trial(probe, self.symmetry, place, self.first)

    def _fix_failing_groups(self, trial: Trial, draws: Callable[[], Iterator[Permutation]]) -> None:
        """Fix the groups that fail until the remaining symmetry passes."""
        while True:
            failure = self._first_failure(trial, draws)
            if failure is None:
                self.trials.append(trial)
                return
            permutation, changes = failure
            where = f" {trial.place}" if trial.place else ""
            failed = {
                name: f"permuting it changes the output by {change:.1e}{where}"
                for name, change in failing_groups(trial, permutation, changes).items()
            }
            self.failed |= failed
            self.symmetry = restrict(self.symmetry, failed)

    def _first_failure(
        self, trial: Trial, draws: Callable[[], Iterator[Permutation]]
    ) -> tuple[Permutation, list[float]] | None:
        largest = 0.0
        for permutation in draws():
            errors = trial.errors(permutation)
            if trial.fails(errors):
                return permutation, errors
            largest = max(largest, trial.largest(errors))
        self.max_error = max(self.max_error, largest)
        return None

    def _replace_noise(self) -> None:
        """Make random operators return equal entries: some fail only because of noise."""
        probe = self.first.probe
        identity = Permutation.identity(self.symmetry)
        if probe.is_random(probe.permuted(identity)):
            self.first = _first_trial(probe.without_noise(), self.symmetry)

    def _first_draws(self) -> Iterator[Permutation]:
        yield from self._both_draws()
        yield from uniform_draws(self.symmetry, seed=self.seed)
        if not any(x.is_floating_point() or x.is_complex() for x in self.first.reference):
            for i in range(INTEGER_DRAWS):
                yield Permutation.random(self.symmetry, seed=self.seed + 100 + i)

    def _both_draws(self) -> Iterator[Permutation]:
        yield random_transpositions(self.symmetry, seed=self.seed)
        yield random_cyclic_permutation(self.symmetry, seed=self.seed)

    def _cycles(self) -> Iterator[Permutation]:
        yield random_cyclic_permutation(self.symmetry, seed=self.seed)


def _examples_of(model: nn.Module, other_inputs: Sequence[Any]) -> list[Example]:
    """Return the caller's further inputs as examples."""
    if not isinstance(other_inputs, list | tuple):
        raise ArgumentError(
            f"other_inputs is {described(other_inputs)}; pass a list of pairs of positional"
            " and keyword inputs"
        )
    for i, inputs in enumerate(other_inputs):
        if not isinstance(inputs, list | tuple) or len(inputs) != 2 or not _is_mapping(inputs[1]):
            raise ArgumentError(
                f"other_inputs[{i}] is {described(inputs)}; pass pairs of"
                " positional and keyword inputs such as ((x,), {})"
            )
    return [Example(*model_inputs(model, *inputs)) for inputs in other_inputs]


def _is_mapping(value: Any) -> bool:
    return value is None or isinstance(value, Mapping)


def _first_trial(probe: Probe, symmetry: Symmetry) -> Trial:
    """Return the trial near the model's own parameters, in the first precision that works."""
    first_error: OneBasinError | None = None
    for candidate in _precisions(probe):
        try:
            reference = candidate.run(candidate.permuted(Permutation.identity(symmetry)))
        except OneBasinError as error:
            if is_out_of_memory(error.__cause__):
                raise
            first_error = first_error or error
        else:
            return Trial(candidate, _checked(reference))
    assert first_error is not None
    raise first_error


def _precisions(probe: Probe) -> Iterator[Probe]:
    yield probe
    yield probe.in_plain_precision(torch.float64)
    yield probe.in_plain_precision(probe.own_dtype)


def _checked(reference: list[Tensor]) -> list[Tensor]:
    if not reference:
        raise ArgumentError("the model returns no selected tensor; pass outputs=")
    if any(bool(tensor.isnan().any()) for tensor in reference):
        raise ArgumentError(
            "the model returns NaN on the example inputs in float64; pass other inputs"
        )
    return reference
