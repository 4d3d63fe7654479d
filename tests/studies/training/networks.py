"""Small networks and data that the tests of training share."""

import torch
from torch import Tensor, nn

from onebasin_studies.training import Dataset


def mlp(width: int = 12) -> nn.Module:
    return nn.Sequential(
        nn.Linear(6, width), nn.ReLU(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 3)
    )


def noisy() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))


def normed() -> nn.Module:
    # A bias before normalization has no gradient but rounding, which Adam would blow up.
    return nn.Sequential(nn.Linear(6, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def blobs(number: int = 83) -> Dataset:
    """Three clouds of points that overlap a little; 83 is divided by no batch size."""
    generator = torch.Generator().manual_seed(0)
    centres = 1.5 * torch.randn(3, 6, generator=generator)

    def draw(size: int) -> tuple[Tensor, Tensor]:
        labels = torch.randint(3, (size,), generator=generator)
        return centres[labels] + torch.randn(size, 6, generator=generator), labels

    train, test = draw(number), draw(40)
    return Dataset("blobs", *train, test_inputs=test[0], test_labels=test[1], num_classes=3)


def assert_close(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 1e-5):
    """Assert that two networks are the same up to rounding."""
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        difference = (found[name].double() - tensor.double()).abs()
        limit = tolerance * (1 + 10 * tensor.double().abs())
        assert bool((difference <= limit).all()), f"{name} differs by {float(difference.max())}"


def assert_differ(found: dict[str, Tensor], expected: dict[str, Tensor]):
    """Assert that two networks differ by more than rounding."""
    assert max(float((found[name] - expected[name]).abs().max()) for name in expected) > 1e-3
