"""The check that a network with reset statistics behaves the same on the given data."""

import pytest
import torch
from torch import nn

from onebasin.measuring.statistics import reset_statistics
from onebasin.measuring.statistics_check import LARGE_DIFFERENCE, reset_difference


@pytest.fixture
def trained():
    """A network with the statistics of pixels from 0 to 1, and these pixels."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3)
    ).eval()
    pixels = torch.rand(400, 1, 5, 5)
    return model, reset_statistics(model, model.state_dict(), [pixels]), pixels


def test_the_normalization_of_training_changes_little(trained):
    model, params, pixels = trained
    assert reset_difference(model, params, [pixels[:200], pixels[200:]]) < 0.2


def test_another_normalization_changes_much(trained):
    model, params, pixels = trained
    assert reset_difference(model, params, [(pixels - 0.13) / 0.31]) > LARGE_DIFFERENCE


def test_networks_without_statistics_are_not_judged():
    model = nn.Linear(3, 2)
    assert reset_difference(model, model.state_dict(), [torch.ones(4, 3)]) is None
