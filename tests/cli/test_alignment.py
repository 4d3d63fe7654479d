import dataclasses

import pytest
import torch

from onebasin.checkpoints import MLP
from onebasin.cli.alignment import Alignment
from onebasin.cli.symmetries import Found
from onebasin.matching import match_weights
from onebasin.symmetry import trace
from tests.cli.run import WIDTH, network


@pytest.mark.parametrize(
    ("num_sweeps", "converged", "says"),
    [
        (0, True, "solved by the start in 1.5 s (settled)"),
        (0, False, "in 0 sweeps and 1.5 s (stopped before it settled)"),
        (1, True, "in 1 sweep and 1.5 s (settled)"),
        (3, True, "in 3 sweeps and 1.5 s (settled)"),
    ],
)
def test_what_the_search_took_is_said_in_words(num_sweeps, converged, says):
    symmetry = trace(MLP(width=WIDTH, depth=2), torch.randn(2, 64))
    found = match_weights(symmetry, network(0), network(1))
    matching = dataclasses.replace(
        found, num_sweeps=num_sweeps, converged=converged, seconds=1.5, objective=(1.0, 2.0)
    )
    text = Alignment(Found(symmetry), "weights", matching).to_text()
    assert text.splitlines()[1] == f"weights: objective 1 -> 2 {says}"
