"""Moments of inputs: few rows of a batch stand for all of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from onebasin.graph.features import Features
from onebasin.graph.graph import Call
from onebasin.matching._features.inputs import InputMoments, gather_inputs
from onebasin.matching._features.layers import Windows, find_layers


def moments_of(model: nn.Module, data: list[Tensor]) -> InputMoments:
    params = model.state_dict()
    features = Features(model, data)
    layer = find_layers(features.graph, features.graph.symmetry)[0]
    return gather_inputs(features, [params, params], [layer])[layer.node]


def conv(**options: Any) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, **options), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )


def test_subsample_of_a_power_of_two_covers_all_columns() -> None:
    columns = torch.linspace(0, 1, 32).expand(512, 1, 32, 32).contiguous()
    seen = moments_of(conv(padding=1), [columns]).aa[-1, 4]
    assert float(seen) == pytest.approx(0.5, abs=0.02)


def test_batches_are_weighted_by_size() -> None:
    few, many = torch.full((10, 1, 32, 32), 5.0), torch.ones(90, 1, 32, 32)
    result = moments_of(conv(), [many, few]).aa
    assert float(result[-1, 0]) == pytest.approx(0.9 * 1 + 0.1 * 5, rel=1e-3)
    assert float(result[0, 0]) == pytest.approx(0.9 * 1 + 0.1 * 25, rel=1e-3)


@pytest.mark.parametrize(
    ("kernel", "options"),
    [
        ((3,), {"padding": "same", "dilation": 3}),
        ((4,), {"padding": 2, "stride": 3}),
        ((3, 2), {"padding": (1, 2), "stride": (2, 1), "dilation": (1, 2)}),
        ((5, 3), {"padding": "same"}),
        ((2, 2), {"padding": "valid"}),
    ],
)
def test_windows_times_the_weight_are_the_convolution(
    kernel: tuple[int, ...], options: dict[str, Any]
) -> None:
    make: Any = nn.Conv1d if len(kernel) == 1 else nn.Conv2d
    layer = make(4, 6, kernel, **options).double()
    model = nn.Sequential(layer, nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
    model.double()
    batch = torch.randn(3, 4, *(9, 8)[: len(kernel)], dtype=torch.float64)
    model(batch)
    features = Features(model, [batch])
    result = find_layers(features.graph, features.graph.symmetry)[0]
    picked = []

    def pre_hook(call: Call) -> None:
        if call.name == result.node:
            rows = result.rows(call, 0)
            assert isinstance(rows, Windows)
            picked.append(rows[torch.arange(len(rows))])

    params = model.state_dict()
    features.run([params], lambda _: lambda *_: None, make_pre_hook=lambda _: pre_hook)
    made = F.linear(picked[0], result.matrix(params), layer.bias)
    torch.testing.assert_close(made, layer(batch).movedim(1, -1).flatten(0, -2))


def test_windows_of_an_unbatched_image_match_a_batch_of_one() -> None:
    model = nn.Sequential(nn.Conv2d(3, 6, (3, 2), stride=2, padding=1), nn.ReLU())
    image = torch.randn(3, 5, 6, generator=torch.Generator().manual_seed(0))
    lone, batch = (moments_of(model, [x]) for x in (image, image.expand(2, -1, -1, -1)))
    assert (lone.count, batch.count) == (12, 24)
    torch.testing.assert_close(lone.ab, batch.ab)
