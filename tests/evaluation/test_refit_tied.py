"""Refit of weights that several layers use, as one joint regression."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from onebasin import OneBasinError
from onebasin._packages import import_torchvision
from onebasin.evaluation import compare_outputs
from onebasin.evaluation._refit import refit as refit_module
from onebasin.evaluation._refit.equations import DEFAULT_RIDGE, NormalEquations
from onebasin.evaluation._refit.joint import TiedUse, fit_jointly
from onebasin.evaluation._refit.layers import RefitLayer, Tie
from onebasin.evaluation._refit.operators import Dense, Embedding
from onebasin.evaluation._refit.refit import LayerRefit

Params = dict[str, Tensor]


class LanguageModel(nn.Module):
    """Mixes each token with the mean of the earlier ones; embedding and head share a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.norm = nn.Embedding(20, 12), nn.LayerNorm(12)
        self.up, self.down = nn.Linear(12, 24), nn.Linear(24, 12)
        self.head = nn.Linear(12, 20)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        x = x + x.cumsum(1) / torch.arange(1, tokens.shape[1] + 1)[None, :, None]
        x = x + self.down(torch.relu(self.up(x)))
        return self.head(self.norm(x))


class CalledTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.twice, self.last = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.first(x))
        return self.last(torch.tanh(self.twice(torch.tanh(self.twice(x)))))


class Autoencoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(5, 6))
        self.hidden = nn.Parameter(torch.zeros(5))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(F.linear(x, self.weight, self.hidden)) @ self.weight


class TwoConvolutions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.GroupNorm(2, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(torch.relu(self.norm(self.conv(x))))).mean((2, 3))


def tokens(seed: int) -> Tensor:
    return torch.randint(20, (80, 5), generator=torch.Generator().manual_seed(seed))


def normal(*shape: int) -> Callable[[int], Tensor]:
    return lambda seed: torch.randn(80, *shape, generator=torch.Generator().manual_seed(seed))


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], Tensor]]] = {
    "embedding and head": (LanguageModel, tokens),
    "module called twice": (CalledTwice, normal(6)),
    "weight and its transpose": (Autoencoder, normal(6)),
    "convolution and norm called twice": (TwoConvolutions, normal(4, 5, 5)),
}


def random_params(model: nn.Module, seed: int) -> Params:
    """Return random parameters; tied ones are equal."""
    generator = torch.Generator().manual_seed(seed)
    values: dict[int, Tensor] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        centre = float("norm" in name and name.endswith("weight"))
        values.setdefault(id(tensor), centre + 0.4 * torch.randn(tensor.shape, generator=generator))
    return {name: values[id(t)] for name, t in model.state_dict(keep_vars=True).items()}


def setting(name: str) -> tuple[nn.Module, list[Params], Params, list[Tensor], list[Tensor]]:
    make, draw = MODELS[name]
    model = make()
    sources = [random_params(model, seed) for seed in (0, 1)]
    mean = {name: (sources[0][name] + sources[1][name]) / 2 for name in sources[0]}
    return model, sources, mean, [draw(seed) for seed in range(10)], [draw(99)]


