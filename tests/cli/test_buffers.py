"""Index buffers and unused parameters in `align`."""

from __future__ import annotations

import torch
from torch import nn

from tests.cli.run import run, succeed

HALVES = [4, 5, 6, 7, 0, 1, 2, 3]


class Select(nn.Module):
    """Reads its units in an order that a buffer holds; a token is for pretraining alone."""

    def __init__(self, index) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(3, 8), nn.Linear(8, 2), nn.Linear(8, 2)
        self.register_buffer("index", torch.tensor(index))
        self.mask_token = nn.Parameter(torch.randn(8))

    def forward(self, x):
        h = torch.relu(self.a(x))
        return self.b(h) + torch.tanh(self.c(h[:, self.index]))


def build():
    return Select(list(range(8)))


def save(path, model):
    torch.save(model.state_dict(), path)
    return path


ARCH = ("tests.cli.test_buffers:build", "--input", "2x3")


def test_the_indices_of_the_checkpoints_decide(capsys, tmp_path):
    torch.manual_seed(0)
    a, b = (save(tmp_path / f"{name}.pt", Select(HALVES)) for name in "ab")
    out = tmp_path / "out.pt"
    found = succeed(capsys, "align", ARCH[0], a, b, "-o", out, *ARCH[1:])
    assert "('mask_token')" in found.err
    aligned, original = Select(HALVES).double(), Select(HALVES).double()
    aligned.load_state_dict(torch.load(out))
    original.load_state_dict(torch.load(b))
    assert not torch.equal(aligned.a.weight, original.a.weight)
    x = torch.randn(5, 3, dtype=torch.float64)
    torch.testing.assert_close(aligned(x), original(x))


def test_checkpoints_with_different_indices_are_refused(capsys, tmp_path):
    a = save(tmp_path / "a.pt", build())
    b = save(tmp_path / "b.pt", Select(HALVES))
    found = run(capsys, "align", ARCH[0], a, b, "-o", tmp_path / "out.pt", *ARCH[1:])
    assert found.code == 2
    assert "buffer 'index' differs" in found.err
