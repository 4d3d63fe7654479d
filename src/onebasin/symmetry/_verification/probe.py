"""A model at generic parameters, run in one precision.

Owns the runs that a verification compares. The tensors, attributes and training flags of
the user's module and the random number generators are restored after every run.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from onebasin._checks import named_tensors
from onebasin._random import cuda_devices, generator_for
from onebasin.errors import ArgumentError, OneBasinError
from onebasin.symmetry._modules import model_state, select_outputs
from onebasin.symmetry._verification.precision import OnePrecision, PlainPrecision
from onebasin.symmetry._verification.randomize import (
    CalibrationMode,
    add_rounding_noise,
    perturb,
    randomize,
)
from onebasin.symmetry._verification.substitution import Redirect, substituted
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry
from onebasin.symmetry.transformation import Transformation

# Generic values are cached for models up to this size, and recomputed for larger ones.
KEPT_ENTRIES = 2**26

Precision = OnePrecision | PlainPrecision


class Probe:
    """A model and example inputs that can be run on permuted parameters.

    Args:
        symmetry: names and shapes; fixed buffers with different entries keep their values.
        model: the original module, on any device but meta.
        args, kwargs: inputs of the module.
        seed: random seed for the noise in the parameters, and for each run.
        outputs: selection of outputs; see `select_outputs`.

    Raises:
        OneBasinError: when the module does not match the symmetry or has no real weights.
    """

    def __init__(
        self,
        symmetry: Symmetry,
        model: nn.Module,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        seed: int,
        outputs: Callable[[Any], Any] | None,
    ) -> None:
        """Check that the model matches the symmetry."""
        self.symmetry, self._model, self._seed, self._outputs = symmetry, model, seed, outputs
        self._inputs = (args, dict(kwargs))
        self._tensors = tensors_of(model)
        check_model(symmetry, self._tensors)
        self._names: dict[int, str] = {}
        for name in symmetry.layouts:
            first = self._names.setdefault(id(self._tensors[name]), name)
            if symmetry.blocks[first] != symmetry.blocks[name]:
                raise ArgumentError(
                    f"tied tensors {first!r} and {name!r} differ in layout; give both the"
                    " same layout"
                )
        self.num_entries = sum(self._tensors[name].numel() for name in self._names.values())
        self._device: torch.device | None = None
        self.is_strict, self.dtype, self._replaces_noise = True, torch.float64, False
        self._spread, self._values = perturb, {n: self._tensors[n] for n in symmetry.layouts}
        self._start()

    def _start(self, known: Mapping[str, Tensor] | None = None) -> None:
        """Select the buffers that keep their values, and calibrate the others.

        Args:
            known: already computed generic values of parameters.
        """
        self._generic: dict[str, Tensor] = dict(known or {})
        self._tables = {
            name
            for name in self.symmetry.buffers
            if _is_table(self.symmetry, name, self._values[name], self._spread is randomize)
        }
        if self.is_strict and set(self.symmetry.buffers) > self._tables:
            self._calibrate()

    def in_plain_precision(self, dtype: torch.dtype) -> Probe:
        """Return a probe in another precision in which the model's own casts apply."""
        return self._variant(is_strict=False, dtype=dtype)

    def without_noise(self) -> Probe:
        """Return a probe whose random operators return the same value in every entry."""
        return self._variant(_replaces_noise=True)

    def at_random(self) -> Probe:
        """Return a probe at random parameters, not near those of the model."""
        return self._variant(_spread=randomize)

    def with_buffers(self, state: Mapping[str, Tensor]) -> Probe | None:
        """Return a probe with the buffers of a checkpoint; None if they are equal."""
        own = [
            name for name in self.symmetry.buffers if self._affects_outputs(name) and name in state
        ]
        others = {name: state[name] for name in own}
        if all(_equal(self._values[name], others[name]) for name in own):
            return None
        return self._variant(_values={**self._values, **others})

    def _affects_outputs(self, name: str) -> bool:
        """Whether a buffer of a checkpoint can affect the outputs: not a counter or statistic."""
        is_counter = name.endswith("num_batches_tracked")
        is_statistic = self._values[name].is_floating_point() and name not in self._tables
        return not (is_counter or is_statistic)

    def with_inputs(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Probe:
        """Return a probe at the same parameters with other inputs.

        The new probe runs on the CPU if the model is on an accelerator, because an index out
        of range makes a CUDA device unusable.
        """
        other = copy.copy(self)
        other._inputs = (args, dict(kwargs))
        if any(tensor.device.type != "cpu" for tensor in self._tensors.values()):
            other._device = torch.device("cpu")
        return other

    def _variant(self, **changes: Any) -> Probe:
        other = copy.copy(self)
        vars(other).update(changes)
        shares = self._spread is other._spread
        parameters = (n for n in self._generic if shares and n not in self.symmetry.buffers)
        other._start({n: self._generic[n] for n in parameters})
        return other

    def randomized_param(self, name: str) -> Tensor:
        """Return the generic values of one tensor in float64; do not modify them."""
        first = self.name_of(name)
        if first in self._generic:
            return self._generic[first]
        tensor = self._values[first].detach().to(self._tensors[first].device)
        values = OnePrecision(torch.float64).convert(tensor)
        if first not in self._tables:
            is_buffer = first in self.symmetry.buffers
            broadcast_index = perturb if is_buffer else self._spread
            values = broadcast_index(values, generator_for(self._seed, first))
        if self.num_entries <= KEPT_ENTRIES:
            self._generic[first] = values
        return values

    def permuted(self, permutation: Permutation) -> dict[str, Tensor]:
        """Return the permuted generic values of every tensor; a tied tensor under one name."""
        names = self._names.values()
        return {n: permutation.apply_tensor(n, self.randomized_param(n)) for n in names}

    def transformed(self, transformation: Transformation) -> dict[str, Tensor]:
        """Return the transformed generic values of every tensor; a tied tensor under one name.

        Raises:
            OneBasinError: a gain that must be folded is zero.
        """
        actions = transformation.symmetry.actions.values()
        gains = {gain.axis.tensor for action in actions for gain in action.gains}
        transform = transformation.applier({n: self.randomized_param(n) for n in gains})
        return {n: transform(n, self.randomized_param(n)) for n in self._names.values()}

    def with_rounding_noise(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """Return the generic values of every tensor with rounding noise in each entry."""
        names = self._names.values()
        return {
            n: add_rounding_noise(self.randomized_param(n), generator_for(self._seed, n), dtype)
            for n in names
        }

    def name_of(self, name: str) -> str:
        """Return the name under which `permuted` contains a tensor that may be tied."""
        return self._names[id(self._tensors[name])]

    @property
    def inputs(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword inputs."""
        return self._inputs

    @property
    def own_dtype(self) -> torch.dtype:
        """The most frequent floating dtype of the model's entries."""
        sizes: dict[torch.dtype, int] = {}
        for tensor in self._tensors.values():
            if tensor.is_floating_point():
                sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.numel()
        return max(sizes, key=lambda dtype: sizes[dtype], default=torch.float32)

    def run(self, tensors: Mapping[str, Tensor]) -> list[Tensor]:
        """Return the selected outputs of the module on these tensors.

        Args:
            tensors: the tensors returned by `permuted`, by name.

        Raises:
            OneBasinError: when the forward pass fails in this precision.
        """
        with torch.no_grad():
            return self._run(tensors, self._precision())[0]

    def is_random(self, tensors: Mapping[str, Tensor]) -> bool:
        """Return whether a run draws random numbers, as dropout does."""
        precision = self._precision()
        with torch.no_grad():
            self._run(tensors, precision)
        return precision.is_random

    def differentiate(
        self,
        tensors: Mapping[str, Tensor],
        backward: Callable[[list[Tensor]], None],
    ) -> None:
        """Run forward with gradients and call `backward` on the outputs, in the same precision.

        Args:
            tensors: as in `run`; those that require gradients receive them.
            backward: function of the outputs that runs the backward pass.

        Raises:
            OneBasinError: when the forward or the backward pass fails.
        """
        with torch.enable_grad():
            self._run(tensors, self._precision(), backward)

    def _precision(self) -> Precision:
        if not self.is_strict:
            return PlainPrecision(self.dtype)
        return OnePrecision(self.dtype, replaces_noise=self._replaces_noise)

    def _run(
        self,
        tensors: Mapping[str, Tensor],
        precision: Precision,
        backward: Callable[[list[Tensor]], None] | None = None,
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Return the selected outputs, and the buffers after the forward pass."""
        buffers = {id(tensor) for tensor in self._model.buffers()}
        used: dict[str, Tensor] = {}

        def substitute(tensor: Tensor) -> Tensor:
            name = self._names.get(id(tensor))
            value = precision.convert(tensor.detach() if name is None else tensors[name])
            value = value if self._device is None else value.to(self._device)
            if id(tensor) in buffers:
                value = value.clone()
                used[name or ""] = value
            return value

        args, kwargs = tree_map_only(Tensor, self._own_input, precision.convert(self._inputs))
        redirect = Redirect() if precision.replaces_calls else None
        try:
            with (
                self._seeded(),
                substituted(self._model, substitute, redirect=redirect) as model,
                precision,
            ):
                selected = select_outputs(model(*args, **kwargs), self._outputs)
                if backward is not None:
                    backward(selected)
        except Exception as error:
            raise ArgumentError(self._explain(error, precision)) from error
        return precision.convert([tensor.detach() for tensor in selected]), used

    def _own_input(self, tensor: Tensor) -> Tensor:
        tensor = tensor.detach().clone()
        return tensor if self._device is None else tensor.to(self._device)

    def _calibrate(self) -> None:
        """Set normalization statistics to those of the generic model's activations."""
        mode = CalibrationMode(torch.float32, seed=self._seed)
        names = self._names.values()
        try:
            with torch.no_grad():
                _, used = self._run({name: self.randomized_param(name) for name in names}, mode)
        except OneBasinError:  # the first run reports the error, or uses another precision
            return
        for name, value in used.items():
            if name and id(value) in mode.calibrated:
                self._generic[name] = OnePrecision(torch.float64).convert(value)

    def _explain(self, error: Exception, precision: Precision) -> str:
        name, width = type(self._model).__name__, str(precision.dtype).removeprefix("torch.")
        reason = " ".join(str(error).split())[:300]
        if is_out_of_memory(error):
            return (
                f"not enough memory to run {name} in {width}; use smaller example inputs,"
                " or skip the verification (verify=False)"
            )
        return (
            f"{name} failed in {width} on the example inputs"
            f" (got {type(error).__name__}: {reason}); pass inputs that it accepts"
        )

    @contextmanager
    def _seeded(self) -> Iterator[None]:
        cuda = cuda_devices(self._model)
        with torch.random.fork_rng(devices=cuda):
            torch.default_generator.manual_seed(self._seed)
            for device in cuda:
                torch.cuda.default_generators[device].manual_seed(self._seed)
            yield


def is_out_of_memory(error: BaseException | None) -> bool:
    """Return whether an exception reports that memory ran out, on the CPU or a device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "not enough memory" in str(error)


def _is_table(symmetry: Symmetry, name: str, tensor: Tensor, spreads_scalars: bool) -> bool:
    """Whether a buffer is fixed and keeps its values: a mask or table, not initial statistics."""
    moves = any(group in symmetry.groups for b in symmetry.blocks[name] for group in b.groups)
    if moves or (tensor.numel() < 2 and spreads_scalars):
        return False
    return tensor.numel() < 2 or bool((tensor != tensor.flatten()[0]).any())


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a.detach().cpu(), b.detach().cpu().to(a.dtype))


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Return every parameter, buffer and state dict entry of a module, under all its names."""
    return {**dict(named_tensors(model)), **model_state(model).tensors}


def check_model(symmetry: Symmetry, tensors: Mapping[str, Tensor]) -> None:
    """Check that a model has every tensor of a symmetry, in its shape, with real values.

    Raises:
        OneBasinError: naming the first tensor that does not match.
    """
    for name, shape in symmetry.shapes.items():
        if name not in tensors:
            raise ArgumentError(
                f"the model has no tensor {name!r}; pass the model whose symmetry it is"
            )
        if tuple(tensors[name].shape) != shape:
            raise ArgumentError(
                f"wrong shape for tensor {name!r} (got {tuple(tensors[name].shape)} in the"
                f" model, {shape} in the symmetry); pass the model whose symmetry it is"
            )
        if tensors[name].is_meta:
            raise ArgumentError(
                f"tensor {name!r} is on the meta device; build the model with real weights"
            )