@pytest.mark.parametrize("name", MODELS)
def test_joint_refit_is_closer_on_new_data(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, sources, mean, data, new = setting(name)
    joint = LayerRefit(model, data).run(mean, sources, [0.5, 0.5])
    monkeypatch.setattr(refit_module, "MAX_ROUNDS", 0)
    alone = LayerRefit(model, data).run(mean, sources, [0.5, 0.5])
    networks = {"joint": joint.params, "alone": alone.params, "a": sources[0], "b": sources[1]}
    found = compare_outputs(model, networks, new, reference=["a", "b"])
    assert found["joint"].distance < 0.97 * found["alone"].distance
    assert not joint.skipped
    assert set(joint.sites) == set(joint.ridges)


@pytest.mark.parametrize("name", MODELS)
def test_equal_networks_do_not_change(name: str) -> None:
    model, (params, _), _, data, _ = setting(name)
    changed = LayerRefit(model, data).run(params, [params, params], [0.5, 0.5]).params
    assert all(torch.equal(changed[name], tensor) for name, tensor in params.items())


def test_tied_tensors_stay_equal() -> None:
    model, sources, mean, data, _ = setting("embedding and head")
    params = LayerRefit(model, data).run(mean, sources, [0.5, 0.5]).params
    assert torch.equal(params["embedding.weight"], params["head.weight"])
    assert not torch.equal(params["embedding.weight"], mean["embedding.weight"])


def test_average_is_kept_if_the_joint_refit_is_not_better(monkeypatch: pytest.MonkeyPatch) -> None:
    model, sources, mean, data, _ = setting("embedding and head")
    monkeypatch.setattr(refit_module._HeldOutOutputs, "are_closer", lambda *_: False)
    found = LayerRefit(model, data).run(mean, sources, [0.5, 0.5])
    assert torch.equal(found.params["head.weight"], mean["head.weight"])
    assert torch.equal(found.params["head.bias"], mean["head.bias"])
    assert set(found.skipped) == {"embedding.embedding", "head.linear"}
    assert set(found.sites) == set(found.ridges)


def test_candidates_are_compared_on_held_out_data() -> None:
    model, sources, mean, data, _ = setting("module called twice")
    refit = LayerRefit(model, data)
    outputs = refit_module._HeldOutOutputs(refit.features, mean, model, sources, [0.5, 0.5])
    worse = {name: tensor + 1 for name, tensor in mean.items()}
    near, far = refit.features.graph.bind([mean, worse])
    assert outputs.are_closer(near, far)
    assert not outputs.are_closer(far, near)
    few = LayerRefit(model, [data[0][:4]])  # no batch is held out
    outputs = refit_module._HeldOutOutputs(few.features, mean, model, sources, [0.5, 0.5])
    assert not outputs.are_closer(near, far)


def test_joint_solution_is_the_minimum_of_both_regressions() -> None:
    generator = torch.Generator().manual_seed(0)
    rows, lookups = (torch.randn(30, 3, generator=generator).double() for _ in range(2))
    logits = torch.randn(30, 4, generator=generator).double()
    index = torch.randint(4, (30,), generator=generator)
    head, embedding = NormalEquations(has_bias=True), NormalEquations(has_bias=False)
    head.add(rows[None], logits[None], 1.0)
    embedding.add_tokens(index, lookups, 4, 1.0)
    uses = [
        use_of(Embedding(), None, embedding, "embedding"),
        use_of(Dense("input", False), "bias", head, "linear"),
    ]
    found = fit_jointly(uses)
    change = found.change[0].clone().requires_grad_()
    bias = found.biases["bias"][0].clone().requires_grad_()
    penalty = DEFAULT_RIDGE * (
        torch.bincount(index, minlength=4).double().mean() + head_diagonal(rows)
    )
    loss = (rows @ change.T + bias - logits).square().sum()
    loss = loss + (change[index] - lookups).square().sum() + penalty * change.square().sum()
    for gradient in torch.autograd.grad(loss, (change, bias)):
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-9, rtol=0)


def head_diagonal(rows: Tensor) -> Tensor:
    """Return the mean diagonal entry of the Gram matrix of centered rows."""
    return (rows - rows.mean(0)).square().sum(0).mean()


def use_of(operator: Dense | Embedding, bias: str | None, fitted: NormalEquations, node: str):  # type: ignore[no-untyped-def]
    layer = RefitLayer(node, node, node, "weight", bias, tie=Tie("weight", bias, False))
    return TiedUse(layer, operator, fitted, NormalEquations(has_bias=fitted.has_bias))


def test_language_model_of_transformers_is_refit() -> None:
    with suppress(OneBasinError):  # transformers does not need it
        import_torchvision()
    transformers = pytest.importorskip("transformers", reason="needs onebasin[hub]")
    transformers.logging.set_verbosity_error()
    config = transformers.GPT2Config(
        vocab_size=30,
        n_positions=6,
        n_embd=16,
        n_layer=1,
        n_head=2,
        use_cache=False,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = transformers.GPT2LMHeadModel(config).eval()
    sources = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        other = transformers.GPT2LMHeadModel(config)
        sources.append({n: 5 * t if t.dim() == 2 else t for n, t in other.state_dict().items()})
    mean = {name: (sources[0][name] + sources[1][name]) / 2 for name in sources[0]}
    draw = torch.Generator().manual_seed(0)
    data = [{"input_ids": torch.randint(30, (40, 6), generator=draw)} for _ in range(6)]
    found = LayerRefit(model, data).run(mean, sources, [0.5, 0.5])
    assert not found.skipped
    assert {"transformer.wte.embedding", "lm_head.linear"} <= set(found.sites)
    networks = {"refit": found.params, "mean": mean, "a": sources[0], "b": sources[1]}
    distances = compare_outputs(model, networks, data[:1], reference=["a", "b"])
    assert distances["refit"].distance < 0.7 * distances["mean"].distance
