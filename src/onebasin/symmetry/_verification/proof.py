"""Verification: a symmetry tested on the original module, in float64, with negative controls.

Owns `Verification`, and the order in which parameters and inputs are tried.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from onebasin._checks import check_model, described
from onebasin._inputs import model_inputs
from onebasin.errors import OneBasinError
from onebasin.symmetry._display import proof_text
from onebasin.symmetry._inference.graphs import inputs_at_branches
from onebasin.symmetry._restriction import restrict
from onebasin.symmetry._verification.agreement import max_relative_error
from onebasin.symmetry._verification.controls import Control, control_groups
from onebasin.symmetry._verification.draws import (
    random_cycles,
    random_transpositions,
    uniform_draws,
)
from onebasin.symmetry._verification.inputs import (
    Example,
    batched_tensors,
    is_small,
    one_entry,
    resized_examples,
    scaled_examples,
)
from onebasin.symmetry._verification.specimen import Probe, is_out_of_memory
from onebasin.symmetry._verification.trial import TOLERANCE, Trial, failing_groups, further_trial
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry

INTEGER_DRAWS = 16
"""Draws for models whose outputs are all whole numbers, which show few changes."""

SAME_ENTRY = 1e-6
"""Largest relative difference of an entry's outputs in a batch and alone."""


