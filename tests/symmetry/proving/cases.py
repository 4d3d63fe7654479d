"""Small networks with their symmetries, for proofs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

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
