"""Repair: the statistics come out as promised, and nothing else changes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from onebasin import OneBasinError
from onebasin.evaluation._moments import UnitMoments
from onebasin.evaluation._repair import repair
from onebasin.evaluation._repair_sites import find_repair_sites
from onebasin.graph.graph import Graph
from onebasin.merging import average
from tests.graph.networks import NETWORKS, build

Params = dict[str, Tensor]


def two(name: str) -> tuple[nn.Module, Params, Params, Tensor]:
    model, batch = build(name)
    return model, model.state_dict(), build(name, seed=1)[0].state_dict(), batch


def moments(graph: Graph, params: Params, batch: Tensor) -> dict[str, UnitMoments]:
    result: dict[str, UnitMoments] = {}
    sites, _ = find_repair_sites(graph)

    def hook(name: str, value: Tensor) -> None:
        if name in sites:
            result[name] = UnitMoments.of(value, sites[name].unit_dim, 1.0)

    graph.run(params, batch, hook)
    return result


@pytest.mark.parametrize("method", ["repair", "rescale"])
@pytest.mark.parametrize("name", NETWORKS)
def test_units_have_interpolated_statistics(name: str, method: Any) -> None:
    model, a, b, batch = two(name)
    merged = average([a, b], [3, 1])
    fixed = repair(model, merged, [a, b], [batch], method=method, weights=[3, 1])
    graph = Graph(model, batch)
    of_a, of_b, before, after = (moments(graph, p, batch) for p in (a, b, merged, fixed.params))
    assert len(after) == len(fixed.sites) > 0
    for site in after:
        if method == "rescale":
            wanted = 0.75 * of_a[site].rms + 0.25 * of_b[site].rms
            torch.testing.assert_close(after[site].rms, wanted)
            continue
        for quantity in ("mean", "std"):
            wanted = 0.75 * getattr(of_a[site], quantity) + 0.25 * getattr(of_b[site], quantity)
            torch.testing.assert_close(getattr(after[site], quantity), wanted, atol=1e-7, rtol=1e-6)
    assert any(not torch.allclose(before[s].std, after[s].std) for s in after)


@pytest.mark.parametrize("method", ["repair", "rescale"])
def test_negative_weights_do_not_flip_units(method: Any) -> None:
    model, a, b, batch = two("mlp")
    b["0.weight"], b["0.bias"] = (10 * b[name] for name in ("0.weight", "0.bias"))
    merged = average([a, b], [1.5, -0.5])
    fixed = repair(model, merged, [a, b], [batch], method=method, weights=[1.5, -0.5])
    assert ((fixed.params["0.weight"] * merged["0.weight"]).sum(1) > 0).all()
    graph = Graph(model, batch)
    of_a, of_b, result = (moments(graph, each, batch)["linear"] for each in (a, b, fixed.params))
    quantity = "rms" if method == "rescale" else "std"
    least, other = (getattr(of, quantity) for of in (of_a, of_b))
    wanted = 1.5 * least - 0.5 * other
    assert (wanted < 0).all()
    torch.testing.assert_close(getattr(result, quantity), least)


def test_extrapolated_network_with_batch_norm_is_repaired() -> None:
    model, a, b, batch = two("residual")
    for name in b:
        if name.endswith("running_var"):
            b[name] = 10 * b[name]
    merged = average([a, b], [1.5, -0.5])
    fixed = repair(model, merged, [a, b], [batch], weights=[1.5, -0.5])
    assert all(bool(tensor.isfinite().all()) for tensor in fixed.params.values())
    (name,) = [name for name in merged if name.endswith("running_var")][:1]
    negative = {**merged, name: -merged[name]}
    with pytest.raises(OneBasinError, match=rf"repair: variance '{name}' of the merged network is"):
        repair(model, negative, [a, b], [batch])


@pytest.mark.parametrize("method", ["repair", "rescale"])
@pytest.mark.parametrize("name", NETWORKS)
def test_mean_of_equal_networks_is_unchanged(name: str, method: Any) -> None:
    model, a, _, batch = two(name)
    fixed = repair(model, a, [a, a], [batch, batch[:2]], method=method)
    for tensor, value in a.items():
        torch.testing.assert_close(fixed.params[tensor], value, rtol=1e-12, atol=1e-12)


class LoneImage(nn.Module):
    """A model that is called on one image, without a batch dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 6, 3), nn.Linear(6, 2)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(torch.relu(self.conv(image)).mean((1, 2)))


