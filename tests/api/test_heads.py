"""Merged networks with one last layer for each source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import onebasin
from onebasin import OneBasinError
from onebasin.graph.binding import FunctionalModel


def build() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def networks() -> list[dict[str, Tensor]]:
    """Return two networks with similar bodies and other last layers."""
    torch.manual_seed(0)
    first, second = build().state_dict(), build().state_dict()
    noise = {name: first[name] + 0.1 * torch.randn(first[name].shape) for name in first}
    return [dict(first), {**noise, "2.weight": second["2.weight"], "2.bias": second["2.bias"]}]


def batches(seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(100, 6, generator=generator) for _ in range(10)]


def merge(sources: Any, **options: Any) -> onebasin.Merged:
    return onebasin.merge(build(), sources, data=batches(), heads="own", **options)


@torch.no_grad()
def distance(params: Any, source: Any) -> float:
    inputs = torch.cat(batches(1))
    outputs = [FunctionalModel(build(), each)(inputs) for each in (params, source)]
    return float((outputs[0] - outputs[1]).square().mean() / outputs[1].var())


def test_each_head_reproduces_its_source() -> None:
    sources = networks()
    merged = merge(sources)
    assert len(merged.heads) == 2
    for number, source in enumerate(sources):
        own, other = merged.heads[number], merged.heads[1 - number]
        assert distance(own, source) < 0.02 < 1 < distance(other, source)
    first, second = merged.heads
    assert all(torch.equal(first[name], second[name]) for name in ("0.weight", "0.bias"))
    assert "2 last layers, one for each network" in merged.summary()


def test_heads_are_refit_to_the_merged_body() -> None:
    sources = networks()
    merged = merge(sources)
    for head, source in zip(merged.heads, sources, strict=True):
        plain = {**head, "2.weight": source["2.weight"], "2.bias": source["2.bias"]}
        assert distance(head, source) < 0.7 * distance(plain, source)


def test_a_head_is_loaded_into_a_module() -> None:
    merged = merge(networks())
    for head in range(2):
        loaded = merged.load_into(build(), head=head).state_dict()
        assert all(torch.equal(loaded[name], merged.heads[head][name]) for name in loaded)
    with pytest.raises(OneBasinError, match="head=2 is not an index of 2 heads"):
        merged.load_into(build(), head=2)


def test_every_head_is_written(tmp_path: Path) -> None:
    merged = merge(networks(), output=tmp_path / "merged.safetensors")
    assert merged.head_files == (tmp_path / "merged-head-2.safetensors",)
    merged.save(tmp_path / "copy.pt")
    for name in ("merged{}.safetensors", "copy{}.pt"):
        for head, end in zip(merged.heads, ("", "-head-2"), strict=True):
            found = onebasin.open_checkpoint(tmp_path / name.format(end))
            assert all(torch.equal(found[name], head[name]) for name in head)


def test_files_of_heads_are_checked_before_the_merge(tmp_path: Path) -> None:
    (tmp_path / "merged-head-2.safetensors").write_text("a note")
    with pytest.raises(OneBasinError, match="merged-head-2"):
        merge(networks(), output=tmp_path / "merged.safetensors")
    assert not (tmp_path / "merged.safetensors").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": "two"}, "heads is 'two'; it must be 'shared' or 'own'"),
        ({"heads": "own"}, "heads='own' fits last layers on data; pass data="),
        ({"heads": "own", "data": batches(), "repair": "reset"}, "refits all layers"),
        ({"heads": "own", "data": batches(), "size": 1.2}, "needs size=1"),
    ],
)
def test_other_arguments_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OneBasinError, match=message):
        onebasin.merge(build(), networks(), **options)


def test_models_without_a_last_layer_are_refused() -> None:
    model = nn.Sequential(build(), nn.Tanh())
    sources = [{f"0.{name}": t for name, t in each.items()} for each in networks()]
    with pytest.raises(
        OneBasinError, match="heads='own' needs a model that ends in a linear layer"
    ):
        onebasin.merge(model, sources, data=batches(), heads="own")
