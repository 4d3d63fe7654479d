"""Test of an inferred symmetry on the model: permuted parameters give equal outputs."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from onebasin.symmetry import Permutation, Symmetry
from onebasin.symmetry._modules import select_outputs


def assert_equivariant(
    symmetry: Symmetry, model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any] = {}
) -> None:
    """Assert that random permutations preserve the outputs, and that every group moves."""
    model = generic(model)
    args, kwargs = tree_map_only(Tensor, _double, (args, dict(kwargs)))
    before = _outputs(model, model.state_dict(), args, kwargs)
    unmoved = set(symmetry.groups)
    for seed in range(6):
        state = Permutation.random(symmetry, seed=seed).apply(model.state_dict())
        assert_close(_outputs(model, state, args, kwargs), before)
        unmoved -= {g for g in unmoved if _moved(state, model.state_dict(), symmetry.tensors_of[g])}
    assert not unmoved, f"groups without effect on the parameters: {unmoved}"


def assert_close(left: list[Tensor], right: list[Tensor]) -> None:
    """Assert that outputs are equal up to float64 rounding."""
    for a, b in zip(left, right, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


def generic(model: nn.Module) -> nn.Module:
    """Return a float64 copy in which all units differ."""
    model = copy.deepcopy(model).double().eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for tensor in model.state_dict(keep_vars=True).values():
            if tensor.is_floating_point():
                noise = torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype)
                tensor.mul_(0.5 + noise).add_(0.05 * noise)
    return model


def _moved(state: Mapping[str, Tensor], old: Mapping[str, Tensor], names: Iterable[str]) -> bool:
    return any(not torch.equal(state[name], old[name]) for name in names)


def sizes(symmetry: Symmetry) -> list[tuple[int, int]]:
    """Return (size, depth of nesting) of every group, sorted."""
    return sorted((g.size, len(g.nested_in)) for g in symmetry.groups.values())


def _outputs(model: nn.Module, state: Mapping[str, Tensor], args: Any, kwargs: Any) -> list[Tensor]:
    call = torch.func.functional_call
    with torch.no_grad():
        return select_outputs(call(model, dict(state), args, kwargs, tie_weights=False))


def _double(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor
