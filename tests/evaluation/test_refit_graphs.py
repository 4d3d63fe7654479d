"""Refit of graphs that overwrite, share or compute values."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from onebasin.evaluation._refit import layer_fit, live_runs
from onebasin.evaluation._refit.refit import LayerRefit
from onebasin.graph.binding import FunctionalModel

Params = dict[str, Tensor]


class Custom(nn.Module):
    """A module with some layers and parameters, and a given forward pass."""

    def __init__(self, forward: Callable[[Custom, Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6)
        self.norm = nn.BatchNorm1d(6)
        self.vector = nn.Parameter(torch.zeros(6))
        self.heads = nn.Parameter(torch.zeros(2, 6, 6))
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self._forward = forward

    def forward(self, x: Tensor) -> Tensor:
        return self._forward(self, x)


def random_params(model: nn.Module, seed: int) -> Params:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: 0.4 * torch.randn(tensor.shape, generator=generator) + name.endswith("var") * 2.0
        if tensor.is_floating_point()
        else tensor
        for name, tensor in model.state_dict().items()
    }


def refit(model: nn.Module, data: list[Tensor]) -> tuple[LayerRefit, Params, float, float]:
    """Return the refit, its parameters, and the distances before and after it."""
    sources = [random_params(model, seed) for seed in (0, 1)]
    merged = {
        name: (tensor + sources[1][name]) / 2 if tensor.is_floating_point() else tensor
        for name, tensor in sources[0].items()
    }
    refit = LayerRefit(model, data)
    params = refit.run(merged, sources, [0.5, 0.5]).params

    def distance(each: Params) -> float:
        with torch.no_grad():
            batch = torch.cat(data)
            wanted = torch.stack([FunctionalModel(model, p)(batch) for p in sources]).mean(0)
            return float((FunctionalModel(model, each)(batch) - wanted).square().mean())

    return refit, params, distance(merged), distance(params)


def batches(*shape: int) -> list[Tensor]:
    return [torch.randn(60, *shape, generator=torch.Generator().manual_seed(i)) for i in range(5)]


def norm_after_another_layer(m: Custom, x: Tensor) -> Tensor:
    a = m.a(x)
    b = torch.relu(m.b(x))
    return m.norm(a) + b


def overwritten_input(m: Custom, x: Tensor) -> Tensor:
    h = torch.tanh(m.a(x))
    b = m.b(h)
    h.mul_(3)
    return m.norm(b) + h


def twice_the_same(m: Custom, x: Tensor) -> Tensor:
    h = m.b(torch.relu(m.a(x)))
    return h + h


def product_of_a_vector(m: Custom, x: Tensor) -> Tensor:
    return m.a(x) * torch.softmax(m.b(x) @ m.vector, 0)[:, None]


def product_of_heads(m: Custom, x: Tensor) -> Tensor:
    return (m.a(x) @ m.heads).sum(0)


def factors(m: Custom, x: Tensor) -> Tensor:
    return torch.addmm(m.b.bias, torch.relu(m.a(x)), m.b.weight, beta=0.5, alpha=3)


def shared_by_a_product(m: Custom, x: Tensor) -> Tensor:
    return m.b(F.linear(torch.tanh(F.linear(x, m.a.weight)), m.a.weight.T * 0.5))


def attention(m: Custom, x: Tensor) -> Tensor:
    y = torch.tanh(x)
    return m.attention(x, y, y, need_weights=False)[0]


GRAPHS = [
    norm_after_another_layer, overwritten_input, twice_the_same, product_of_a_vector,
    product_of_heads, factors, shared_by_a_product,
]  # fmt: skip


@pytest.mark.parametrize("forward", GRAPHS, ids=lambda each: each.__name__)
def test_refit_is_not_further_from_the_mean_output(
    forward: Callable[[Custom, Tensor], Tensor],
) -> None:
    _, _, before, after = refit(Custom(forward), batches(6))
    assert after <= before * (1 + 1e-6)  # rounding


def test_sum_of_a_value_with_itself_is_not_a_target() -> None:
    found, _, before, after = refit(Custom(twice_the_same), batches(6))
    assert [layer.target for layer in found.layers] == ["linear", "linear_1"]
    assert after < 0.5 * before


def test_reasons_name_what_is_not_refit() -> None:
    assert refit(Custom(product_of_heads), batches(6))[0].skipped == {
        "matmul": "its weight is not a matrix"
    }
    assert refit(Custom(factors), batches(6))[0].skipped == {"addmm": "its summands have factors"}


def test_values_in_files_keep_the_memory_of_fused_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = Custom(attention), batches(3, 6)
    _, expected, before, after = refit(model, data)
    assert after < before
    monkeypatch.setattr(live_runs, "MAX_BYTES", 0)
    found, params, _, _ = refit(model, data)
    assert all(torch.equal(params[name], tensor) for name, tensor in expected.items())
    assert len(set(found.sites)) == len(found.sites)


def test_sampled_rows_of_a_norm_give_its_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_fit, "MIN_ROWS", 4000)
    model = nn.Sequential(nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 2, 3))
    data = [torch.randn(40, 2, 8, 8, generator=torch.Generator().manual_seed(i)) for i in range(5)]
    sources = [random_params(model, seed) for seed in (0, 1)]
    params = LayerRefit(model, data).run(random_params(model, 2), sources, [0.5, 0.5]).params
    torch.testing.assert_close(params["0.running_var"], torch.ones(2), atol=0.05, rtol=0)
    torch.testing.assert_close(params["0.running_mean"], torch.zeros(2), atol=0.05, rtol=0)


def test_tensors_that_require_gradients_give_plain_results() -> None:
    model = Custom(twice_the_same)
    sources = [random_params(model, seed) for seed in (0, 1)]
    merged = {n: t.clone().requires_grad_(t.is_floating_point()) for n, t in sources[0].items()}
    params = LayerRefit(model, batches(6)).run(merged, sources, [0.5, 0.5]).params
    assert not any(tensor.requires_grad for tensor in params.values())


def test_progress_counts_up_to_the_number_of_batches() -> None:
    model, steps = Custom(twice_the_same), []
    sources = [random_params(model, seed) for seed in (0, 1)]
    LayerRefit(model, batches(6)).run(sources[0], sources, [0.5, 0.5], progress=steps.append)
    assert steps == sorted(steps)
    assert steps[-1] == 5


class Experts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = (
            nn.Parameter(torch.zeros(3, 6, 4)),
            nn.Parameter(torch.zeros(3, 1, 4)),
        )
        self.last = nn.Parameter(torch.zeros(3, 4, 2))

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.baddbmm(self.bias, x.transpose(0, 1), self.weight)
        return torch.bmm(torch.relu(hidden), self.last).sum(0)


def test_batches_of_products_are_refit() -> None:
    found, _, before, after = refit(Experts(), batches(3, 6))
    assert not found.skipped
    assert [layer.label for layer in found.layers] == ["baddbmm", "bmm"]
    assert after < 0.5 * before


def test_norm_without_scale_gets_the_statistics_of_the_data() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6, affine=False))
    data = batches(6)

    def statistics(params: Params) -> dict[str, Tensor]:
        rows = F.linear(torch.cat(data), params["0.weight"], params["0.bias"])
        return {"1.running_mean": rows.mean(0), "1.running_var": rows.var(0)}

    sources = [random_params(model, seed) for seed in (0, 1)]
    sources = [{**each, **statistics(each)} for each in sources]
    merged = {**random_params(model, 2), "1.running_var": torch.full((6,), 9.0)}
    found = LayerRefit(model, data).run(merged, sources, [0.5, 0.5])
    assert not found.skipped
    for name, value in statistics(found.params).items():
        torch.testing.assert_close(found.params[name], value, atol=1e-5, rtol=1e-4)
