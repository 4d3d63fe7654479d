"""Groups whose units can be kept separate: found by running an enlarged network.

If all units of equal sources are kept, the output must not change. It changes, or the model does
not run, if the forward pass has sizes as constants.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from onebasin.graph.batches import run_model
from onebasin.graph.binding import FunctionalModel
from onebasin.merging._resizing import resized_to
from onebasin.symmetry._enlargement import Enlargement, groups_to_enlarge
from onebasin.symmetry._modules import select_outputs
from onebasin.symmetry.symmetry import Symmetry

TOLERANCE = 1e-8
"""Maximum difference of outputs in float64, as a fraction of the largest output."""


class EnlargedCheck:
    """Compares the output of enlarged networks with the mean output of their sources.

    Args:
        model: the architecture; not changed.
        contracted: the dimensions over which layers sum; see `contracted_dims`.
        inputs: inputs of a batch.
    """

    def __init__(
        self, model: nn.Module, contracted: Mapping[str, Collection[int]], inputs: Any
    ) -> None:
        """Store the arguments."""
        self._model, self._contracted, self._inputs = model, contracted, inputs

    def groups(
        self, symmetry: Symmetry, params: Mapping[str, Tensor], *, whole: bool
    ) -> tuple[list[str], dict[str, str]]:
        """Return the groups that can be enlarged, and reasons for all others.

        Args:
            symmetry: symmetry of the model.
            params: parameters and buffers of a network.
            whole: whether all units of all groups are kept separate.
        """
        candidates, reasons = groups_to_enlarge(symmetry)
        source = self._in_float64(params)
        expected = self._run(self._model, source)

        def reason(groups: Sequence[str]) -> str | None:
            chosen = {g: torch.ones(symmetry.groups[g].size, dtype=torch.bool) for g in groups}
            enlargement = Enlargement.split(symmetry, chosen, (0.5, 0.5))
            return self._reason(enlargement, [source, source], expected)

        alone = candidates
        if not candidates or reason(candidates) is None:
            # A weight that is computed from parameters can be exact for all its groups only.
            computed = () if whole else candidates
            alone = [group for group in computed if self._is_in_computed(symmetry, group)]
        reasons |= {group: text for group in alone if (text := reason([group])) is not None}
        return [group for group in candidates if group not in reasons], reasons

    def _is_in_computed(self, symmetry: Symmetry, group: str) -> bool:
        """Return whether a group is in a matrix that no layer reads directly."""
        names = set(symmetry.tensors_of[group]) - set(self._contracted)
        return any(len(symmetry.layouts[name]) > 1 for name in names)

    def difference(
        self, enlargement: Enlargement, params_list: Sequence[Mapping[str, Tensor]]
    ) -> str | None:
        """Return how an enlarged network differs from the mean of its sources, or None."""
        sources = [self._in_float64(params) for params in params_list]
        means: list[Any] = []
        for weight, source in zip(enlargement.weights, sources, strict=True):
            own = self._run(self._model, source)
            before = means or [0.0] * len(own)
            means = [mean + weight * each for mean, each in zip(before, own, strict=True)]
        return self._reason(enlargement, sources, means)

    def _reason(
        self,
        enlargement: Enlargement,
        sources: Sequence[Mapping[str, Tensor]],
        expected: Sequence[Tensor],
    ) -> str | None:
        """Return how the outputs of an enlarged network differ from expected ones, or None."""
        params = enlargement.params(sources, self._contracted)
        shapes = {name: tuple(tensor.shape) for name, tensor in params.items()}
        try:
            outputs = self._run(resized_to(self._model, shapes), params)
        except Exception as error:  # a forward pass can raise anything
            line = next(iter(str(error).strip().splitlines()), repr(error))
            return f"the model does not run with more units: {line}"
        for value, mean in zip(outputs, expected, strict=True):
            if value.shape != mean.shape or not _is_close(value, mean):
                return "the output changes if units are kept separate"
        return None

    def _in_float64(self, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a network in float64."""
        return {n: t.double() if t.is_floating_point() else t for n, t in params.items()}

    @torch.no_grad()
    def _run(self, model: nn.Module, params: Mapping[str, Tensor]) -> list[Tensor]:
        output = run_model(FunctionalModel(model, params), self._inputs)
        return [each.double() for each in select_outputs(output)]


def _is_close(value: Tensor, expected: Tensor) -> bool:
    if not value.numel():
        return True
    scale = max(float(expected.abs().max()), 1e-30)
    return float((value - expected).abs().max()) <= TOLERANCE * scale
