"""The check that a network with reset statistics behaves the same on the given data."""

import pytest
import torch
from torch import nn

from onebasin.errors import OneBasinError
from onebasin.evaluation.statistics import LARGE_DIFFERENCE, reset_difference, reset_statistics


@pytest.fixture
def trained():
    """A network with the statistics of pixels from 0 to 1, and these pixels."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3)
    ).eval()
    pixels = torch.rand(400, 1, 5, 5)
    return model, reset_statistics(model, model.state_dict(), [pixels]), pixels


def test_same_normalization_changes_outputs_little(trained):
    model, params, pixels = trained
    assert reset_difference(model, params, [pixels[:200], pixels[200:]]) < 0.2


def test_other_normalization_changes_outputs_much(trained):
    model, params, pixels = trained
    assert reset_difference(model, params, [(pixels - 0.13) / 0.31]) > LARGE_DIFFERENCE


def test_networks_without_statistics_are_not_compared():
    model = nn.Linear(3, 2)
    assert reset_difference(model, model.state_dict(), [torch.ones(4, 3)]) is None


class Tokens(nn.Module):
    """A network with statistics whose outputs have one row for each token, or one number."""

    def __init__(self, kind):
        super().__init__()
        self.embedding, self.norm, self.kind = nn.Embedding(7, 4), nn.BatchNorm1d(4), kind

    def forward(self, ids):
        tokens = self.norm(self.embedding(ids).mT).mT
        return {"tokens": tokens, "scores": tokens.sum(-1), "numbers": tokens.sum((1, 2))}[
            self.kind
        ]


def test_outputs_of_any_rank_and_batches_of_any_length_are_compared():
    torch.manual_seed(0)
    ids = torch.randint(7, (6, 5)), torch.randint(7, (6, 9))
    for kind in ("tokens", "numbers"):
        model, after = Tokens(kind).eval(), Tokens(kind).eval()
        after.load_state_dict(reset_statistics(model, model.state_dict(), ids))
        width = 4 if kind == "tokens" else 1
        outputs, changed = (
            torch.cat([each(part).reshape(-1, width).detach() for part in ids])
            for each in (model, after)
        )
        expected = float((changed - outputs).norm() / (outputs - outputs.mean(0)).norm())
        assert reset_difference(model, model.state_dict(), ids) == pytest.approx(expected, rel=1e-5)


def test_rows_of_different_widths_are_rejected():
    model = Tokens("scores").eval()
    ids = [torch.zeros(2, length, dtype=torch.int64) for length in (5, 9)]
    with pytest.raises(OneBasinError, match=r"^outputs have 5 entries .* 9 in"):
        reset_difference(model, model.state_dict(), ids)
