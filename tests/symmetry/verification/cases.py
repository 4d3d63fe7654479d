"""Small networks with their symmetries, for tests of verification."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from onebasin.symmetry._verification.verification import Verification, verify
from onebasin.symmetry.symmetry import Symmetry
from tests.symmetry import small_models

CASES: dict[str, tuple[Callable[[], tuple[nn.Module, Symmetry]], tuple[int, ...]]] = {
    "mlp": (small_models.mlp, (3, 4)),
    "conv_net": (small_models.conv_net, (2, 3, 6, 6)),
    "grouped_conv": (small_models.grouped_conv, (2, 3, 4, 4)),
    "attention": (small_models.attention, (2, 5, 8)),
    "recurrent": (small_models.recurrent, (2, 6, 4)),
    "experts": (small_models.experts, (9, 4)),
}


def built(case: str) -> tuple[nn.Module, Symmetry, Tensor]:
    torch.manual_seed(0)
    build, shape = CASES[case]
    return *build(), torch.randn(shape)


class Body(nn.Module):
    """Two linear layers, as a base class of models."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.relu(self.a(x)))


RIGHT = {"a.weight": ("h", None), "a.bias": ("h",), "b.weight": (None, "h"), "b.bias": (None,)}


def verified(
    model: nn.Module, spec: Mapping[str, Any] = RIGHT, *args: Tensor, **options: Any
) -> Verification:
    torch.manual_seed(1)
    args = args or (torch.randn(4, 4),)
    return verify(Symmetry.from_spec(spec, model), model, args, **options)
