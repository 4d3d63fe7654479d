"""Checks of the classes of a small module: random elements, and elements of larger classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from onebasin import Permutation, Symmetry, infer_symmetry
from onebasin.symmetry._modules import select_outputs
from onebasin.symmetry._verification.larger_classes import with_larger_class
from onebasin.symmetry.transformation import Transformation

SAME = 1e-9
DIFFERENT = 1e-6


class Case:
    """A module in float64 at random parameters, with its symmetry.

    Args:
        module: the module.
        inputs: positional inputs.
    """

    def __init__(self, module: nn.Module, *inputs: Tensor) -> None:
        """Infer the symmetry, and draw parameters and statistics."""
        self.module = module.eval()
        self.symmetry: Symmetry = infer_symmetry(self.module, inputs)
        self.module.double()
        self.inputs = [x.double() if x.is_floating_point() else x for x in inputs]
        generator = torch.Generator().manual_seed(0)
        for name, tensor in self.module.state_dict().items():
            if tensor.is_floating_point():
                noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
                own = 0.5 * noise + tensor if tensor.dim() < 2 else noise / tensor[0].numel() ** 0.5
                tensor.copy_(noise.exp() if name.endswith("running_var") else own)
        self.params = {name: x.clone() for name, x in self.module.state_dict().items()}
        self.reference = self.outputs(self.params)

    def outputs(self, params: Mapping[str, Tensor]) -> Tensor:
        """Return the first output at other parameters."""
        self.module.load_state_dict(dict(params))
        with torch.no_grad():
            result: Any = self.module(*self.inputs)
        return select_outputs(result, None)[0].double()

    def change(self, transformation: Transformation) -> float:
        """Return the largest change of the outputs, relative to their size."""
        changed = self.outputs(transformation.apply(self.params))
        return float((changed - self.reference).abs().max() / self.reference.abs().max())

    def largest_change(self, seeds: int = 2) -> float:
        """Return the largest change under random elements of all groups."""
        return max(
            self.change(Transformation.random(self.symmetry, seed=seed)) for seed in range(seeds)
        )

    def larger_classes(self) -> dict[str, list[str]]:
        """Return the larger classes of each group whose random elements change nothing."""
        found: dict[str, list[str]] = {}
        for name in self.symmetry.groups:
            for larger, symmetry in with_larger_class(self.symmetry, name):
                if self.change(_alone(Transformation.random(symmetry, seed=1), name)) < DIFFERENT:
                    found.setdefault(name, []).append(larger)
        return found

    def assert_laws(self) -> None:
        """Check composition and inverse on all tensors, and permutations to the byte."""
        first, second = (Transformation.random(self.symmetry, seed=seed) for seed in (5, 6))
        moved = first.apply(self.params)
        _assert_close((second @ first).apply(self.params), second.apply(moved))
        _assert_close(first.inverse().apply(moved), self.params)
        permutation = Permutation.random(self.symmetry, seed=7)
        same = Transformation(self.symmetry, permutation).apply(self.params)
        expected = permutation.apply(self.params)
        assert all(torch.equal(same[name], expected[name]) for name in expected)

    @property
    def classes(self) -> dict[str, str]:
        """The class of each group."""
        return {name: group.symmetry_class for name, group in self.symmetry.groups.items()}


def _assert_close(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    for name, tensor in expected.items():
        assert torch.allclose(found[name].double(), tensor.double(), rtol=1e-7, atol=1e-9), name


def _alone(transformation: Transformation, group: str) -> Transformation:
    """Return a transformation of one group, without its permutation."""
    identity = Transformation.identity(transformation.symmetry)
    parts = (transformation.maps, transformation.scales, transformation.signs)
    chosen = ({n: v for n, v in each.items() if n == group} for each in parts)
    return Transformation(transformation.symmetry, identity.permutation, *chosen)
