import dataclasses

import pytest
import torch

from onebasin.api._alignment import Matched
from onebasin.api._symmetries import VerifiedSymmetry
from onebasin.checkpoints import MLP
from onebasin.matching import match_many, match_weights
from onebasin.symmetry import infer_symmetry
from tests.cli.run import WIDTH, network


@pytest.mark.parametrize(
    ("method", "num_sweeps", "converged", "says"),
    [
        ("weights", 0, True, "converged at initialization (1.5 s)"),
        ("weights", 0, False, "in 0 sweeps and 1.5 s (not converged)"),
        ("weights", 1, True, "in 1 sweep and 1.5 s (converged)"),
        ("weights", 3, True, "in 3 sweeps and 1.5 s (converged)"),
        ("frank-wolfe", 3, False, "in 3 steps and 1.5 s (not converged)"),
        ("straight-through", 1, True, "in 1 epoch and 1.5 s (converged)"),
        ("annealing", 300, False, "in 300 steps and 1.5 s"),
    ],
)
def test_the_summary_states_the_effort_of_the_search(method, num_sweeps, converged, says):
    symmetry = infer_symmetry(MLP(width=WIDTH, depth=2), torch.randn(2, 64))
    found = match_weights(symmetry, network(0), network(1))
    matching = dataclasses.replace(
        found, num_sweeps=num_sweeps, converged=converged, seconds=1.5, objective=(1.0, 2.0)
    )
    text = Matched(VerifiedSymmetry(symmetry), method, matching).to_text()
    assert text.splitlines()[1] == f"{method}: objective 1 -> 2 {says}"


def test_the_units_of_the_reference_do_not_count():
    symmetry = infer_symmetry(MLP(width=WIDTH, depth=2), torch.randn(2, 64))
    for num_networks in (2, 3):
        found = match_many(symmetry, [network(seed) for seed in range(num_networks)])
        alignment = Matched(VerifiedSymmetry(symmetry), "many", found)
        assert alignment.num_units == (num_networks - 1) * 2 * WIDTH
        assert f" of {alignment.num_units} permutable units moved" in alignment.to_text()
