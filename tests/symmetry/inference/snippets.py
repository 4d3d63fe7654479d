"""Models of a few lines, and a check of their symmetry."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from onebasin import infer_symmetry
from tests.symmetry.inference.equivariance import assert_equivariant


class Function(nn.Module):
    """A module whose forward is a function of the module and its inputs."""

    def __init__(self, forward, **members) -> None:
        super().__init__()
        for name, member in members.items():
            setattr(self, name, member)
        self.function = forward

    def forward(self, *args):
        return self.function(self, *args)


def check(model: nn.Module, *args: Tensor):
    symmetry = infer_symmetry(model, args)
    assert_equivariant(symmetry, model, args)
    return symmetry


def x(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def tokens(*shape: int, high: int = 11) -> Tensor:
    return torch.randint(high, shape, generator=torch.Generator().manual_seed(0))
