"""The repair that brings held-out outputs closest to the mean outputs of the sources."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from onebasin.evaluation._repair import repair
from onebasin.evaluation._repair_choice import repair_best
from onebasin.merging import average

Params = dict[str, Tensor]


def build(seed: int, *, has_norm: bool = True) -> nn.Module:
    torch.manual_seed(seed)
    norm = nn.BatchNorm1d(12) if has_norm else nn.Identity()
    return nn.Sequential(nn.Linear(6, 12), norm, nn.ReLU(), nn.Linear(12, 3)).eval()


def batches(number: int) -> list[Tensor]:
    return [torch.randn(60, 6, generator=torch.Generator().manual_seed(i)) for i in range(number)]


def sources(*, has_norm: bool = True) -> list[Params]:
    return [build(seed, has_norm=has_norm).state_dict() for seed in (0, 1)]


def test_closest_repair_is_computed_on_all_batches() -> None:
    model, networks, data = build(2), sources(), batches(10)
    mean = average(networks)
    result, choice = repair_best(model, mean, networks, data)
    assert set(choice.distances) == {"reset", "repair", "refit"}
    assert choice.method == min(choice.distances, key=choice.distances.__getitem__)
    assert choice.num_examples == 120
    wanted = repair(model, mean, networks, data, method=choice.method)
    assert all(torch.equal(result.params[name], wanted.params[name]) for name in mean)


def test_refit_is_chosen_where_repair_cannot_help() -> None:
    model, networks = build(2, has_norm=False), sources(has_norm=False)
    _, choice = repair_best(model, average(networks), networks, batches(10), weights=[0.6, 0.4])
    assert list(choice.distances) == ["repair", "refit"]
    assert choice.method == "refit"
    assert choice.distances["refit"] < choice.distances["repair"]


@pytest.mark.parametrize(("has_norm", "wanted"), [(True, "reset"), (False, "repair")])
def test_too_few_examples_get_the_simplest_repair(has_norm: bool, wanted: str) -> None:
    model, networks = build(2, has_norm=has_norm), sources(has_norm=has_norm)
    data = [batches(1)[0][:8]]
    _, choice = repair_best(model, average(networks), networks, data)
    assert (choice.method, choice.distances) == (wanted, {})