@dataclass(frozen=True)
class Verification:
    """The outcome of testing a symmetry on a model.

    Args:
        symmetry: what holds: the symmetry without the groups that failed, whose units are
            fixed. A failed group that others nest in stays as a fixed axis.
        max_error: the worst relative difference of an output under `symmetry`.
        failed_groups: each group that changed the output, and by how much.
        controls: the verified groups: each with a negative control that changed the output.
        unverified: groups that no control showed to matter. Nothing was found against them,
            and nothing for them: dead code, or units that no input reached.
        tolerance: the largest difference that counts as rounding: 1e-9, or more where the
            model itself amplifies changes in the last bits of its parameters.
        seconds: how long the verification took.
        inputs: the shapes of all inputs that the model was run on.
        precision: what it was computed in: float64, unless the model refuses that.
    """

    symmetry: Symmetry = field(repr=False)
    max_error: float
    failed_groups: Mapping[str, str] = field(default_factory=dict)
    controls: Mapping[str, Control] = field(default_factory=dict)
    unverified: tuple[str, ...] = ()
    tolerance: float = TOLERANCE
    seconds: float = 0.0
    inputs: tuple[str, ...] = ()
    precision: str = "float64"

    def __repr__(self) -> str:
        return proof_text(self)


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

    The module runs in float64 and evaluation mode, and is left exactly as it was. Two
    permutations that move every group must not change the outputs: at parameters
    near the module's own and at random ones, on the example and on larger values, other
    batch sizes, lengths and image sizes, as far as the module accepts them. These include
    sizes at which the module takes another branch. A group that fails is found, fixed and
    named. Then the permutation is left off on one tensor of each group, or on half of a
    group's only tensor: the output must change. A derivative shows this for all groups in
    one pass.

    Args:
        symmetry: the claim.
        model: the module it is about, with real weights.
        example_args: positional inputs, or one tensor; at least two different examples make
            a good test.
        example_kwargs: keyword inputs.
        seed: of the noise, the permutations and any random operators.
        outputs: which outputs count, a callable from the model's return value to a pytree
            of tensors; by default all but caches, as in `infer_symmetry`.
        controls: whether to run the negative controls, or for how many groups at most.
            Groups without one are unverified.
        other_inputs: further inputs to test on, as pairs of positional and keyword inputs.
        states: checkpoints of the model, such as state dicts; the symmetry must hold with
            the buffers of each, too.

    Raises:
        OneBasinError: when the model does not fit the symmetry, has no real weights, cannot
            be run on the inputs, returns NaN, or returns different outputs every time.
    """
    start = time.perf_counter()
    check_model("prove", model)
    example = Example(*model_inputs("prove", model, example_args, example_kwargs))
    others = _examples_of(model, other_inputs)
    specimen = Probe(symmetry, model, example.args, example.kwargs, seed=seed, outputs=outputs)
    run = _Verification(symmetry, seed, _first_trial(specimen, symmetry), [str(example)])
    run.test_first()
    run.test_one_entry(example)
    run.test_values(example)
    run.test_states(states)
    run.test_inputs(others)
    run.test_shapes(example)
    run.test_branches(model, example)
    verified = run.control(len(symmetry.groups) if controls is True else int(controls))
    return Verification(
        symmetry=run.symmetry,
        max_error=run.max_error,
        failed_groups=run.failed,
        controls=verified,
        unverified=tuple(n for n in run.controllable if n not in verified),
        tolerance=max(trial.tolerance for trial in run.trials),
        seconds=time.perf_counter() - start,
        inputs=tuple(dict.fromkeys(run.inputs)),
        precision=str(run.first.specimen.dtype).removeprefix("torch."),
    )


@dataclass
class _Verification:
    """A verification under way: what still holds, and where it was tried."""

    symmetry: Symmetry
    seed: int
    first: Trial
    inputs: list[str]
    max_error: float = 0.0
    failed: dict[str, str] = field(default_factory=dict)
    trials: list[Trial] = field(default_factory=list)
    reduced: list[int] = field(default_factory=list)
    """Numbers of the batched tensors, if the model treats each entry of a batch alone."""

    def test_first(self) -> None:
        """Test at parameters near the model's own on the example."""
        failure = self._first_failure(self.first, self._first_draws)
        if failure is None:
            self.trials.append(self.first)
            return
        self._replace_noise()
        self._hold(self.first, self._first_draws)

    def test_one_entry(self, example: Example) -> None:
        """Test on a batch of one. If its outputs are those of the batch, it suffices below."""
        batch, size = batched_tensors(example)
        if size > 1 and self._test_example(one_entry(example, batch)) and self.trials:
            single = self.trials[-1].reference
            whole = [x[:1] for x in self.first.reference if x.dim() and x.shape[0] == size]
            if max_relative_error(single, whole) <= SAME_ENTRY:
                self.reduced = batch

    def test_values(self, example: Example) -> None:
        """Test at random parameters and on larger inputs."""
        specimen = self.first.specimen
        self._test(specimen.at_random(), "at random parameters", self._both_draws)
        places = ("on inputs 100 times as large", "on inputs from 0 to 255")
        for place, scaled in zip(places, scaled_examples(example, seed=self.seed), strict=False):
            scaled = one_entry(scaled, self.reduced)
            self._test(specimen.with_inputs(scaled.args, scaled.kwargs), place)

    def test_states(self, states: Sequence[Mapping[str, Tensor]]) -> None:
        """Test with the buffers of checkpoints."""
        for i, state in enumerate(states):
            specimen = self.first.specimen.with_buffers(state)
            if specimen is not None:
                self._test(specimen, f"with the buffers of checkpoint {i + 1}")

    def test_inputs(self, examples: Sequence[Example]) -> None:
        """Test on inputs of the caller, which the model must accept."""
        for example in examples:
            if self.symmetry.groups:
                specimen = self.first.specimen.with_inputs(example.args, example.kwargs)
                self._hold(self._further_trial(specimen, f"on inputs {example}"), self._cycles)
                self.inputs.append(str(example))

    def test_shapes(self, example: Example) -> None:
        """Test on inputs of other shapes, where the model accepts them."""
        for resizings in resized_examples(example, seed=self.seed, batch=self.reduced):
            for resizing in resizings:
                accepted = [any(map(self._test_resized, choice)) for choice in resizing]
                if any(accepted):
                    break

    def test_branches(self, model: nn.Module, example: Example) -> None:
        """Test on inputs whose sizes let the model take another branch."""
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
        """Return the controls of at most some of the groups, spread evenly over the model."""
        names = self.controllable
        count = min(limit, len(names))
        chosen = [names[i * len(names) // count] for i in range(count)]
        return control_groups(self.trials, self.symmetry, groups=chosen, seed=self.seed)

    @property
    def controllable(self) -> list[str]:
        """The groups that have something to move."""
        return [name for name, group in self.symmetry.groups.items() if group.size > 1]

    def _test_resized(self, example: Example) -> bool:
        return str(example) in self.inputs or self._test_example(example)

    def _test_example(self, example: Example) -> bool:
        specimen = self.first.specimen.with_inputs(example.args, example.kwargs)
        is_accepted = self._test(specimen, f"on inputs {example}")
        if is_accepted:
            self.inputs.append(str(example))
        return is_accepted

    def _test(
        self,
        specimen: Probe,
        place: str,
        draws: Callable[[], Iterator[Permutation]] | None = None,
    ) -> bool:
        """Test at another point or on other inputs.

        Returns:
            Whether it was tested: some group is left, and the model accepts the inputs.
        """
        if not self.symmetry.groups:
            return False
        try:
            trial = self._further_trial(specimen, place)
        except OneBasinError as error:
            if is_out_of_memory(error.__cause__):
                raise
            return False
        self._hold(trial, draws or self._cycles)
        return True

    def _further_trial(self, specimen: Probe, place: str) -> Trial:
        return further_trial(specimen, self.symmetry, place, self.first)

    def _hold(self, trial: Trial, draws: Callable[[], Iterator[Permutation]]) -> None:
        """Fix the groups that fail until the rest passes."""
        while True:
            failure = self._first_failure(trial, draws)
            if failure is None:
                self.trials.append(trial)
                return
            permutation, changes = failure
            where = f" {trial.place}" if trial.place else ""
            found = {
                name: f"moving it changes the output by {change:.1e}{where}"
                for name, change in failing_groups(trial, permutation, changes).items()
            }
            self.failed |= found
            self.symmetry = restrict(self.symmetry, found)

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
        """Let random operators give equal entries: a permutation may fail for their noise."""
        specimen = self.first.specimen
        still = Permutation.identity(self.symmetry)
        if specimen.is_random(specimen.moved(still)):
            self.first = _first_trial(specimen.without_noise(), self.symmetry)

    def _first_draws(self) -> Iterator[Permutation]:
        yield from self._both_draws()
        yield from uniform_draws(self.symmetry, seed=self.seed)
        if not any(x.is_floating_point() or x.is_complex() for x in self.first.reference):
            for i in range(INTEGER_DRAWS):
                yield Permutation.random(self.symmetry, seed=self.seed + 100 + i)

    def _both_draws(self) -> Iterator[Permutation]:
        yield random_transpositions(self.symmetry, seed=self.seed)
        yield random_cycles(self.symmetry, seed=self.seed)

    def _cycles(self) -> Iterator[Permutation]:
        yield random_cycles(self.symmetry, seed=self.seed)


def _examples_of(model: nn.Module, other_inputs: Sequence[Any]) -> list[Example]:
    """Return further inputs of the caller as examples."""
    if not isinstance(other_inputs, list | tuple):
        raise OneBasinError(
            f"verify: other_inputs is {described(other_inputs)}; pass a list of pairs of positional"
            " and keyword inputs"
        )
    for i, inputs in enumerate(other_inputs):
        if not isinstance(inputs, list | tuple) or len(inputs) != 2 or not _is_mapping(inputs[1]):
            raise OneBasinError(
                f"verify: other_inputs[{i}] is not a pair of positional and keyword inputs (got"
                f" {described(inputs)}); pass pairs such as ((x,), {{}})"
            )
    return [Example(*model_inputs("prove", model, *inputs)) for inputs in other_inputs]


def _is_mapping(value: Any) -> bool:
    return value is None or isinstance(value, Mapping)


def _first_trial(specimen: Probe, symmetry: Symmetry) -> Trial:
    """Return the trial at parameters near the model's own, in the first precision that works."""
    refusal: OneBasinError | None = None
    for own in _precisions(specimen):
        try:
            reference = own.run(own.moved(Permutation.identity(symmetry)))
        except OneBasinError as error:
            if is_out_of_memory(error.__cause__):
                raise
            refusal = refusal or error
        else:
            return Trial(own, _checked(reference))
    assert refusal is not None
    raise refusal


def _precisions(specimen: Probe) -> Iterator[Probe]:
    yield specimen
    yield specimen.in_plain_precision(torch.float64)
    yield specimen.in_plain_precision(specimen.own_dtype)


def _checked(reference: list[Tensor]) -> list[Tensor]:
    if not reference:
        raise OneBasinError("verify: the model returns no tensor that counts; choose with outputs=")
    if any(bool(tensor.isnan().any()) for tensor in reference):
        raise OneBasinError(
            "verify: the model returns NaN on the example inputs in float64; give other inputs"
        )
    return reference