def test_channels_of_a_single_image_are_repaired() -> None:
    image = torch.randn(3, 7, 8, generator=torch.Generator().manual_seed(0))
    networks = []
    for seed in range(2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            networks.append(LoneImage().state_dict())
    model = LoneImage()
    fixed = repair(model, average(networks), networks, [image])
    graph = Graph(model, image)
    of_a, of_b, after = (moments(graph, params, image) for params in (*networks, fixed.params))
    for quantity in ("mean", "std"):
        a, b, result = (getattr(each["conv2d"], quantity) for each in (of_a, of_b, after))
        assert result.shape == (6,)
        torch.testing.assert_close(result, (a + b) / 2, rtol=1e-5, atol=1e-6)


def test_outputs_and_inputs_are_not_changed() -> None:
    model, a, b, batch = two("mlp")
    merged = average([a, b])
    kept = {name: tensor.clone() for name, tensor in merged.items()}
    fixed = repair(model, merged, [a, b], [batch])
    assert fixed.sites == ("0.linear",)
    assert all(torch.equal(merged[name], kept[name]) for name in kept)
    for name in ("2.weight", "2.bias"):
        assert torch.equal(fixed.params[name], merged[name])
    assert not torch.equal(fixed.params["0.weight"], merged["0.weight"])


def test_statistics_are_accumulated_over_batches() -> None:
    value = torch.randn(10, 4, 3, dtype=torch.float64)
    together = UnitMoments.of(value, 1, 1.0)
    apart = UnitMoments.of(value[:3], 1, 1.0) + UnitMoments.of(value[3:], 1, 1.0)
    torch.testing.assert_close(together.mean, apart.mean)
    torch.testing.assert_close(together.std, apart.std)
    torch.testing.assert_close(together.std, value.movedim(1, 0).flatten(1).std(1, correction=0))


def test_reset_recomputes_batch_norm_statistics() -> None:
    model, a, b, batch = two("residual")
    fixed = repair(model, average([a, b]), [], [batch], method="reset")
    merged = average([a, b])
    changed = {name for name in merged if not torch.equal(merged[name], fixed.params[name])}
    assert changed and all("running" in name or "num_batches" in name for name in changed)


def test_layer_without_bias_has_its_std_repaired() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        nets = [
            nn.Sequential(nn.Linear(4, 6, bias=False), nn.ReLU(), nn.Linear(6, 2)).double()
            for _ in "ab"
        ]
    batch = torch.randn(30, 4, dtype=torch.float64)
    a, b = (net.state_dict() for net in nets)
    fixed = repair(nets[0], average([a, b]), [a, b], [batch])
    assert fixed.skipped == {"0.linear": "no bias: means are not repaired"}
    deviations = [(batch @ p["0.weight"].T).std(0) for p in (a, b, fixed.params)]
    torch.testing.assert_close(deviations[2], (deviations[0] + deviations[1]) / 2)


def test_shared_layer_is_skipped_with_a_reason() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.inner = nn.Linear(3, 5), nn.Linear(5, 5)
            self.last = nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.inner(torch.relu(self.first(x)))
            return self.last(torch.relu(self.inner(torch.relu(x))))

    net = Twice().double()
    batch = torch.randn(8, 3, dtype=torch.float64)
    fixed = repair(net, net.state_dict(), [net.state_dict()], [batch])
    assert fixed.skipped == {"inner.linear": "its parameters are used more than once"}


class Recurrent(nn.Module):
    """A network one of whose modules has two weights, the second of which is used again."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.last = nn.RNN(3, 6, batch_first=True), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.rnn(x)[0][:, -1])


def test_sites_of_one_module_are_distinct() -> None:
    net = Recurrent()
    params = net.state_dict()
    fixed = repair(net, params, [params, params], [torch.randn(8, 4, 3)])
    assert not set(fixed.sites) & set(fixed.skipped)
    assert fixed.sites == ("rnn.linear of rnn.weight_ih_l0",)
    assert set(fixed.skipped) == {"rnn.linear of rnn.weight_hh_l0"}


def test_reason_for_impossible_repair_is_reported() -> None:
    class Again(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.last = nn.Linear(3, 5), nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(torch.relu(self.inner(x)) + self.inner(-x))

    net = Again()
    params = net.state_dict()
    text = r"to rescale \('inner.linear': its parameters are used more than once\)"
    with pytest.raises(OneBasinError, match=text):
        repair(net, params, [params, params], [torch.randn(8, 3)])


def test_invalid_data_are_rejected() -> None:
    model, a, b, batch = two("residual")
    merged = average([a, b])
    for method in ("reset", "repair"):
        for data, text in (
            ([batch[:0]], "the data has no batch"),
            ([batch * float("nan")], r"finite"),
            ([batch, batch[:, :1]], "the model does not run on batch 1"),
        ):
            with pytest.raises(OneBasinError, match=rf"^repair: .*{text}"):
                repair(model, merged, [a, b], data, method=method)
    fixed = repair(model, merged, [a, b], [batch, batch[:0]])
    same = repair(model, merged, [a, b], [batch])
    assert all(torch.equal(fixed.params[name], same.params[name]) for name in same.params)


def test_bad_input_gives_a_one_line_error() -> None:
    model, a, b, batch = two("mlp")
    merged = average([a, b])
    with pytest.raises(OneBasinError, match="the data has no batches"):
        repair(model, merged, [a, b], [])
    with pytest.raises(OneBasinError, match="pass the networks that were merged"):
        repair(model, merged, [], [batch])
    with pytest.raises(OneBasinError, match=r"^repair: 1 weight .* for 2 networks"):
        repair(model, merged, [a, b], [batch], weights=[1.0])
    infinite = {**a, "0.bias": torch.full_like(a["0.bias"], float("inf"))}
    with pytest.raises(OneBasinError, match=r"features of B at '0.linear' are not finite"):
        repair(model, merged, [a, infinite], [batch])
    infinite = {**merged, "0.bias": torch.full_like(a["0.bias"], float("nan"))}
    with pytest.raises(OneBasinError, match=r"features of the merged network at '0.linear' are"):
        repair(model, infinite, [a, b], [batch])
    plain = nn.Sequential(nn.Embedding(4, 3)).double()
    with pytest.raises(OneBasinError, match="no hidden layer or norm"):
        repair(plain, plain.state_dict(), [plain.state_dict()], [torch.tensor([0, 1])])


class Standardized(nn.Conv2d):
    """A convolution whose weight is computed from its parameter."""

    def forward(self, input: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return nn.functional.conv2d(input, weight, self.bias)


def test_layers_with_computed_weights_are_skipped() -> None:
    norm = nn.utils.parametrizations.weight_norm
    batch = torch.randn(20, 3, 4, 4)
    first, last = Standardized(3, 8, 3), norm(nn.Linear(32, 8))
    model = nn.Sequential(
        first, nn.ReLU(), nn.Flatten(), last, nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2)
    )
    a = {name: value.clone() for name, value in model.state_dict().items()}
    b = {name: torch.randn_like(value) for name, value in a.items()}
    merged = average([a, b])
    fixed = repair(model, merged, [a, b], [batch])
    assert fixed.sites == ("5.linear",)
    changed = [name for name in merged if not torch.equal(merged[name], fixed.params[name])]
    assert changed == ["5.weight", "5.bias"]


class Added(nn.Module):
    """A layer that is one `addmm` with factors, or that product with the weight on the left."""

    def __init__(self, beta: float, alpha: float, *, is_left: bool = False) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(5, 8)), nn.Parameter(torch.randn(8))
        self.last = nn.Linear(8, 2)
        self.factors, self.is_left = {"beta": beta, "alpha": alpha}, is_left

    def forward(self, x: Tensor) -> Tensor:
        if self.is_left:
            hidden = torch.addmm(self.bias[:, None], self.weight.T, x.T, **self.factors).T
        else:
            hidden = torch.addmm(self.bias, x, self.weight, **self.factors)
        return self.last(hidden.relu())


def drawn(model: nn.Module, seed: int) -> Params:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(value.shape, generator=generator, dtype=value.dtype)
        for name, value in model.state_dict().items()
    }


@pytest.mark.parametrize("method", ["repair", "rescale"])
@pytest.mark.parametrize(("beta", "alpha"), [(1, 1), (0.5, 1), (2, 3), (-1, 0.5)])
def test_factors_of_a_layer_are_applied(beta: float, alpha: float, method: Any) -> None:
    model = Added(beta, alpha).double()
    a, b = drawn(model, 0), drawn(model, 1)
    batch = torch.randn(50, 5, dtype=torch.float64)
    fixed = repair(model, average([a, b]), [a, b], [batch], method=method)
    assert fixed.sites == ("addmm",)
    graph = Graph(model, batch)
    of_a, of_b, after = (moments(graph, p, batch)["addmm"] for p in (a, b, fixed.params))
    for quantity in ("rms",) if method == "rescale" else ("mean", "std"):
        wanted = (getattr(of_a, quantity) + getattr(of_b, quantity)) / 2
        torch.testing.assert_close(getattr(after, quantity), wanted)


@pytest.mark.parametrize("model", [Added(0, 1), Added(1, 1, is_left=True)])
def test_layer_without_own_parameters_is_not_a_site(model: nn.Module) -> None:
    params, batch = model.state_dict(), torch.randn(20, 5)
    with pytest.raises(OneBasinError, match="no hidden layer or norm with parameters to rescale"):
        repair(model, params, [params, params], [batch])


def test_layer_before_norm_without_scale_is_repaired() -> None:
    model = nn.Sequential(
        nn.Linear(5, 8), nn.BatchNorm1d(8, affine=False), nn.ReLU(), nn.Linear(8, 2)
    )
    params = model.state_dict()
    assert repair(model, params, [params, params], [torch.randn(20, 5)]).sites == ("0.linear",)
