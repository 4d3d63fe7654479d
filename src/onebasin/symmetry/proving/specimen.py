"""Specimen: a model at a generic point of its parameter space, run in one precision.

Owns the runs that a proof compares. The user's module is only borrowed: its tensors,
attributes, training flags and the random number generators are as before after every run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from onebasin.errors import OneBasinError
from onebasin.symmetry.isolation import isolated
from onebasin.symmetry.outputs import select_outputs
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.proving.calibration import Calibrating
from onebasin.symmetry.proving.perturbation import jitter, perturb
from onebasin.symmetry.proving.precision import OnePrecision
from onebasin.symmetry.proving.substitution import substituted
from onebasin.symmetry.seeds import generator_for
from onebasin.symmetry.symmetry import Symmetry

# Generic values of models up to this size are kept; those of larger ones are made anew.
KEPT_ENTRIES = 2**26


class Specimen:
    """A model and example inputs, ready to be run on permuted parameters.

    Args:
        symmetry: names and shapes; tables (fixed buffers of various values) keep their values.
        model: the original module, on any device but meta.
        args, kwargs: what the module is called with.
        seed: of the noise that makes parameters generic, and of each run.
        outputs: which outputs count; see `select_outputs`.

    Raises:
        OneBasinError: when the module does not fit the symmetry or has no real weights.
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
        """Check that model and symmetry belong together; choose the generic values."""
        self._model, self._seed, self._outputs = model, seed, outputs
        self._inputs = (args, dict(kwargs))
        self._tensors = tensors_of(model)
        check_model(symmetry, self._tensors)
        self._names: dict[int, str] = {}
        for name in symmetry.layouts:
            first = self._names.setdefault(id(self._tensors[name]), name)
            if symmetry.blocks[first] != symmetry.blocks[name]:
                raise OneBasinError(
                    f"prove: {first!r} and {name!r} are one tensor in the model but differ in"
                    " layout; give both the same"
                )
        self._num_entries = sum(self._tensors[name].numel() for name in self._names.values())
        self._generic: dict[str, Tensor] = {}
        self._tables = {
            name for name in symmetry.buffers if _is_table(symmetry, name, self._tensors[name])
        }
        if set(symmetry.buffers) > self._tables:
            self._calibrate()

    def generic(self, name: str) -> Tensor:
        """Return the generic values of one tensor in float64; not to be written into."""
        first = self.name_of(name)
        if first in self._generic:
            return self._generic[first]
        values = OnePrecision(torch.float64).convert(self._tensors[first].detach())
        if first not in self._tables:
            values = perturb(values, generator_for(self._seed, first))
        if self._num_entries <= KEPT_ENTRIES:
            self._generic[first] = values
        return values

    def moved(
        self, permutation: Permutation, dtype: torch.dtype = torch.float64
    ) -> dict[str, Tensor]:
        """Return the generic values of every tensor, moved; a tied one under one name."""
        names, convert = self._names.values(), OnePrecision(dtype).convert
        return {n: permutation.apply_tensor(n, convert(self.generic(n))) for n in names}

    def jittered(self) -> dict[str, Tensor]:
        """Return the generic values of every tensor with the last bit of each entry changed."""
        return {
            n: jitter(self.generic(n), generator_for(self._seed, n)) for n in self._names.values()
        }

    def name_of(self, name: str) -> str:
        """Return the name under which `moved` has a tensor that may be tied."""
        return self._names[id(self._tensors[name])]

    def run(
        self, tensors: Mapping[str, Tensor], dtype: torch.dtype = torch.float64
    ) -> list[Tensor]:
        """Return the counted outputs of the module on these tensors.

        Args:
            tensors: one entry for each that `moved` returns.
            dtype: the precision to run in: float64, or float32 to be quick.

        Raises:
            OneBasinError: when the forward pass raises in this precision.
        """
        found, _ = self._run(tensors, OnePrecision(dtype))
        return found

    def _run(
        self, tensors: Mapping[str, Tensor], precision: OnePrecision
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Return the counted outputs, and the buffers as the forward pass left them."""
        buffers = {id(tensor) for tensor in self._model.buffers()}
        used: dict[str, Tensor] = {}

        def substitute(tensor: Tensor) -> Tensor:
            name = self._names.get(id(tensor))
            value = precision.convert(tensor.detach() if name is None else tensors[name])
            if id(tensor) in buffers:
                value = value.clone()
                used[name or ""] = value
            return value

        args, kwargs = tree_map_only(Tensor, torch.clone, precision.convert(self._inputs))
        with isolated(self._model) as model, substituted(model, substitute), self._seeded():
            try:
                with torch.no_grad(), precision:
                    found = select_outputs(model(*args, **kwargs), self._outputs)
            except Exception as error:
                raise OneBasinError(self._explain(error, precision)) from error
        return precision.convert([tensor.detach() for tensor in found]), used

    def _calibrate(self) -> None:
        """Let normalisation statistics fit what flows through the generic model."""
        mode = Calibrating(torch.float32, seed=self._seed)
        names = self._names.values()
        _, used = self._run({name: self.generic(name) for name in names}, mode)
        for name, value in used.items():
            if name and id(value) in mode.calibrated:
                self._generic[name] = OnePrecision(torch.float64).convert(value)

    def _explain(self, error: Exception, precision: OnePrecision) -> str:
        name, width = type(self._model).__name__, str(precision.dtype).removeprefix("torch.")
        reason = " ".join(str(error).split())[:300]
        return (
            f"prove: {name} cannot be run in {width} on the example inputs"
            f" ({type(error).__name__}: {reason}); give inputs it accepts"
        )

    @contextmanager
    def _seeded(self) -> Iterator[None]:
        tensors = self._tensors.values()
        cuda = sorted({tensor.device.index for tensor in tensors if tensor.device.type == "cuda"})
        with torch.random.fork_rng(devices=cuda):
            torch.default_generator.manual_seed(self._seed)
            for device in cuda:
                torch.cuda.default_generators[device].manual_seed(self._seed)
            yield


def _is_table(symmetry: Symmetry, name: str, tensor: Tensor) -> bool:
    """Whether a buffer is fixed and generic as it is: a mask or a table, not a fresh statistic."""
    moves = any(group in symmetry.groups for b in symmetry.blocks[name] for group in b.groups)
    return not moves and (tensor.numel() < 2 or bool((tensor != tensor.flatten()[0]).any()))


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Return every parameter and buffer of a module under each of its names."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    return {**parameters, **dict(model.named_buffers(remove_duplicate=False))}


def check_model(symmetry: Symmetry, tensors: Mapping[str, Tensor]) -> None:
    """Check that a model has every tensor of a symmetry, in its shape, with real values.

    Raises:
        OneBasinError: naming the first tensor that does not fit.
    """
    for name, shape in symmetry.shapes.items():
        if name not in tensors:
            raise OneBasinError(
                f"prove: the model has no tensor {name!r}; give the model that was traced"
            )
        if tuple(tensors[name].shape) != shape:
            raise OneBasinError(
                f"prove: tensor {name!r} is {tuple(tensors[name].shape)} in the model but {shape}"
                " in the symmetry; give the model that was traced"
            )
        if tensors[name].is_meta:
            raise OneBasinError(
                f"prove: tensor {name!r} is on the meta device; a proof runs the model, so build"
                " it with real weights"
            )
