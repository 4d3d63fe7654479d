"""Small networks and data that the tests of measuring share."""

import torch
from torch import Tensor, nn


def mlp(seed: int, *, norm: bool = False) -> nn.Sequential:
    """A 4-8-3 network with random weights and, with a norm, random running statistics."""
    torch.manual_seed(seed)
    middle = [nn.BatchNorm1d(8)] if norm else []
    model = nn.Sequential(nn.Linear(4, 8), *middle, nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))
    if norm:
        model[1].running_mean.normal_()
        model[1].running_var.uniform_(0.5, 2.0)
    return model


def examples(num: int = 50, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Inputs `(num, 4)` and classes `(num,)`."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num, 4, generator=generator), torch.randint(3, (num,), generator=generator)


def copy_of(params: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in params.items()}


def assert_same(result: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert result.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(result[name], tensor), name
