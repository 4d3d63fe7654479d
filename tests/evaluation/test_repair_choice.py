"""The repair that brings held-out outputs closest to the mean outputs of the sources."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from onebasin import OneBasinWarning
from onebasin.evaluation import _repair_choice
from onebasin.evaluation._repair import repair
from onebasin.evaluation._repair_choice import repair_best
from onebasin.evaluation.output_distances import compare_outputs
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


def test_warning_of_too_few_examples_is_shown_once() -> None:
    model, networks = build(2, has_norm=False), sources(has_norm=False)
    data = [batch[:1] for batch in batches(10)]
    with pytest.warns(OneBasinWarning, match="more unknowns than rows") as found:
        _, choice = repair_best(model, average(networks), networks, data)
    assert choice.method == "refit"
    assert len(found) == 1


@pytest.mark.parametrize(("has_norm", "wanted"), [(True, "reset"), (False, "repair")])
def test_too_few_examples_get_the_simplest_repair(has_norm: bool, wanted: str) -> None:
    model, networks = build(2, has_norm=has_norm), sources(has_norm=has_norm)
    data = [batches(1)[0][:8]]
    _, choice = repair_best(model, average(networks), networks, data)
    assert (choice.method, choice.distances) == (wanted, {})


def test_held_out_batches_of_a_shuffling_loader_are_not_fitted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fitted: list[set[int]] = []
    held_out: list[set[int]] = []

    class Shuffling(list[Tensor]):
        def __iter__(self):  # type: ignore[no-untyped-def]
            return iter([self[index] for index in torch.randperm(len(self)).tolist()])

    def repaired(merged: Any, method: Any, data: Any, *args: Any) -> Any:
        fitted.append({id(batch) for batch in data})
        return original(merged, method, data, *args)

    def compared(model: nn.Module, networks: Any, data: Any, **options: Any) -> Any:
        held_out.append({id(batch) for batch in data})
        return compare_outputs(model, networks, data, **options)

    original = _repair_choice._Merged.repaired
    monkeypatch.setattr(_repair_choice._Merged, "repaired", repaired)
    monkeypatch.setattr(_repair_choice, "compare_outputs", compared)
    networks = sources()
    repair_best(build(2), average(networks), networks, Shuffling(batches(10)))
    assert [len(held_out[0]), *map(len, fitted[:3])] == [2, 8, 8, 8]
    assert not any(held_out[0] & each for each in fitted[:3])


def test_outputs_that_cannot_be_compared_get_the_simplest_repair() -> None:
    class Boxes(nn.Module):
        def __init__(self, layers: nn.Module) -> None:
            super().__init__()
            self.layers = layers

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"boxes": self.layers(x)}

    networks = [Boxes(build(seed)).state_dict() for seed in (0, 1)]
    _, choice = repair_best(Boxes(build(2)), average(networks), networks, batches(10))
    assert (choice.method, choice.distances) == ("reset", {})
